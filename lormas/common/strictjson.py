"""RFC 8259 JSON, strictly: what the standard library lets pass is refused here (C09, J06)."""

from __future__ import annotations

import json
import math
from typing import Any, NoReturn

INT_MIN, INT_MAX = -(2**63), 2**63 - 1


class NotJson(ValueError):
    """The text is refused. `code` is one of: empty, too_large, encoding, syntax, depth, number, duplicate_key, nul, surrogate."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def _constant(name: str) -> NoReturn:
    raise NotJson("number", f"{name} is not JSON")


def _integer(text: str) -> int:
    number = _wide_integer(text)
    if isinstance(number, str):
        raise NotJson("number", "a whole number is out of range")
    return number


def _float(text: str) -> float:
    number = _wide_float(text)
    if isinstance(number, str):
        raise NotJson("number", "a number is out of range")
    return number


def _wide_integer(text: str) -> int | str:
    number = int(text) if len(text) <= 20 else INT_MAX + 1
    return number if INT_MIN <= number <= INT_MAX else text


def _wide_float(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text


def _check(value: Any, *, max_depth: int, is_nul_good: bool) -> None:
    stack: list[tuple[Any, int]] = [(value, 1)]
    while stack:
        item, depth = stack.pop()
        if isinstance(item, str):
            if "\x00" in item and not is_nul_good:
                raise NotJson("nul", "a string contains U+0000")
            if not item.isascii() and any("\ud800" <= c <= "\udfff" for c in item):
                raise NotJson("surrogate", "a string contains half of a surrogate pair")
        elif isinstance(item, dict | list):
            if depth > max_depth:
                raise NotJson("depth", f"nested deeper than {max_depth}")
            if isinstance(item, dict):
                stack.extend((key, depth + 1) for key in item)
                stack.extend((child, depth + 1) for child in item.values())
            else:
                stack.extend((child, depth + 1) for child in item)


def loads(
    data: bytes, *, max_bytes: int, max_depth: int = 64, duplicates: list[str] | None = None, wide: bool = False, is_nul_good: bool = False
) -> Any:
    """Decode UTF-8 JSON.

    Args:
        max_bytes: larger input is refused before it is read.
        wide: numbers outside 64 bits are good JSON that we have no type for; they become the text that stands there.
        is_nul_good: U+0000 may stand in texts; whoever stores one looks to it.
        duplicates: None refuses a repeated key; a list collects them instead (the last one wins).

    Raises:
        NotJson: on anything but strict JSON: NaN, infinities, numbers outside 64 bits, U+0000, lone surrogates, a BOM, too deep, too large.
    """
    if len(data) > max_bytes:
        raise NotJson("too_large", f"larger than {max_bytes} bytes")
    if not data.strip():
        raise NotJson("empty", "empty")

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        made = dict(found)
        if len(made) != len(found):
            seen: set[str] = set()
            for key, _ in found:
                if key not in seen:
                    seen.add(key)
                elif duplicates is None:
                    raise NotJson("duplicate_key", f"the key {key[:64]!r} appears twice in one object")
                else:
                    duplicates.append(key)
        return made

    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise NotJson("encoding", "not UTF-8") from None
    integer, real = (_wide_integer, _wide_float) if wide else (_integer, _float)
    try:
        value = json.loads(text, object_pairs_hook=pairs, parse_constant=_constant, parse_int=integer, parse_float=real)
    except json.JSONDecodeError as error:
        raise NotJson("syntax", f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise NotJson("depth", f"nested deeper than {max_depth}") from None
    _check(value, max_depth=max_depth, is_nul_good=is_nul_good)
    return value
