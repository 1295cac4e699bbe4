"""From the bytes of a file to an `EggDefinition`: read safely, bring up to the newest form step by step, check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from eggs.definition import EggDefinition
from eggs.formats.reading import read
from eggs.problems import EggRefused, EggWarning, Warnings
from lormas.common.wires import resolve

UPGRADES: Final[dict[str, tuple[str, ...]]] = {
    "PTDL_v1": ("eggs.formats.upgrades.images_to_map", "eggs.formats.upgrades.startup_to_map"),
    "PTDL_v2": ("eggs.formats.upgrades.images_to_map", "eggs.formats.upgrades.startup_to_map"),
    "PLCN_v1": ("eggs.formats.upgrades.images_to_map", "eggs.formats.upgrades.startup_to_map"),
    "PLCN_v2": ("eggs.formats.upgrades.images_to_map", "eggs.formats.upgrades.startup_to_map"),
    "PLCN_v3": ("eggs.formats.upgrades.images_to_map", "eggs.formats.upgrades.startup_fallback"),
}
"""meta.version -> steps up to the newest form; a new format is a line here and its steps."""

Raw = dict[str, Any]
__all__ = ["UPGRADES", "EggRefused", "EggWarning", "Parsed", "parse"]


@dataclass(frozen=True, slots=True)
class Parsed:
    """A file that is an egg."""

    definition: EggDefinition
    version: str
    warnings: list[EggWarning]


def parse(data: bytes, *, filename: str = "") -> Parsed:
    """One egg from the bytes of a JSON or YAML file. Raises EggRefused with the code of the first reason."""
    from eggs.formats.newest import definition_of

    warnings = Warnings()
    raw = read(data, filename=filename, warnings=warnings)
    if not isinstance(raw, dict):
        raise EggRefused("E_NOT_MAPPING", "The file holds no object at its top level.")
    meta = raw.get("meta")
    version = meta.get("version") if isinstance(meta, dict) else None
    if not isinstance(version, str) or version not in UPGRADES:
        raise EggRefused("E_VERSION", f"meta.version is {str(version)[:40]!r}; known are {', '.join(UPGRADES)}.")
    for step in UPGRADES[version]:
        raw = resolve(step)(raw, version=version, warnings=warnings)
    return Parsed(definition_of(raw, warnings=warnings), version, warnings.all())
