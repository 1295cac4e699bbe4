"""Writing eggs as files that other panels take."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.scalarstring import LiteralScalarString

from eggs.definition import EggDefinition, Variable
from lormas.common import clock

Raw = dict[str, Any]
COMMENT: Final = "Written by Lormas."


def ptdl_v2(definition: EggDefinition) -> Raw:
    """For Pterodactyl: one startup line, rules as one text. Rules that hold a `|` stay a list in PLCN_v3 only."""
    return {
        **_head(definition, "PTDL_v2"),
        **({"uuid": definition.uuid} if definition.uuid else {}),
        "features": definition.features or None,
        "docker_images": dict(definition.docker_images),
        "file_denylist": definition.file_denylist,
        "startup": definition.default_startup,
        **_tail(definition),
        "variables": [{**_variable(v), "rules": "|".join(v.rules), "field_type": "text"} for v in definition.variables],
        **_ours(definition),
    }


def plcn_v3(definition: EggDefinition) -> Raw:
    """For Pelican: named startup commands, tags, rules as lists."""
    icon = {"icon": definition.icon} if definition.icon.startswith("data:") else {}
    head = _head(definition, "PLCN_v3")
    return {
        **head,
        **({"uuid": definition.uuid} if definition.uuid else {}),
        **icon,
        "tags": definition.tags,
        "features": definition.features,
        "docker_images": dict(definition.docker_images),
        "file_denylist": definition.file_denylist,
        "startup_commands": dict(definition.startup_commands),
        **_tail(definition),
        "variables": [{**_variable(v), "sort": number} for number, v in enumerate(definition.effective_variables(), start=1)],
        **_ours(definition),
    }


OURS: Final = (
    "icon", "category", "process_command", "ports", "data_target", "grace_seconds", "startup_mode", "runs", "entrypoint", "command", "working_dir",
    "user", "tty", "tmpfs", "health", "limits", "privileges", "notes",
)  # fmt: skip
"""What only we know; `eggs.formats.extension` reads it back."""
EXPORTS: Final[dict[str, Callable[[EggDefinition], Raw]]] = {"PTDL_v2": ptdl_v2, "PLCN_v3": plcn_v3}


def as_json(raw: Raw) -> bytes:
    """Readable JSON."""
    return json.dumps(raw, indent=4, ensure_ascii=False).encode()


def as_yaml(raw: Raw) -> bytes:
    """YAML with scripts as blocks."""

    def blocks(value: Any) -> Any:
        if isinstance(value, str) and "\n" in value:
            return LiteralScalarString(value)
        if isinstance(value, dict):
            return {key: blocks(child) for key, child in value.items()}
        return [blocks(child) for child in value] if isinstance(value, list) else value

    stream = io.StringIO()
    writer = YAML()
    writer.width = 4096
    writer.dump(blocks(raw), stream)
    return stream.getvalue().encode()


def filename(definition: EggDefinition, *, encoding: str) -> str:
    """`egg-some-name.json`"""
    slug = re.sub(r"[^a-z0-9]+", "-", definition.name.lower()).strip("-") or "egg"
    return f"egg-{slug[:80]}.{encoding}"


def _head(definition: EggDefinition, version: str) -> Raw:
    return {
        "_comment": COMMENT,
        "meta": {"version": version, "update_url": definition.update_url or None},
        "exported_at": clock.rfc3339(clock.now()),
        "name": definition.name,
        "author": definition.author,
        "description": definition.description or None,
    }


def _tail(definition: EggDefinition) -> Raw:
    files = {
        file.path: {"parser": file.parser, "find": dict(file.find), **({} if file.create_file else {"create_file": False})}
        for file in definition.config_files
    }
    done: Any = definition.startup_done[0] if len(definition.startup_done) == 1 else definition.startup_done
    startup = ({"done": done} if definition.startup_done else {}) | ({"strip_ansi": True} if definition.strip_ansi else {})
    return {
        "config": {
            "files": json.dumps(files, indent=4, ensure_ascii=False),
            "startup": json.dumps(startup, indent=4, ensure_ascii=False),
            "logs": "{}",
            "stop": definition.stop,
        },
        "scripts": {
            "installation": {
                "script": definition.install.script,
                "container": definition.install.container,
                "entrypoint": definition.install.entrypoint,
            }
        },
    }


def _variable(variable: Variable) -> Raw:
    return {
        "name": variable.name,
        "description": variable.description,
        "env_variable": variable.env_variable,
        "default_value": variable.default_value,
        "user_viewable": variable.user_viewable,
        "user_editable": variable.user_editable,
        "rules": list(variable.rules),
    }


def _ours(definition: EggDefinition) -> Raw:
    """Our extension, so that an egg survives the round trip; other panels ignore it."""
    plain, found = EggDefinition(name="").to_json(), definition.to_json()
    ours = {name: value for name, value in found.items() if name in OURS and value != plain.get(name)}
    if ours.get("icon", "").startswith("data:"):
        del ours["icon"]
    if not definition.data_target:
        ours["data_target"] = ""
    return {"lormas": ours} if ours else {}
