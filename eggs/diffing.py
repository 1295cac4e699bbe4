"""What differs between two versions of an egg, for people to read before containers are moved. Pure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

from eggs.definition import EggDefinition, Variable

CONTEXT_LINES: Final = 3
MAX_LINES: Final = 2000
WORDS: Final = {
    "name": "Name", "author": "Author", "description": "Description", "tags": "Tags", "features": "Features", "stop": "Stop",
    "startup_done": "Ready when it says", "file_denylist": "Files kept away", "data_target": "Data folder", "ports": "Ports", "command": "Command",
    "entrypoint": "Entrypoint", "privileges": "Asks of the machine", "limits": "Default limits", "health": "Health check", "user": "User",
    "working_dir": "Working folder", "process_command": "Command without an engine", "tty": "Terminal", "tmpfs": "Memory folders",
    "grace_seconds": "Time to stop", "startup_mode": "Who evaluates the startup line", "runs": "How it starts", "notes": "Notes",
    "update_url": "Address of updates", "category": "Category", "strip_ansi": "Colours taken off",
}  # fmt: skip
"""Plain fields, in the order of the page."""


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `lines` is a unified diff where a text has several lines; else `before` and `after` say it."""

    section: Literal["image", "startup", "variable", "file", "install", "privilege", "other"]
    what: str
    kind: Literal["added", "removed", "changed"]
    before: str = ""
    after: str = ""
    lines: list[str] = field(default_factory=list)


def differences(old: EggDefinition, new: EggDefinition, *, manager: bool) -> list[Change]:
    """All that differs. Who is no `manager` sees nothing of hidden variables, of configuration files and of the install script (I01)."""
    found = [
        *_maps("image", dict(old.docker_images), dict(new.docker_images)),
        *_maps("startup", dict(old.startup_commands), dict(new.startup_commands)),
        *_variables(old, new, manager=manager),
    ]
    if manager:
        found += _maps("file", _files(old), _files(new))
        found += _install(old, new)
    elif _files(old) != _files(new) or old.install != new.install:
        found.append(Change("other", "Configuration files or install script", "changed"))
    before, after = old.to_json(), new.to_json()
    for name, word in WORDS.items():
        a, b = before.get(name), after.get(name)
        if a != b:
            section: Literal["privilege", "other"] = "privilege" if name == "privileges" else "other"
            found.append(_change(section, word, _text(a), _text(b)))
    if old.icon != new.icon:
        found.append(Change("other", "Icon", "changed"))
    return found


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        return ", ".join(item if isinstance(item, str) else _text(item) for item in value)
    if isinstance(value, dict):
        return " ".join(str(part) if isinstance(part, str | int | float) else json.dumps(part) for part in value.values())
    return str(value)


def _change(section: Any, what: str, before: str, after: str) -> Change:
    kind: Literal["added", "removed", "changed"] = "added" if not before else "removed" if not after else "changed"
    if "\n" in before or "\n" in after:
        return Change(section, what, kind, lines=_lines(before, after))
    return Change(section, what, kind, before, after)


def _lines(before: str, after: str) -> list[str]:
    lines: Iterable[str] = difflib.unified_diff(before.splitlines()[:MAX_LINES], after.splitlines()[:MAX_LINES], lineterm="", n=CONTEXT_LINES)
    return list(lines)[2:]


def _maps(section: Any, old: dict[str, str], new: dict[str, str]) -> list[Change]:
    names = [*old, *(name for name in new if name not in old)]
    found = [_change(section, name, old.get(name, ""), new.get(name, "")) for name in names if old.get(name) != new.get(name)]
    if not found and list(old) != list(new):
        found.append(Change(section, "Order (the first is the default)", "changed", ", ".join(old), ", ".join(new)))
    return found


def _files(definition: EggDefinition) -> dict[str, str]:
    made: dict[str, str] = {}
    for file in definition.config_files:
        lines = [f"parser: {file.parser}", *(f"{key} = {value if isinstance(value, str) else json.dumps(value)}" for key, value in file.find)]
        made[file.path] = "\n".join(lines)
    return made


def _install(old: EggDefinition, new: EggDefinition) -> list[Change]:
    found = []
    for word, a, b in (
        ("Image of the installer", old.install.container, new.install.container),
        ("Shell", old.install.entrypoint, new.install.entrypoint),
    ):
        if a != b:
            found.append(_change("install", word, a, b))
    if old.install.script != new.install.script:
        found.append(Change("install", "Script", "changed", lines=_lines(old.install.script, new.install.script)))
    return found


_FIELDS: Final = (
    ("name", "name"), ("description", "description"), ("default_value", "default"), ("rules", "rules"), ("user_viewable", "people see it"),
    ("user_editable", "people set it"),
)  # fmt: skip


def _variables(old: EggDefinition, new: EggDefinition, *, manager: bool) -> list[Change]:
    def shown(definition: EggDefinition) -> dict[str, Variable]:
        return {v.env_variable: v for v in definition.effective_variables()}

    before, after, found = shown(old), shown(new), []
    for env in [*before, *(env for env in after if env not in before)]:
        a, b = before.get(env), after.get(env)
        if not manager and any(variable is not None and not variable.user_viewable for variable in (a, b)):
            continue
        if a is None or b is None:
            there = a or b
            assert there is not None
            found.append(Change("variable", env, "added" if a is None else "removed", *_sides(a is None, f"default {there.default_value!r}")))
            continue
        for name, word in _FIELDS:
            x, y = getattr(a, name), getattr(b, name)
            if x != y:
                left, right = (" | ".join(value) if isinstance(value, list) else _yes(value) for value in (x, y))
                found.append(Change("variable", f"{env}: {word}", "changed", left, right))
    return found


def _sides(added: bool, text: str) -> tuple[str, str]:
    return ("", text) if added else (text, "")


def _yes(value: Any) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def as_plain(changes: list[Change]) -> list[dict[str, Any]]:
    """For JSON."""
    return [msgspec.to_builtins(change) for change in changes]
