"""JSON and YAML, read so that no file can do more than be refused (C09)."""

from __future__ import annotations

from typing import Any, Final

from eggs.formats.yamlcore import MAX_ALIASES, MAX_NODES, BadYaml, load
from eggs.problems import EggRefused, Warnings
from lormas.common import strictjson

MAX_BYTES: Final = 1_000_000
MAX_DEPTH: Final = 64
__all__ = ["MAX_ALIASES", "MAX_BYTES", "MAX_DEPTH", "MAX_NODES", "read"]


def read(data: bytes, *, filename: str, warnings: Warnings) -> Any:
    """Plain data: maps with text keys, lists, text, numbers, booleans, None. Raises EggRefused (E_EMPTY, E_SYNTAX, E_NUL)."""
    if len(data) > MAX_BYTES:
        raise EggRefused("E_SYNTAX", f"The file is larger than {MAX_BYTES} bytes.")
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
        warnings.add("W_BOM", "The file begins with a byte order mark.")
    if not data.strip():
        raise EggRefused("E_EMPTY", "The file is empty.")
    begins_as_json = data.lstrip()[:1] in (b"{", b"[")
    suffix = filename.lower().rpartition(".")[2]
    if suffix == "json" or (begins_as_json and suffix not in ("yaml", "yml")):
        return _json(data, warnings)
    if begins_as_json:  # JSON under a YAML name: read as what it is, if it is that without a fault
        try:
            return strictjson.loads(data, max_bytes=MAX_BYTES, max_depth=MAX_DEPTH, wide=True)
        except strictjson.NotJson:
            pass
    return _yaml(data)


def _json(data: bytes, warnings: Warnings) -> Any:
    repeated: list[str] = []
    try:
        value = strictjson.loads(data, max_bytes=MAX_BYTES, max_depth=MAX_DEPTH, duplicates=repeated, wide=True)
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
        return load(text, max_depth=MAX_DEPTH)
    except BadYaml as error:
        raise EggRefused("E_NUL" if error.code == "nul" else "E_SYNTAX", f"The file is not acceptable YAML: {error}.") from None
