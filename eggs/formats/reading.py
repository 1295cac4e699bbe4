"""JSON and YAML, read so that no file can do more than be refused (C09)."""

from __future__ import annotations

import datetime
import io
import math
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, DocumentStartEvent, NodeEvent

from eggs.problems import EggRefused, Warnings
from lormas.common import strictjson

MAX_BYTES: Final = 1_000_000
MAX_DEPTH: Final = 64
MAX_NODES: Final = 50_000
MAX_ALIASES: Final = 32


def read(data: bytes, *, filename: str, warnings: Warnings) -> Any:
    """Plain data: maps with text keys, lists, text, numbers, booleans, None. Raises EggRefused (E_EMPTY, E_SYNTAX, E_NUL)."""
    if len(data) > MAX_BYTES:
        raise EggRefused("E_SYNTAX", f"The file is larger than {MAX_BYTES} bytes.")
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
        warnings.add("W_BOM", "The file begins with a byte order mark.")
    if not data.strip():
        raise EggRefused("E_EMPTY", "The file is empty.")
    return _json(data, warnings) if _is_json(data, filename) else _yaml(data)


def _is_json(data: bytes, filename: str) -> bool:
    suffix = filename.lower().rpartition(".")[2]
    if suffix in ("yaml", "yml"):
        return False
    return suffix == "json" or data.lstrip()[:1] in (b"{", b"[")


def _json(data: bytes, warnings: Warnings) -> Any:
    repeated: list[str] = []
    try:
        value = strictjson.loads(data, max_bytes=MAX_BYTES, max_depth=MAX_DEPTH, duplicates=repeated)
    except strictjson.NotJson as error:
        raise EggRefused("E_NUL" if error.code == "nul" else "E_SYNTAX", f"The file is not acceptable JSON: {error}.") from error
    if repeated:
        warnings.add("W_DUP_KEYS", f"Keys appear twice, the last one counts: {', '.join(sorted(set(repeated))[:5])}.")
    return value


def _yaml(data: bytes) -> Any:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise EggRefused("E_SYNTAX", "The file is not UTF-8.") from None
    try:
        _count(text)
        loader = YAML(typ="safe", pure=True)
        loader.allow_duplicate_keys = False
        return _Plain().of(loader.load(io.StringIO(text)))
    except YAMLError as error:
        raise EggRefused("E_SYNTAX", f"The file is not acceptable YAML: {' '.join(str(error).split())[:300]}") from error
    except (RecursionError, ValueError, OverflowError, TypeError) as error:
        raise EggRefused("E_SYNTAX", "The file is not acceptable YAML: a value can't be read.") from error


def _count(text: str) -> None:
    """Look at the events before anything is built: one document, bounded depth, size and aliases."""
    depth = nodes = aliases = documents = 0
    for event in YAML(typ="safe", pure=True).parse(io.StringIO(text)):
        documents += isinstance(event, DocumentStartEvent)
        nodes += isinstance(event, NodeEvent)
        aliases += isinstance(event, AliasEvent)
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > MAX_DEPTH or nodes > MAX_NODES or aliases > MAX_ALIASES or documents > 1:
            raise EggRefused("E_SYNTAX", "The YAML has several documents, or too many levels, values or aliases.")


class _Plain:
    """What the loader made, as JSON could say it; counts what aliases multiply."""

    def __init__(self) -> None:
        self._left = MAX_NODES

    def of(self, value: Any) -> Any:
        self._left -= 1
        if self._left < 0:
            raise EggRefused("E_SYNTAX", "The YAML's aliases multiply to too many values.")
        if isinstance(value, dict):
            return {self._key(key): self.of(child) for key, child in value.items()}
        if isinstance(value, list | tuple | set):
            return [self.of(child) for child in value]
        if isinstance(value, str):
            if "\x00" in value:
                raise EggRefused("E_NUL", "A text contains U+0000.")
            if any("\ud800" <= c <= "\udfff" for c in value):
                raise EggRefused("E_SYNTAX", "A text contains half of a surrogate pair.")
            return str(value)
        if isinstance(value, datetime.date):
            return value.isoformat()
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int):
            return int(value) if strictjson.INT_MIN <= value <= strictjson.INT_MAX else str(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else str(value)
        raise EggRefused("E_SYNTAX", f"The YAML holds a value of a kind that eggs don't have ({type(value).__name__}).")

    def _key(self, key: Any) -> str:
        if isinstance(key, bool):
            return "true" if key else "false"
        if key is None or isinstance(key, str | int | float):
            return "" if key is None else str(self.of(key))
        raise EggRefused("E_SYNTAX", "The YAML has a key that is no text.")
