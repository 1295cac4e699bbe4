"""Dotted paths into documents of maps and lists: `a.b`, `list[0].x`, `list.0.x`, `servers.*.address`. `~1` is a dot in a key, `~0` a tilde."""

from __future__ import annotations

import re
from collections.abc import Callable, MutableMapping, MutableSequence
from typing import Any

from agent.configfiles.values import UNCHANGED, ConfigProblem, text_of, typed, wanted

_INDEXES = re.compile(r"(.*?)((?:\[\d{1,6}\])+)\Z")
DEEPEST = 64
WIDEST = 10_000
Step = str | int
"""A key (`*` = all children), or an index."""


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


def change(document: Any, path: str, find: Any, *, new_map: Callable[[], Any], new_list: Callable[[], Any]) -> None:
    """Set what the path leads to; what is missing on the way is made, unless the find is a condition. Raises ConfigProblem."""
    _change(document, split(path), find, path, new_map, new_list)


def _change(node: Any, steps: list[Step], find: Any, path: str, new_map: Callable[[], Any], new_list: Callable[[], Any]) -> None:
    step, rest = steps[0], steps[1:]
    if step == "*":
        for key in _children(node):
            _one(node, key, rest, find, path, new_map, new_list)
        return
    key = _key_in(node, step, path, may_grow=not isinstance(find, dict))
    if key is not None:
        _one(node, key, rest, find, path, new_map, new_list)


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
        node.append(None)
        return index
    if not isinstance(node, MutableMapping):
        raise ConfigProblem(f"{path!r} leads into a value that is neither a map nor a list")
    if isinstance(step, int):
        raise ConfigProblem(f"{path!r} names a list's entry where the file has a map")
    if step not in node and step.isdigit() and int(step) in node:
        return int(step)  # YAML keys may be numbers
    return step if step in node or may_grow else None


def _one(node: Any, key: Any, rest: list[Step], find: Any, path: str, new_map: Callable[[], Any], new_list: Callable[[], Any]) -> None:
    current = node[key] if isinstance(node, MutableSequence) or key in node else None
    if not rest:
        if isinstance(current, MutableMapping | MutableSequence) and isinstance(find, dict):
            return
        new = wanted(find, None if current is None else text_of(current))
        if new is not UNCHANGED:
            value = typed(new, current)
            if type(value) is not type(current) or value != current:
                node[key] = value
        return
    if current is None:
        if isinstance(find, dict) or rest[0] == "*":
            return
        node[key] = new_list() if isinstance(rest[0], int) else new_map()
        current = node[key]
    _change(current, rest, find, path, new_map, new_list)
