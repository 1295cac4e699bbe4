"""From an egg's `config.files`, placeholders filled in, to what its node applies before each start (pure).

Six parsers of the panels eggs come from and TOML (EGGS section 5); an entry of another parser does nothing there and nothing here.
"""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from typing import Any, Final, Literal, cast

from agent.protocol.parts import ConfigEdit
from eggs.definition import ConfigFile

PARSERS: Final = {
    "properties": "properties",
    "file": "file",
    "json": "json",
    "yaml": "yaml",
    "yml": "yaml",
    "ini": "ini",
    "xml": "xml",
    "toml": "toml",
}
Parser = Literal["properties", "file", "json", "yaml", "ini", "xml", "toml"]
MOST_FILES: Final = 64
MOST_FINDS: Final = 512


def edits_of(files: Sequence[ConfigFile], *, data_target: str) -> list[ConfigEdit]:
    """In their order. Left out: unknown parsers, paths that would climb, and finds that are neither a value nor a map of old -> new."""
    made = []
    for file in files[:MOST_FILES]:
        parser, path = PARSERS.get(file.parser.strip().lower()), relative(file.path, data_target=data_target)
        if parser is None or not path:
            continue
        finds = [(key, one) for key, value in file.find[:MOST_FINDS] if key and _is_find(value) for one in _one_by_one(value)]
        made.append(ConfigEdit(path=path, parser=cast(Parser, parser), finds=finds, create=file.create_file))
    return made


def relative(path: str, *, data_target: str) -> str:
    """Absolute paths mean the data folder's root, also where they spell out its place inside; "" = not usable."""
    plain = path.strip().replace("\\", "/")
    if "\0" in plain or ".." in plain.split("/"):
        return ""
    plain = posixpath.normpath("/" + plain.lstrip("/"))
    inside = posixpath.normpath(data_target or "/")
    if inside != "/" and plain.startswith(inside + "/"):
        plain = plain[len(inside) :]
    return plain.strip("/")


def _one_by_one(value: Any) -> list[Any]:
    """Several conditions are several finds, each on what the one before left, as the daemons eggs come from do; no JSON on the way to the node can
    put them into another order."""
    return [{old: new} for old, new in value.items()] if isinstance(value, dict) else [value]


def _is_find(value: Any) -> bool:
    if isinstance(value, dict):
        return bool(value) and all(isinstance(key, str) and _is_value(child) for key, child in value.items())
    return _is_value(value)


def _is_value(value: Any) -> bool:
    return isinstance(value, str | bool | int | float)
