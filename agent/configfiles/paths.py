"""Dotted paths into documents of maps and lists: `a.b`, `list[0].x`, `list.0.x`, `servers.*.address`. `~1` is a dot in a key, `~0` a tilde."""

from __future__ import annotations

import re
from collections.abc import Callable, MutableMapping, MutableSequence
from dataclasses import dataclass
from typing import Any

from agent.configfiles.values import UNCHANGED, ConfigProblem, text_of, typed, wanted

_INDEXES = re.compile(r"(.*?)((?:\[\d{1,6}\])+)\Z")
DEEPEST = 64
WIDEST = 10_000
Step = str | int
"""A key (`*` = all children), or an index."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How a format makes what is missing, and in which type a text takes its place (`values.typed` where it has no ways of its own)."""

    new_map: Callable[[Any], Any] = lambda _: {}
    """Its argument is what the map will stand in."""
    new_list: Callable[[], Any] = list
    typed: Callable[[Any, Any], Any] = typed


def split(path: str) -> list[Step]:
    """Raises ConfigProblem for a path that is too deep."""
    steps: list[Step] = []
    for part in path.split("."):
        found = _INDEXES.match(part)
        name = found[1] if found else part
        if name or not found:
            steps.append(name.replace("~1", ".").replace("~0", "~"))
        if found:
            steps += [int(number) for number in re.findall(r"\d+", found[2])]
    if len(steps) > DEEPEST:
        raise ConfigProblem(f"the path {path[:60]!r} is too deep")
    return steps


def change(document: Any, path: str, find: Any, *, kind: Kind) -> None:
    """Set what the path leads to; what is missing on the way is made, unless the find is a condition. Raises ConfigProblem."""
    _change(document, split(path), find, path, kind)


def _change(node: Any, steps: list[Step], find: Any, path: str, kind: Kind) -> None:
    step, rest = steps[0], steps[1:]
    if step == "*":
        for key in _children(node):
            if not rest or isinstance(node[key], MutableMapping | MutableSequence):  # a value on the way is none of those that are meant
                _one(node, key, rest, find, path, kind)
        return
    key = _key_in(node, step, path, may_grow=not isinstance(find, dict))
    if key is not None:
        _one(node, key, rest, find, path, kind)


def _children(node: Any) -> list[Any]:
    if isinstance(node, MutableMapping):
        return list(node)[:WIDEST]
    return list(range(len(node)))[:WIDEST] if isinstance(node, MutableSequence) else []


def _key_in(node: Any, step: Step, path: str, *, may_grow: bool) -> Any:
    """The step as a key of this node; None where a condition finds nothing to look at."""
    if isinstance(node, MutableSequence):
        if isinstance(step, str) and not step.isdigit():
            raise ConfigProblem(f"{path!r} names a key where the file has a list")
        index = int(step)
        if index < len(node):
            return index
        if not may_grow:
            return None
        if index > len(node):
            raise ConfigProblem(f"{path!r} is behind the end of a list of {len(node)}")
        return index
    if not isinstance(node, MutableMapping):
        raise ConfigProblem(f"{path!r} leads into a value that is neither a map nor a list")
    if isinstance(step, int):
        raise ConfigProblem(f"{path!r} names a list's entry where the file has a map")
    if step not in node and step.isdigit() and int(step) in node:
        return int(step)  # YAML keys may be numbers
    return step if step in node or may_grow else None


def _put(node: Any, key: Any, value: Any) -> None:
    if isinstance(node, MutableSequence) and key == len(node):
        node.append(value)
    else:
        node[key] = value


def _one(node: Any, key: Any, rest: list[Step], find: Any, path: str, kind: Kind) -> None:
    current = node[key] if (key < len(node) if isinstance(node, MutableSequence) else key in node) else None
    if not rest:
        if isinstance(current, MutableMapping | MutableSequence) and isinstance(find, dict):
            return
        new = wanted(find, None if current is None else text_of(current))
        if new is not UNCHANGED:
            value = kind.typed(new, current)
            if type(value) is not type(current) or value != current:
                _put(node, key, value)
        return
    if current is None:
        if isinstance(find, dict) or rest[0] == "*":
            return
        _put(node, key, kind.new_list() if isinstance(rest[0], int) else kind.new_map(node))
        current = node[key]
    _change(current, rest, find, path, kind)
