"""What a find says about one value: conditions, patterns, types. Pure."""

from __future__ import annotations

import re
from typing import Any

PATTERN_SECONDS = 0.3
REGEX = "regex:"
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})\Z")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})(?:\.[0-9]{1,18})?\Z")
_GROUP = re.compile(r"\$(?:(\d{1,2})|\{(\d{1,2})\})")
_TRUTH = {"true": True, "t": True, "1": True, "false": False, "f": False, "0": False}
"""What the daemons eggs come from read as a boolean, where the file has one."""


class ConfigProblem(Exception):
    """Why a file was left as it is, in words that go behind its name."""


class Unchanged:
    """No find applies."""


UNCHANGED = Unchanged()


def text_of(value: Any) -> str:
    """As it is written in files that know only text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(value)


def wanted(find: Any, current: str | None) -> Any:
    """What the value becomes: a literal, or `UNCHANGED`. `current` None = there is none (conditions on it do nothing).

    Raises:
        ConfigProblem: a pattern that can't be read or runs too long.
    """
    if not isinstance(find, dict):
        return find
    if current is None:
        return UNCHANGED
    for old, new in find.items():
        if old.startswith(REGEX):
            replaced = _by_pattern(old.removeprefix(REGEX), text_of(new), current)
            if replaced is not None:
                return replaced
        elif old == current:
            return new
    return UNCHANGED


def wanted_exactly(find: Any, current: str | None) -> Any:
    """As `wanted`, for formats whose conditions are exact values only."""
    if isinstance(find, dict):
        return UNCHANGED if current is None or current not in find else find[current]
    return find


def _by_pattern(pattern: str, replacement: str, current: str) -> str | None:
    import regex

    try:
        compiled = regex.compile(pattern, cache_pattern=False)
        if compiled.search(current, timeout=PATTERN_SECONDS) is None:
            return None
        return str(compiled.sub(lambda match: _GROUP.sub(lambda group: _group(match, group), replacement), current, timeout=PATTERN_SECONDS))
    except TimeoutError:
        raise ConfigProblem(f"the pattern {pattern[:60]!r} runs too long") from None
    except (regex.error, OverflowError) as error:
        raise ConfigProblem(f"the pattern {pattern[:60]!r} can't be read: {error}") from None


def _group(match: Any, group: re.Match[str]) -> str:
    number = int(group[1] or group[2])
    try:
        return match[number] or ""
    except IndexError:
        return ""


def typed(value: Any, current: Any) -> Any:
    """The value in the type that the document has there (`current`; None = nothing yet).

    A find that is no text keeps its own type. Text takes the type of what it replaces where it can be read as one; where there was nothing
    a whole number is a number and everything else is text.
    """
    if not isinstance(value, str):
        return value
    if isinstance(current, bool):
        return _TRUTH.get(value.lower(), value)
    if isinstance(current, int | float):
        return _number(value)
    if isinstance(current, str):
        return value
    return int(value) if _INTEGER.match(value) else value


def _number(text: str) -> Any:
    if _INTEGER.match(text):
        return int(text)
    return float(text) if _NUMBER.match(text) else text


def decode(data: bytes) -> tuple[str, str, bytes]:
    """(text, encoding, byte order mark): UTF-8, else Latin-1, which takes every byte and gives it back."""
    mark = b"\xef\xbb\xbf" if data.startswith(b"\xef\xbb\xbf") else b""
    try:
        return data[len(mark) :].decode("utf-8"), "utf-8", mark
    except UnicodeDecodeError:
        return data.decode("latin-1"), "latin-1", b""


def encode(text: str, encoding: str, mark: bytes) -> bytes:
    """Back as `decode` found it; new text that Latin-1 does not have makes the whole file UTF-8."""
    try:
        return mark + text.encode(encoding)
    except UnicodeEncodeError:
        return mark + text.encode("utf-8", "replace")


def line_end(text: str) -> str:
    """The one that the file uses."""
    return "\r\n" if "\r\n" in text else "\n"
