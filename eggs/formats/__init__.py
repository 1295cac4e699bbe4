"""From the bytes of a file to an `EggDefinition`: read safely, bring up to the newest form step by step, check."""

from __future__ import annotations

from typing import Any, Final

from eggs.formats.collections import Contents, Found, Skipped, contents, kind_of
from eggs.formats.reading import read
from eggs.problems import EggRefused, EggWarning, Warnings
from lormas.common.wires import resolve

UPGRADES: Final[dict[str, tuple[str, ...]]] = {
    "PTDL_v1": ("eggs.formats.upgrades.images_to_map", "eggs.formats.upgrades.startup_to_map", "eggs.formats.upgrades.restored"),
    "PTDL_v2": ("eggs.formats.upgrades.images_to_map", "eggs.formats.upgrades.startup_to_map", "eggs.formats.upgrades.restored"),
    "PLCN_v1": ("eggs.formats.upgrades.images_to_map", "eggs.formats.upgrades.startup_to_map", "eggs.formats.upgrades.restored"),
    "PLCN_v2": ("eggs.formats.upgrades.images_to_map", "eggs.formats.upgrades.startup_to_map", "eggs.formats.upgrades.restored"),
    "PLCN_v3": ("eggs.formats.upgrades.images_to_map", "eggs.formats.upgrades.startup_fallback", "eggs.formats.upgrades.restored"),
}
"""meta.version -> steps up to the newest form; a new format is a line here and its steps."""

Raw = dict[str, Any]
__all__ = ["UPGRADES", "Contents", "EggRefused", "EggWarning", "Found", "Parsed", "Skipped", "parse", "parse_all"]


Parsed = Found


def parse(data: bytes, *, filename: str = "") -> Parsed:
    """One egg from the bytes of a JSON or YAML file. Raises EggRefused with the code of the first reason."""
    warnings = Warnings()
    return _egg(read(data, filename=filename, warnings=warnings), warnings)


def parse_all(data: bytes, *, filename: str = "") -> Contents:
    """All eggs of a file: one, or those of a Portainer template file or a Compose file.

    Raises EggRefused with the code of the first reason if there is none; of a file with several, what is left out is in `skipped`.
    """
    warnings = Warnings()
    raw = read(data, filename=filename, warnings=warnings)
    if kind_of(raw):
        return contents(raw)
    return Contents(eggs=[_egg(raw, warnings)])


def _egg(raw: Any, warnings: Warnings) -> Found:
    from eggs.formats.newest import definition_of

    if not isinstance(raw, dict):
        raise EggRefused("E_NOT_MAPPING", "The file holds no object at its top level.")
    meta = raw.get("meta")
    version = meta.get("version") if isinstance(meta, dict) else None
    if not isinstance(version, str) or version not in UPGRADES:
        raise EggRefused("E_VERSION", f"meta.version is {str(version)[:40]!r}; known are {', '.join(UPGRADES)}.")
    for step in UPGRADES[version]:
        raw = resolve(step)(raw, version=version, warnings=warnings)
    return Found(definition_of(raw, warnings=warnings), version, warnings.all())
