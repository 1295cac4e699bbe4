"""Parsers `json`, `yaml`, `toml`: paths into a document."""

from __future__ import annotations

import io
import json
import math
import re
import secrets
import tomllib
import warnings
from typing import Any

from agent.configfiles.paths import Kind, change
from agent.configfiles.values import ConfigProblem, encode, line_end, typed

_INDENT = re.compile(r"[\[{]\r?\n([ \t]+)\S")
_LIST = re.compile(r"^( *)[^\s#-][^\n]*:[ ]*\r?\n(?:[ ]*#[^\n]*\n)*( *)- ", re.MULTILINE)
_MAP = re.compile(r"^( *)[^\s#-][^\n]*:[ ]*\r?\n(?:[ ]*#[^\n]*\n)*( +)[^\s#-]", re.MULTILINE)


def _text(data: bytes) -> tuple[str, bytes]:
    mark = b"\xef\xbb\xbf" if data.startswith(b"\xef\xbb\xbf") else b""
    return data[len(mark) :].decode("utf-8"), mark


class _Spelt(float):
    """A number as the file spells it: digits that a float has no room for are not lost."""

    text: str

    def __new__(cls, text: str) -> _Spelt:
        made = super().__new__(cls, text)
        made.text = text
        return made

    def __str__(self) -> str:
        return self.text


def _spelt(text: str) -> _Spelt:
    number = _Spelt(text)
    if not math.isfinite(number):
        raise ValueError("a number is out of range")
    return number


def _respelt(document: Any, mark: str) -> Any:
    """A copy with marked texts in the place of such numbers."""
    if isinstance(document, _Spelt):
        return f"{mark}{document.text}"
    if isinstance(document, dict):
        return {key: _respelt(child, mark) for key, child in document.items()}
    return [_respelt(child, mark) for child in document] if isinstance(document, list) else document


def apply_json(data: bytes, finds: list[tuple[str, Any]]) -> bytes:
    """Keys keep their order, the indentation stays; a file with comments or with a key twice is left alone."""

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(found)
        if len(made) != len(found):
            raise ConfigProblem("a key is in it twice")
        return made

    text, mark = _text(data)
    try:
        document = json.loads(text, object_pairs_hook=pairs, parse_float=_spelt) if text.strip() else {}
        document = {} if document is None else document
        for path, find in finds:
            change(document, path, find, kind=Kind())
        indent = _INDENT.search(text)
        compact = bool(text.strip()) and "\n" not in text.strip()
        spacing = (",", ":") if compact and '": ' not in text else None
        sign = secrets.token_hex(12)
        document = _respelt(document, sign)
        ways: Any = {"allow_nan": False, "indent": indent[1] if indent else None if compact else 2, "separators": spacing}
        made = json.dumps(document, ensure_ascii=False, **ways)
        if _HALF.search(made):  # no UTF-8 has it: it stays the escape that it was
            made = json.dumps(document, **ways)
        made = re.sub(f'"{sign}([^"]*)"', r"\1", made)
    except ValueError as error:
        raise ConfigProblem(f"it is not JSON: {error}") from None
    end = line_end(text)
    made = made.replace("\n", end) + (end if text.endswith("\n") or not text.strip() else "")
    return encode(made, "utf-8", mark)


_HALF = re.compile("[\ud800-\udfff]")
MOST_OPEN = 500
_BRACKET = re.compile(r"[\[\]{}]")


def _check_depth(text: str) -> None:
    """The reader's cost grows with the square of what is open at a time. Raises ConfigProblem."""
    depth = 0
    for found in _BRACKET.finditer(text):
        depth = depth + 1 if found[0] in "[{" else max(0, depth - 1)
        if depth > MOST_OPEN:
            raise ConfigProblem(f"more than {MOST_OPEN} brackets are open at a time")


_WORDS = frozenset({"yes", "no", "on", "off"})
_OLD = re.compile(
    r"(?:y|n|yes|no|on|off|[-+]?0[0-7_]+|[-+]?0b[01_]+|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+(?:\.[0-9_]*)?|[-+]?[0-9]+_[0-9_]*)\Z", re.IGNORECASE
)
_STARTS = re.compile(r"((?:[ \t]*(?:#[^\n]*)?\n)*)---(?:\s|\Z)")
_ONLY_COMMENTS = re.compile(r"(?:[ \t]*(?:#[^\n]*)?(?:\n|\Z))*")


def apply_yaml(data: bytes, finds: list[tuple[str, Any]]) -> bytes:
    """Comments, order, quotes and anchors stay."""
    from ruamel.yaml import YAML
    from ruamel.yaml.comments import CommentedMap, CommentedSeq
    from ruamel.yaml.error import ReusedAnchorWarning, YAMLError
    from ruamel.yaml.scalarstring import ScalarString, SingleQuotedScalarString

    def as_read(new: Any, current: Any) -> Any:
        """Most readers of these files know YAML 1.1, where `yes` is a boolean and `0644` another number: what they must take for text is quoted."""
        plain = type(current) is str and current.lower() in _WORDS  # quoted ones are of a class of their own
        if plain and isinstance(new, str) and new.lower() in ("true", "false"):
            return new.lower() == "true"
        value = typed(new, current)
        ours = type(value) is str and not plain and not isinstance(current, ScalarString)  # which keep their quotes by themselves
        return SingleQuotedScalarString(value) if ours and _OLD.match(value) else value

    text, mark = _text(data)
    end = line_end(text)
    _check_depth(text)
    warnings.simplefilter("ignore", ReusedAnchorWarning)  # fine in YAML, and nobody reads our stderr
    rt = YAML(typ="rt")
    rt.preserve_quotes = True
    rt.width = 1 << 20
    kind = Kind(lambda _: CommentedMap(), CommentedSeq, as_read)
    lists, maps = _LIST.search(text), _MAP.search(text)
    offset = len(lists[2]) - len(lists[1]) if lists else 0
    mapping = len(maps[2]) - len(maps[1]) if maps else 2
    rt.indent(mapping=max(2, min(8, mapping)), sequence=max(0, min(8, offset)) + 2, offset=max(0, min(8, offset)))
    try:
        text = text.replace("\r\n", "\n")
        head = _STARTS.match(text)
        rt.explicit_start = head is not None  # type: ignore[assignment]
        before = head[1] if head else ""
        document = rt.load(text[len(before) :])
        out = io.StringIO()
        if document is None:
            document = CommentedMap()
            if _ONLY_COMMENTS.fullmatch(text):
                before = text.rstrip("\n") + "\n" if text.strip() else ""
        for path, find in finds:
            change(document, path, find, kind=kind)
        if not document and before:  # only comments, and nothing to add
            return data
        rt.dump(document, out)
    except (YAMLError, ValueError, TypeError, AttributeError, KeyError, NotImplementedError) as error:
        first = str(error).strip().splitlines()
        raise ConfigProblem(f"it is not YAML that can be changed: {first[0] if first else type(error).__name__}") from None
    return encode((before + out.getvalue()).replace("\n", end), "utf-8", mark)


def apply_toml(data: bytes, finds: list[tuple[str, Any]]) -> bytes:
    """Comments and order stay."""
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    def new_map(inside: Any) -> Any:
        return tomlkit.inline_table() if isinstance(inside, tomlkit.items.Array | tomlkit.items.InlineTable) else tomlkit.table()

    text, mark = _text(data)
    try:
        document = tomlkit.parse(text)
        for path, find in finds:
            change(document, path, find, kind=Kind(new_map, tomlkit.array))
        made = tomlkit.dumps(document)
        tomllib.loads(made)
    except (TOMLKitError, ValueError, TypeError) as error:
        raise ConfigProblem(f"it is not TOML that can be changed: {error}") from None
    return encode(made, "utf-8", mark)
