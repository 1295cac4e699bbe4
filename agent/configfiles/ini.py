"""Parser `ini`: line by line, so that what other INI readers would trip over (keys twice, keys before a section, odd comments) stays.

`section.key`, the first dot divides; `[a.b/c].key` keeps dots in the section. A key without a section is one before the first section.
"""

from __future__ import annotations

import re
from typing import Any

from agent.configfiles.values import UNCHANGED, decode, encode, line_end, text_of, wanted

_SECTION = re.compile(r"\s*\[(.+?)\]\s*(?:[;#].*)?\Z")
_KEY = re.compile(r"(\s*)([^=;#\[][^=]*?)(\s*=\s*)(.*)\Z", re.DOTALL)


def split_key(key: str) -> tuple[str, str]:
    """(section, key)."""
    if key.startswith("["):
        section, found, rest = key[1:].partition("]")
        if found:
            return section, rest.removeprefix(".")
    section, found, rest = key.partition(".")
    return (section, rest) if found else ("", key)


def apply(data: bytes, finds: list[tuple[str, Any]]) -> bytes:
    text, encoding, mark = decode(data)
    end = line_end(text)
    lines = text.split(end) if text else []
    for key, find in finds:
        section, name = split_key(key)
        if name:
            lines = _set(lines, section, name, find)
    return encode(end.join(lines), encoding, mark)


def _bounds(lines: list[str], section: str) -> tuple[int, int] | None:
    """First line behind the section's head, and the one behind its end. The name in the same case goes before one in another."""
    if not section:
        first = next((number for number, line in enumerate(lines) if _SECTION.match(line)), len(lines))
        return 0, first
    heads = [(number, head[1].strip()) for number, line in enumerate(lines) if (head := _SECTION.match(line))]
    place = _nearest([name for _, name in heads], section.strip())
    if place is None:
        return None
    end = heads[place + 1][0] if place + 1 < len(heads) else len(lines)
    return heads[place][0] + 1, end


def _nearest(names: list[str], wanted_name: str) -> int | None:
    """The first of that name; if there is none, the first that differs by case only."""
    if wanted_name in names:
        return names.index(wanted_name)
    return next((number for number, name in enumerate(names) if name.lower() == wanted_name.lower()), None)


def _set(lines: list[str], section: str, name: str, find: Any) -> list[str]:
    bounds = _bounds(lines, section)
    if bounds is not None:
        entries = [(number, found) for number in range(*bounds) if (found := _KEY.match(lines[number]))]
        place = _nearest([found[2].strip() for _, found in entries], name)
        if place is not None:
            number, found = entries[place]
            new = wanted(find, _bare(found[4]))
            if new is not UNCHANGED:
                lines[number] = f"{found[1]}{found[2]}{found[3]}{_flat(new)}"
            return lines
    new = wanted(find, None)
    if new is UNCHANGED:
        return lines
    added = f"{name}={_flat(new)}"
    if bounds is None:
        while lines and not lines[-1].strip():
            lines.pop()
        return [*lines, *([""] if lines else []), f"[{section}]", added, ""]
    at = bounds[1]
    while at > bounds[0] and not lines[at - 1].strip():
        at -= 1
    tail = lines[at:] if lines[at:] else [""]
    return [*lines[:at], added, *tail]


def _bare(value: str) -> str:
    value = value.strip()
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if quoted else value


def _flat(value: Any) -> str:
    """On one line: a line end in a value would be the next key."""
    return text_of(value).replace("\r\n", " ").replace("\n", " ").replace("\r", " ")
