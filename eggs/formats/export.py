"""Writing eggs as files that other panels take.

What they could not take as it is (a reserved name, an author without an address, two variables of one name) is written as they take it, and
`lormas.restore` says what it was, so that import(export(egg)) is the same egg.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any, Final

import yaml

from eggs import rules
from eggs.definition import EggDefinition, Variable
from eggs.formats.newest import EMAIL
from eggs.formats.yamlcore import resolve
from lormas.common import clock

Raw = dict[str, Any]
COMMENT: Final = "Written by Lormas."
NO_AUTHOR: Final = "unknown@example.invalid"
PTDL_RESERVED: Final = frozenset(("SERVER_MEMORY", "SERVER_IP", "SERVER_PORT", "ENV", "HOME", "USER", "STARTUP", "SERVER_UUID", "UUID"))
"""Pterodactyl refuses an egg with one of these; Pelican renames by itself."""
OURS: Final = (
    "category", "process_command", "ports", "data_target", "grace_seconds", "startup_mode", "runs", "entrypoint", "command", "working_dir", "user",
    "tty", "tmpfs", "health", "limits", "privileges", "notes",
)  # fmt: skip
"""What only we know; `eggs.formats.extension` reads it back."""


def ptdl_v2(definition: EggDefinition) -> Raw:
    """For Pterodactyl: one startup line, rules as one text, no variable of a reserved name."""
    restore: Raw = {}
    renamed = {v.env_variable: _unreserved(v.env_variable) for v in definition.variables if v.env_variable in PTDL_RESERVED}
    startup = line = _line(definition)
    for old, new in renamed.items():
        line = re.sub(rf"\b{old}\b", new, line)
    if definition.tags:
        restore["tags"] = definition.tags
    if definition.icon.startswith("data:"):
        restore["icon"] = definition.icon
    if definition.runs == "startup" and (line != startup or definition.startup_commands != [("Default", startup)]):
        restore["startup_commands"] = dict(definition.startup_commands)
    written = [_variable(v) | {"env_variable": renamed.get(v.env_variable, v.env_variable), "field_type": "text"} for v in definition.variables]
    for variable, raw in zip(definition.variables, written, strict=True):
        raw["rules"] = "|".join(variable.rules) or "nullable|string"
    _note_changes(definition, written, restore, sorts=True)
    return {
        **_head(definition, "PTDL_v2", restore),
        "features": definition.features or None,
        "docker_images": dict(definition.docker_images),
        "file_denylist": definition.file_denylist,
        "startup": line,
        **_tail(definition, restore),
        "variables": written,
        **_ours(definition, restore),
    }


def _unreserved(name: str) -> str:
    """As Pelican renames it; SERVER_UUID is reserved as well."""
    made = f"SERVER_{name}"
    return _unreserved(made) if made in PTDL_RESERVED else made


def plcn_v3(definition: EggDefinition) -> Raw:
    """For Pelican: named startup commands, tags, rules as lists, no two variables of one name."""
    restore: Raw = {}
    names: set[str] = set()
    written = []
    for number, variable in enumerate(definition.variables, start=1):
        raw = _variable(variable) | {"sort": variable.sort}
        if raw["name"] in names:
            raw["name"] = f"{raw['name'][:150]} ({variable.env_variable[:30]} {number})"
        names.add(raw["name"])
        written.append(raw)
    _note_changes(definition, written, restore, sorts=False)
    return {
        **_head(definition, "PLCN_v3", restore),
        **({"icon": definition.icon} if definition.icon.startswith("data:") else {}),
        "tags": definition.tags,
        "features": definition.features,
        "docker_images": dict(definition.docker_images),
        "file_denylist": definition.file_denylist,
        "startup_commands": dict(definition.startup_commands) or {"Default": _line(definition)},
        **_tail(definition, restore),
        "variables": written,
        **_ours(definition, restore),
    }


EXPORTS: Final[dict[str, Callable[[EggDefinition], Raw]]] = {"PTDL_v2": ptdl_v2, "PLCN_v3": plcn_v3}


def as_json(raw: Raw) -> bytes:
    """Readable JSON."""
    return json.dumps(raw, indent=4, ensure_ascii=False).encode()


_PLAIN: Final = re.compile(r"[A-Za-z_/][A-Za-z0-9_./@-]*(?: [A-Za-z0-9_./@-]+)*\Z")
_BASE: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
_BLOCK: Final = re.compile(r"(?=[^\n]*\n)[!-~\u00a1-\u024f][\n -~\u00a1-\u024f\u3000-\u9fff\uff00-\uff60]*[!-~\u00a1-\u024f\u3001-\u9fff]\n?\Z")
"""Texts that a literal block holds to the letter; what else has line ends goes into quotes."""


class _Styled(str):
    """A text and how YAML writes it: `|` or `"`."""

    __slots__ = ("style",)
    style: str


class _Dumper(_BASE):  # type: ignore[misc]
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent(dumper: Any, text: _Styled) -> Any:
    return dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style=text.style)


_Dumper.add_representer(_Styled, _represent)


def _styled(text: str, style: str) -> str:
    made = _Styled(text)
    made.style = style
    return made


def as_yaml(raw: Raw) -> bytes:
    """YAML with scripts as blocks; what any reader of YAML might take for something else than text is in quotes."""

    def in_line(value: str) -> str:
        return value if _PLAIN.match(value) and resolve(value) == value else _styled(value, '"')

    def dressed(value: Any) -> Any:
        if isinstance(value, str):
            return _styled(value, "|") if _BLOCK.match(value) and " \n" not in value else in_line(value)
        if isinstance(value, dict):
            return {in_line(key): dressed(child) for key, child in value.items()}
        return [dressed(child) for child in value] if isinstance(value, list) else value

    text: bytes = yaml.dump(
        dressed(raw), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=10**6, encoding="utf-8", default_flow_style=False
    )
    return text


def filename(definition: EggDefinition, *, encoding: str) -> str:
    """`egg-some-name.json`"""
    slug = re.sub(r"[^a-z0-9]+", "-", definition.name.lower()).strip("-") or "egg"
    return f"egg-{slug[:80]}.{encoding}"


def _line(definition: EggDefinition) -> str:
    """The startup line; of an egg that starts as its image does, something a shell takes."""
    if definition.runs == "startup":
        return definition.default_startup
    return " ".join([*definition.entrypoint, *definition.command]).strip() or ": # as the image starts"


def _head(definition: EggDefinition, version: str, restore: Raw) -> Raw:
    author = definition.author
    if not EMAIL.match(author):
        restore["author"], author = author, NO_AUTHOR
    return {
        "_comment": COMMENT,
        "meta": {"version": version, "update_url": definition.update_url or None},
        "exported_at": clock.rfc3339(clock.now()),
        "name": definition.name,
        "author": author,
        **({"uuid": definition.uuid} if definition.uuid else {}),
        "description": definition.description or None,
    }


def _tail(definition: EggDefinition, restore: Raw) -> Raw:
    files = {
        file.path: {"parser": file.parser, "find": dict(file.find), **({} if file.create_file else {"create_file": False})}
        for file in definition.config_files
    }
    done: Any = definition.startup_done[0] if len(definition.startup_done) == 1 else definition.startup_done
    startup = ({"done": done} if definition.startup_done else {}) | ({"strip_ansi": True} if definition.strip_ansi else {})
    if not definition.stop:
        restore["stop"] = ""
    if definition.install.script and not definition.install.container:
        restore["install_container"] = ""
    return {
        "config": {
            "files": json.dumps(files, indent=4, ensure_ascii=False),
            "startup": json.dumps(startup, indent=4, ensure_ascii=False),
            "logs": "{}",
            "stop": definition.stop or "^SIGTERM",
        },
        "scripts": {
            "installation": {
                "script": definition.install.script,
                "container": definition.install.container or "alpine:3",
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


def _note_changes(definition: EggDefinition, written: list[Raw], restore: Raw, *, sorts: bool) -> None:
    """What of each variable was written differently from what it is."""
    changed = []
    for number, (variable, raw) in enumerate(zip(definition.variables, written, strict=True)):
        was: Raw = {}
        if raw["env_variable"] != variable.env_variable:
            was["env_variable"] = variable.env_variable
        if raw["name"] != variable.name:
            was["name"] = variable.name
        if (rules.split(raw["rules"]) if isinstance(raw["rules"], str) else raw["rules"]) != variable.rules:
            was["rules"] = list(variable.rules)
        if sorts and variable.sort is not None:
            was["sort"] = variable.sort
        if was:
            changed.append({"index": number, "of": raw["env_variable"], **was})
    if changed:
        restore["variables"] = changed


def _ours(definition: EggDefinition, restore: Raw) -> Raw:
    """Our extension; other panels ignore it."""
    plain, found = EggDefinition(name="").to_json(), definition.to_json()
    ours = {name: value for name, value in found.items() if name in OURS and value != plain.get(name)}
    if definition.icon and not definition.icon.startswith("data:"):
        ours["icon"] = definition.icon
    if not definition.data_target:
        ours["data_target"] = ""
    if restore:
        ours["restore"] = restore
    return {"lormas": ours} if ours else {}
