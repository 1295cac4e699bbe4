"""YAML 1.2 core schema from the events of libyaml's parser, one document, built by hand so that every step is counted (C09).

No tag makes anything but plain data, a date stays text, `no` is a word, and what aliases multiply counts as if it were written out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final

import yaml

from lormas.common.strictjson import INT_MAX, INT_MIN

MAX_NODES: Final = 50_000
MAX_ALIASES: Final = 512
"""A Compose file of forty services has one or two for each; what they multiply is counted in nodes and characters."""
MAX_CHARS: Final = 2_000_000
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # only its parser is used
_TAG: Final = "tag:yaml.org,2002:"
_NULL: Final = frozenset({"", "~", "null", "Null", "NULL"})
_BOOL: Final = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INT: Final = re.compile(r"[-+]?[0-9]+\Z")
_OCTAL: Final = re.compile(r"0o[0-7]+\Z")
_HEX: Final = re.compile(r"0x[0-9a-fA-F]+\Z")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]{1,3})?\Z")
_MERGE: Final = object()


class BadYaml(ValueError):
    """The text is refused. `code` is one of: syntax, depth, size, alias, duplicate_key, key, tag, nul."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def load(text: str, *, max_depth: int) -> Any:
    """Plain data: maps with text keys, lists, text, numbers, booleans, None. Raises BadYaml."""
    builder = _Builder(max_depth)
    try:
        return builder.run(yaml.parse(text, Loader=_LOADER))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise BadYaml("syntax", f"{where}{error.problem or error.context or 'it can not be read'}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, BadYaml):
            raise
        raise BadYaml("syntax", str(error).splitlines()[0][:200] if str(error) else "it can not be read") from None


class _Open:
    """A map or list that is not closed yet."""

    __slots__ = ("anchor", "chars", "key", "merged", "nodes", "value")

    def __init__(self, value: Any, anchor: str | None, nodes: int, chars: int) -> None:
        self.value, self.anchor, self.nodes, self.chars = value, anchor, nodes, chars
        self.key: Any = None  # of a map: the key that waits for its value; a text, or _MERGE
        self.merged: dict[str, Any] = {}


class _Builder:
    def __init__(self, max_depth: int) -> None:
        self._max_depth = max_depth
        self._stack: list[_Open] = []
        self._nodes = self._chars = self._aliases = 0
        self._anchors: dict[str, tuple[Any, int, int] | None] = {}
        """anchor -> (value, nodes, characters); None while it is open: nothing may contain itself."""
        self._root: Any = None
        self._documents = 0

    def run(self, events: Iterable[Any]) -> Any:
        for event in events:
            if isinstance(event, yaml.ScalarEvent):
                self._scalar(event)
            elif isinstance(event, yaml.AliasEvent):
                self._alias(str(event.anchor))
            elif isinstance(event, yaml.CollectionStartEvent):
                self._open(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._close()
            elif isinstance(event, yaml.DocumentStartEvent):
                self._documents += 1
                if self._documents > 1:
                    raise BadYaml("syntax", "it holds several documents")
        return self._root

    def _count(self, nodes: int, chars: int) -> None:
        self._nodes += nodes
        self._chars += chars
        if self._nodes > MAX_NODES or self._chars > MAX_CHARS:
            raise BadYaml("size", "it holds too many values, or aliases multiply them")

    def _scalar(self, event: Any) -> None:
        text: str = event.value
        if "\x00" in text:
            raise BadYaml("nul", "a text contains U+0000")
        if not text.isascii() and any("\ud800" <= c <= "\udfff" for c in text):
            raise BadYaml("syntax", "a text contains half of a surrogate pair")
        self._count(1, len(text))
        kind = _kind_of(event.tag)
        plain = event.style in (None, "") and kind in ("", "resolve")
        top = self._stack[-1] if self._stack else None
        if top is not None and isinstance(top.value, dict) and top.key is None:  # a key keeps its spelling: 1.10 is not 1.1
            key: Any = _MERGE if plain and text == "<<" else ("" if plain and text in _NULL else text)
            self._key(top, key)
            value: Any = text
        else:
            value = resolve(text) if plain else _tagged(kind, text)
            self._put(value)
        if event.anchor:
            self._anchors[event.anchor] = (value, 1, len(text))

    def _alias(self, anchor: str) -> None:
        self._aliases += 1
        found = self._anchors.get(anchor)
        if found is None or self._aliases > MAX_ALIASES:
            raise BadYaml("alias", "it holds too many aliases, or one of something that is not whole")
        value, nodes, chars = found
        self._count(nodes, chars)
        top = self._stack[-1] if self._stack else None
        if top is not None and isinstance(top.value, dict) and top.key is None:
            if not isinstance(value, str):
                raise BadYaml("key", "a key is no text")
            self._key(top, value)
        else:
            self._put(value)

    def _open(self, event: Any) -> None:
        is_map = isinstance(event, yaml.MappingStartEvent)
        if _kind_of(event.tag) not in ("", "map" if is_map else "seq"):
            raise BadYaml("tag", f"the tag {str(event.tag)[:64]} is not known")
        if len(self._stack) >= self._max_depth:
            raise BadYaml("depth", f"nested deeper than {self._max_depth}")
        if self._stack and isinstance(self._stack[-1].value, dict) and self._stack[-1].key is None:
            raise BadYaml("key", "a key is no text")
        self._count(1, 0)
        if event.anchor:
            self._anchors[event.anchor] = None
        self._stack.append(_Open({} if is_map else [], event.anchor, self._nodes - 1, self._chars))

    def _close(self) -> None:
        done = self._stack.pop()
        for key, value in done.merged.items():  # what the map itself says wins
            done.value.setdefault(key, value)
        if done.anchor:
            self._anchors[done.anchor] = (done.value, self._nodes - done.nodes, self._chars - done.chars)
        self._put(done.value)

    def _key(self, top: _Open, key: Any) -> None:
        if key is not _MERGE and key in top.value:
            raise BadYaml("duplicate_key", f"the key {str(key)[:64]!r} appears twice")
        top.key = key

    def _put(self, value: Any) -> None:
        if not self._stack:
            self._root = value
            return
        top = self._stack[-1]
        if isinstance(top.value, list):
            top.value.append(value)
        elif top.key is _MERGE:
            _merge(top.merged, value)
            top.key = None
        else:
            top.value[top.key] = value
            top.key = None


def _merge(into: dict[str, Any], value: Any) -> None:
    """`<<`: entries of other maps; those of an earlier one win."""
    for other in value if isinstance(value, list) else [value]:
        if not isinstance(other, dict):
            raise BadYaml("key", "<< merges something that is no map")
        for key, child in other.items():
            into.setdefault(key, child)


def _kind_of(tag: str | None) -> str:
    """'' = no tag, to be resolved; '!' = text; else the short name of a tag of the core schema."""
    if tag is None:
        return ""
    if tag == "!":
        return "str"
    kind = tag.removeprefix(_TAG)
    if kind == tag or kind not in ("str", "null", "bool", "int", "float", "map", "seq"):
        raise BadYaml("tag", f"the tag {tag[:64]} is not known")
    return kind


def _tagged(kind: str, text: str) -> Any:
    if kind in ("", "str"):
        return text
    value = resolve(text)
    fits = {"null": value is None, "bool": isinstance(value, bool), "float": isinstance(value, int | float) and not isinstance(value, bool)}
    if not fits.get(kind, kind == "int" and isinstance(value, int) and not isinstance(value, bool)):
        raise BadYaml("tag", f"{text[:64]!r} is not of the kind that its tag says")
    return value


def resolve(text: str) -> Any:
    """A plain scalar by the core schema; numbers that JSON could not carry stay text."""
    if text in _NULL:
        return None
    if text in _BOOL:
        return _BOOL[text]
    first = text[0]
    if not (first.isdigit() or first in "+-."):
        return text
    if _INT.match(text):
        number = int(text) if len(text) <= 20 else INT_MAX + 1
        return number if INT_MIN <= number <= INT_MAX else text
    for pattern, base in ((_OCTAL, 8), (_HEX, 16)):
        if pattern.match(text):
            number = int(text[2:], base) if len(text) <= 24 else INT_MAX + 1
            return number if number <= INT_MAX else text
    if _FLOAT.match(text) and len(text) <= 64:
        value = float(text)
        return value if value not in (float("inf"), float("-inf")) else text
    return text
