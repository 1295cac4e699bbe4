"""Parsers `json`, `yaml`, `toml`: paths into a document."""

from __future__ import annotations

import io
import json
import re
import warnings
from typing import Any

from agent.configfiles.paths import change
from agent.configfiles.values import ConfigProblem, encode, line_end

_INDENT = re.compile(r"[\[{]\r?\n([ \t]+)\S")
_LIST = re.compile(r"^( *)[^\s#-][^\n]*:[ ]*\r?\n(?:[ ]*#[^\n]*\n)*( *)- ", re.MULTILINE)
_MAP = re.compile(r"^( *)[^\s#-][^\n]*:[ ]*\r?\n(?:[ ]*#[^\n]*\n)*( +)[^\s#-]", re.MULTILINE)


def _text(data: bytes) -> tuple[str, bytes]:
    mark = b"\xef\xbb\xbf" if data.startswith(b"\xef\xbb\xbf") else b""
    return data[len(mark) :].decode("utf-8"), mark


def apply_json(data: bytes, finds: list[tuple[str, Any]]) -> bytes:
    """Keys keep their order, the indentation stays; a file with comments or with a key twice is left alone."""

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(found)
        if len(made) != len(found):
            raise ConfigProblem("a key is in it twice")
        return made

    text, mark = _text(data)
    try:
        document = json.loads(text, object_pairs_hook=pairs) if text.strip() else {}
        for path, find in finds:
            change(document, path, find, new_map=dict, new_list=list)
        indent = _INDENT.search(text)
        compact = bool(text.strip()) and "\n" not in text.strip()
        spacing = (",", ":") if compact and '": ' not in text else None
        made = json.dumps(document, ensure_ascii=False, allow_nan=False, indent=indent[1] if indent else None if compact else 2, separators=spacing)
    except ValueError as error:
        raise ConfigProblem(f"it is not JSON: {error}") from None
    end = line_end(text)
    made = made.replace("\n", end) + (end if text.endswith("\n") or not text.strip() else "")
    return encode(made, "utf-8", mark)


MOST_OPEN = 500
_BRACKET = re.compile(r"[\[\]{}]")


def _check_depth(text: str) -> None:
    """The reader's cost grows with the square of what is open at a time. Raises ConfigProblem."""
    depth = 0
    for found in _BRACKET.finditer(text):
        depth = depth + 1 if found[0] in "[{" else max(0, depth - 1)
        if depth > MOST_OPEN:
            raise ConfigProblem(f"more than {MOST_OPEN} brackets are open at a time")


def apply_yaml(data: bytes, finds: list[tuple[str, Any]]) -> bytes:
    """Comments, order, quotes and anchors stay."""
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap, CommentedSeq
    from ruamel.yaml.error import ReusedAnchorWarning, YAMLError

    text, mark = _text(data)
    _check_depth(text)
    warnings.simplefilter("ignore", ReusedAnchorWarning)  # fine in YAML, and nobody reads our stderr
    rt = YAML(typ="rt")
    rt.preserve_quotes = True
    rt.width = 1 << 20
    lists, maps = _LIST.search(text), _MAP.search(text)
    offset = len(lists[2]) - len(lists[1]) if lists else 0
    mapping = len(maps[2]) - len(maps[1]) if maps else 2
    rt.indent(mapping=max(2, min(8, mapping)), sequence=max(0, min(8, offset)) + 2, offset=max(0, min(8, offset)))
    try:
        document = rt.load(text.replace("\r\n", "\n"))
        if document is None:
            document = CommentedMap()
            text = text if text.strip() else ""
        for path, find in finds:
            change(document, path, find, new_map=CommentedMap, new_list=CommentedSeq)
        out = io.StringIO()
        rt.dump(document, out)
    except (YAMLError, ValueError, TypeError, AttributeError, KeyError, NotImplementedError) as error:
        first = str(error).strip().splitlines()
        raise ConfigProblem(f"it is not YAML that can be changed: {first[0] if first else type(error).__name__}") from None
    return encode(out.getvalue().replace("\n", line_end(text)), "utf-8", mark)


def apply_toml(data: bytes, finds: list[tuple[str, Any]]) -> bytes:
    """Comments and order stay."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    text, mark = _text(data)
    try:
        document = tomlkit.parse(text)
        for path, find in finds:
            change(document, path, find, new_map=tomlkit.table, new_list=tomlkit.array)
        made = tomlkit.dumps(document)
    except (TOMLKitError, ValueError, TypeError) as error:
        raise ConfigProblem(f"it is not TOML that can be changed: {error}") from None
    return encode(made, "utf-8", mark)
