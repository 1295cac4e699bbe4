"""Files that hold several eggs: Portainer template files and Compose files, beside files of one egg."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from eggs.definition import EggDefinition
from eggs.problems import EggRefused, EggWarning

MAX_EGGS = 2000
"""A file of a megabyte holds no more that is worth anything."""


@dataclass(frozen=True, slots=True)
class Found:
    """One egg of a file. `version` names the format: PTDL_v2 ..., PORTAINER_v3, COMPOSE."""

    definition: EggDefinition
    version: str
    warnings: list[EggWarning]


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something of a file that is no egg here, and why."""

    name: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Contents:
    """All of a file."""

    eggs: list[Found] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)


def kind_of(raw: Any) -> str:
    """`portainer`, `compose`, or empty: an egg, or nothing that is known."""
    if isinstance(raw, list):
        return "portainer" if any(_is_template(item) for item in raw) else ""
    if not isinstance(raw, dict) or "meta" in raw:
        return ""
    if isinstance(raw.get("templates"), list):
        return "portainer"
    if isinstance(raw.get("services"), dict):
        return "compose"
    return ""


def _is_template(item: Any) -> bool:
    return isinstance(item, dict) and bool({"image", "repository", "title"} & set(item)) and "meta" not in item


def contents(raw: Any) -> Contents:
    """The eggs of a Portainer or Compose file. Raises EggRefused if there is none."""
    from eggs.formats import compose, portainer

    found = portainer.contents(raw) if kind_of(raw) == "portainer" else compose.contents(raw)
    if not found.eggs:
        why = "; ".join(f"{one.name}: {one.message}" for one in found.skipped[:3])
        raise EggRefused(found.skipped[0].code if found.skipped else "E_EMPTY", why or "The file holds nothing that can become an egg.")
    return found
