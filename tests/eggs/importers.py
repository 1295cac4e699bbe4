"""What the importers of Pterodactyl and Pelican ask of a file, by EGGS.md sections 1-3: a checker for our exports, written from those facts."""

from __future__ import annotations

import json
import re
from typing import Any

MAX_UPLOAD = 1_000_000
EMAIL = re.compile(r"[^@\s]+@[^@\s.]+(\.[^@\s.]+)+")
PTDL_RESERVED = frozenset(["SERVER_MEMORY", "SERVER_IP", "SERVER_PORT", "ENV", "HOME", "USER", "STARTUP", "SERVER_UUID", "UUID"])
PTDL_COLUMNS = {"name", "description", "env_variable", "default_value", "user_viewable", "user_editable", "rules", "field_type"}
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)
PICTURE = re.compile(r"data:image/(png|jpeg|webp|gif);base64,[A-Za-z0-9+/=]+")


def pterodactyl_refuses(data: bytes) -> list[str]:
    """Why Pterodactyl would not take the file; empty if it would."""
    if len(data) > MAX_UPLOAD:
        return ["larger than its upload limit"]
    egg = json.loads(data)
    said = [] if egg["meta"]["version"] in ("PTDL_v1", "PTDL_v2") else ["its version"]
    said += _common(egg, name_chars=191)
    said += [] if isinstance(egg["startup"], str) and egg["startup"].strip() else ["startup is no text"]
    said += [] if egg["features"] is None or isinstance(egg["features"], list) else ["features is no list"]
    for number, variable in enumerate(egg["variables"]):
        where = f"variables.{number}"
        if extra := set(variable) - PTDL_COLUMNS:
            said.append(f"{where}: it has no column for {sorted(extra)}")
        if not re.fullmatch(r"\w{1,191}", variable["env_variable"]):
            said.append(f"{where}: env_variable")
        if variable["env_variable"] in PTDL_RESERVED:
            said.append(f"{where}: {variable['env_variable']} is reserved")
        if not isinstance(variable["rules"], str) or not variable["rules"]:
            said.append(f"{where}: rules are no text")
        said += _variable(where, variable)
    return said


def pelican_refuses(egg: dict[str, Any]) -> list[str]:
    """The same of Pelican, of a file that was read already (it takes JSON and YAML)."""
    said = [] if egg["meta"]["version"] == "PLCN_v3" else ["its version"]
    said += _common(egg, name_chars=255)
    commands = egg["startup_commands"]
    if not isinstance(commands, dict) or not commands or not all(isinstance(text, str) and text.strip() for text in commands.values()):
        said.append("startup_commands is no map of texts")
    for name in ("tags", "features", "file_denylist"):
        if not isinstance(egg[name], list):
            said.append(f"{name} is no list")
    if "image" in egg or ("icon" in egg and not PICTURE.fullmatch(egg["icon"])):
        said.append("its picture")
    names = [variable["name"] for variable in egg["variables"]]
    if len(set(names)) != len(names):
        said.append("two variables of one name: its database has a unique key on them")
    for number, variable in enumerate(egg["variables"]):
        where = f"variables.{number}"
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,255}", variable["env_variable"]):
            said.append(f"{where}: env_variable")
        if not isinstance(variable["rules"], list) or not all(isinstance(rule, str) for rule in variable["rules"]):
            said.append(f"{where}: rules are no list of texts")
        if not (variable["sort"] is None or isinstance(variable["sort"], int)):
            said.append(f"{where}: sort")
        said += _variable(where, variable)
    return said


def _common(egg: dict[str, Any], *, name_chars: int) -> list[str]:
    said = []
    if not isinstance(egg["name"], str) or not 0 < len(egg["name"]) <= name_chars:
        said.append("name")
    if not isinstance(egg["author"], str) or not EMAIL.fullmatch(egg["author"]):
        said.append("author is no e-mail address")
    if not (egg["description"] is None or isinstance(egg["description"], str)):
        said.append("description")
    if not (egg["meta"].get("update_url") is None or isinstance(egg["meta"]["update_url"], str)):
        said.append("meta.update_url")
    if "uuid" in egg and not UUID.fullmatch(str(egg["uuid"])):
        said.append("its uuid is none")
    images = egg["docker_images"]
    if not isinstance(images, dict) or not images or not all(isinstance(image, str) and image for image in images.values()):
        said.append("docker_images is no map of texts")
    if not isinstance(egg["file_denylist"], list):
        said.append("file_denylist is no list")
    for name in ("files", "startup", "logs"):
        value = egg["config"][name]
        if not isinstance(value, str) or not isinstance(json.loads(value), dict):
            said.append(f"config.{name} is no JSON text of an object")
    if not isinstance(egg["config"]["stop"], str) or not egg["config"]["stop"]:
        said.append("config.stop")
    script = egg["scripts"]["installation"]
    if not all(isinstance(script[key], str) for key in ("script", "container", "entrypoint")) or not script["container"] or not script["entrypoint"]:
        said.append("scripts.installation")
    return said


def _variable(where: str, variable: dict[str, Any]) -> list[str]:
    texts = [key for key in ("name", "description", "default_value") if not isinstance(variable[key], str)]
    flags = [key for key in ("user_viewable", "user_editable") if not isinstance(variable[key], bool)]
    return [f"{where}: {key}" for key in (*texts, *flags)] + ([] if 0 < len(variable["name"]) <= 191 else [f"{where}: length of its name"])
