"""An egg's `file_denylist`: patterns as in a .gitignore, case-sensitive. Pure, and linear enough for hostile patterns (C10)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

MOST = 256
LONGEST = 512


@dataclass(frozen=True, slots=True)
class _Rule:
    segments: tuple[str, ...]
    allows: bool
    folders_only: bool
    anchored: bool


def _rule(pattern: str) -> _Rule | None:
    text = pattern.rstrip("\r\n")
    if not text.strip() or text.startswith("#") or len(text) > LONGEST:
        return None
    while text.endswith(" ") and not text.endswith("\\ "):
        text = text[:-1]
    allows = text.startswith("!")
    text = text.removeprefix("!")
    folders_only = text.endswith("/")
    text = text.rstrip("/")
    anchored = "/" in text
    segments = [part for part in text.split("/") if part]
    while len(segments) > 1 and segments[-1] == "**" == segments[-2]:
        segments.pop()
    if len(segments) > 1 and segments[-1] == "**":
        segments[-1] = "*"  # what is in a folder, not the folder: all that lies deeper lies in one of these
    return _Rule(tuple(segments), allows, folders_only, anchored) if segments else None


class Denylist:
    """`denies("logs/latest.log")`. Blank patterns and comments count for nothing; `!` allows again what an earlier pattern denied, but
    not inside of a folder that is denied itself."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._rules = [rule for rule in map(_rule, patterns[:MOST]) if rule is not None]

    def __bool__(self) -> bool:
        return bool(self._rules)

    def denies(self, path: str, *, is_folder: bool = False) -> bool:
        """Is this path (relative to the container's folder), or a folder above it, denied?"""
        parts = [part for part in path.split("/") if part not in ("", ".")]
        return any(self._matched(parts[:count], is_folder=is_folder or count < len(parts)) for count in range(1, len(parts) + 1))

    def _matched(self, parts: list[str], *, is_folder: bool) -> bool:
        denied = False
        for rule in self._rules:
            if denied != rule.allows or (rule.folders_only and not is_folder):
                continue
            if _path_fits(rule, parts):
                denied = not rule.allows
        return denied


def _path_fits(rule: _Rule, parts: list[str]) -> bool:
    if not rule.anchored:
        return _name_fits(rule.segments[0], parts[-1])
    reached = {0}  # how many segments of the rule are used up after each part: a set, so that `**/**/**` costs nothing
    segments = rule.segments
    for part in parts:
        reached = _skip_stars(reached, segments)
        after: set[int] = set()
        for at in reached:
            if at == len(segments):
                continue
            if segments[at] == "**":
                after.add(at)
            elif _name_fits(segments[at], part):
                after.add(at + 1)
        reached = after
        if not reached:
            return False
    return len(segments) in reached


def _skip_stars(reached: set[int], segments: tuple[str, ...]) -> set[int]:
    found = set(reached)
    for at in reached:
        while at < len(segments) and segments[at] == "**":
            at += 1  # noqa: PLW2901
            found.add(at)
    return found


def _name_fits(pattern: str, name: str) -> bool:
    """`*`, `?`, `[...]`, `\\x`, without backtracking further than to the last star."""
    at = spot = 0
    star_at = star_spot = -1
    while spot < len(name):
        if at < len(pattern) and pattern[at] == "*":
            star_at, star_spot = at, spot
            at += 1
            continue
        used = _one_fits(pattern, at, name[spot]) if at < len(pattern) else 0
        if used:
            at += used
            spot += 1
        elif star_at >= 0:
            star_spot += 1
            at, spot = star_at + 1, star_spot
        else:
            return False
    while at < len(pattern) and pattern[at] == "*":
        at += 1
    return at == len(pattern)


def _one_fits(pattern: str, at: int, character: str) -> int:
    """How many characters of the pattern stand for this one; 0 = they don't."""
    sign = pattern[at]
    if sign == "?":
        return 1
    if sign == "\\" and at + 1 < len(pattern):
        return 2 if pattern[at + 1] == character else 0
    if sign == "[":
        end = pattern.find("]", at + 2)
        if end > 0:
            return end - at + 1 if _in_class(pattern[at + 1 : end], character) else 0
    return 1 if sign == character else 0


def _in_class(body: str, character: str) -> bool:
    wanted = body[:1] not in ("!", "^")
    body = body if wanted else body[1:]
    at, found = 0, False
    while at < len(body):
        if at + 2 < len(body) and body[at + 1] == "-":
            found = found or body[at] <= character <= body[at + 2]
            at += 3
        else:
            found = found or body[at] == character
            at += 1
    return found == wanted
