"""The rules that variables keep: Laravel's validation grammar, as far as eggs use it. Pure.

An empty value passes every rule but `required` and `present`. `min`, `max`, `between`, `size` and `gt` compare numbers where `numeric` or
`integer` stands beside them, else lengths.
"""

from __future__ import annotations

import csv
import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import regex

REGEX_SECONDS: Final = 0.2
"""A pattern comes from a stranger: it may not think longer (C10)."""
_ALIASES: Final = {"int": "integer", "bool": "boolean"}
_KNOWN: Final = frozenset(
    (
        "required", "present", "nullable", "sometimes", "filled", "string", "numeric", "integer", "boolean", "in", "not_in", "min", "max", "between",
        "size", "gt", "gte", "lt", "lte", "digits", "digits_between", "alpha", "alpha_num", "alpha_dash", "regex", "not_regex", "url", "email", "ip",
        "ipv4", "ipv6", "starts_with", "ends_with",
    )
)  # fmt: skip
_BRACKETS: Final = {"(": ")", "{": "}", "[": "]", "<": ">"}
_FLAGS: Final = {"i": regex.IGNORECASE, "m": regex.MULTILINE, "s": regex.DOTALL, "x": regex.VERBOSE, "u": regex.UNICODE}
_NUMBER: Final = regex.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?\Z", regex.ASCII)
_INTEGER: Final = regex.compile(r"[+-]?\d{1,40}\Z", regex.ASCII)
_EMAIL: Final = regex.compile(r"[^@\s]{1,64}@[^@\s]{1,255}\Z")


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule. `kind`: known | unknown | bad_regex (the last two count for nothing)."""

    name: str
    args: tuple[str, ...] = ()
    kind: Literal["known", "unknown", "bad_regex"] = "known"


@dataclass(frozen=True, slots=True)
class Broken:
    """A rule that a value breaks."""

    rule: str
    message: str


def split(text: str) -> list[str]:
    """Rules written as one string. A `|` inside of a regex's delimiters does not divide (Laravel's own split is naive there)."""
    found: list[str] = []
    rest = text
    while rest:
        head = rest.lstrip()
        if head.lower().startswith(("regex:", "not_regex:")):
            end = _end_of_regex(head)
            found.append(head[:end])
            rest = head[end:].removeprefix("|")
            continue
        item, _, rest = rest.partition("|")
        found.append(item.strip(" \t\r\n") if not item.lower().startswith("in:") else item)
    return [item for item in found if item.strip()]


def _end_of_regex(text: str) -> int:
    """Where a regex rule ends: behind its closing delimiter and flags, if a `|` or the end follows; else at the next `|`."""
    start = text.index(":") + 1
    closing = _BRACKETS.get(text[start : start + 1], text[start : start + 1])
    position = text.rfind(closing) if closing and not closing.isalnum() else -1
    while position > start:
        tail = position + 1
        while tail < len(text) and text[tail] in "imsxuADU":
            tail += 1
        if tail == len(text) or text[tail] == "|":
            return tail
        position = text.rfind(closing, start + 1, position)
    bar = text.find("|")
    return len(text) if bar < 0 else bar


@lru_cache(maxsize=1024)
def parse(text: str) -> Rule:
    """One rule of its text, such as `between:1,5` or `regex:/^a$/i`."""
    name, colon, rest = text.partition(":")
    name = name.strip().lower()
    name = _ALIASES.get(name, name)
    if name not in _KNOWN:
        return Rule(name, kind="unknown")
    if name in ("regex", "not_regex"):
        return Rule(name, (rest,), "known" if _compiled(rest) else "bad_regex")
    if name == "nullable" or not colon:
        return Rule(name)
    if name in ("in", "not_in"):
        return Rule(name, tuple(next(csv.reader([rest.replace("\n", " ")]), [])))
    return Rule(name, tuple(part.strip() for part in rest.split(",")))


@lru_cache(maxsize=512)
def _compiled(delimited: str) -> Any:
    """A PHP pattern with its delimiters; None if it has none or can't be read."""
    if len(delimited) < 2 or len(delimited) > 2000 or delimited[0].isalnum() or delimited[0] in "\\ ":
        return None
    end = delimited.rfind(_BRACKETS.get(delimited[0], delimited[0]))
    if end <= 0 or not set(delimited[end + 1 :]) <= set("imsxuADU"):
        return None
    flags = 0
    for letter in delimited[end + 1 :]:
        flags |= _FLAGS.get(letter, 0)
    try:
        return regex.compile(delimited[1:end], flags)
    except (regex.error, OverflowError, RecursionError):
        return None


def broken(rules: list[str], value: str) -> list[Broken]:
    """The rules that `value` breaks; empty if it keeps all."""
    parsed = [rule for rule in map(parse, rules) if rule.kind == "known"]
    names = {rule.name for rule in parsed}
    if value == "":
        return [Broken("required", "A value is needed.")] if names & {"required", "filled"} else []
    numeric = bool(names & {"numeric", "integer"})
    found = []
    for rule in parsed:
        message = _breaks(rule, value, numeric)
        if message:
            found.append(Broken(rule.name, message))
    return found


def _size(value: str, numeric: bool) -> float:
    if numeric and _NUMBER.match(value):
        return float(value)
    return float(len(value))


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.match(text) else None


def _breaks(rule: Rule, value: str, numeric: bool) -> str:
    name, args = rule.name, rule.args
    if name == "numeric" and not _NUMBER.match(value):
        return "It must be a number."
    if name == "integer" and not _INTEGER.match(value):
        return "It must be a whole number."
    if name == "boolean" and value not in ("0", "1", "true", "false"):
        return "It must be 0 or 1."
    if name == "in" and value not in args:
        return f"It must be one of: {', '.join(args)}."
    if name == "not_in" and value in args:
        return f"It must not be one of: {', '.join(args)}."
    if name in _COMPARE:
        return _compare(name, args, value, numeric)
    if name in ("digits", "digits_between"):
        return _digits(name, args, value)
    if name == "alpha" and not value.isalpha():
        return "Only letters are allowed."
    if name == "alpha_num" and not value.isalnum():
        return "Only letters and digits are allowed."
    if name == "alpha_dash" and not all(c.isalnum() or c in "-_" for c in value):
        return "Only letters, digits, dashes and underscores are allowed."
    if name in ("regex", "not_regex"):
        return _pattern(name, args[0], value)
    if name == "starts_with" and not value.startswith(args):
        return f"It must begin with one of: {', '.join(args)}."
    if name == "ends_with" and not value.endswith(args):
        return f"It must end with one of: {', '.join(args)}."
    return _kind(name, value)


_COMPARE: Final = frozenset({"min", "max", "between", "size", "gt", "gte", "lt", "lte"})


def _compare(name: str, args: tuple[str, ...], value: str, numeric: bool) -> str:
    limits = [_number(arg) for arg in args]
    if not limits or any(limit is None for limit in limits) or (name == "between" and len(limits) < 2):
        return ""  # a comparison with another field, or nonsense: counts for nothing
    size, first = _size(value, numeric), limits[0] or 0.0
    second = limits[1] or 0.0 if len(limits) > 1 else first
    unit = "" if numeric else " characters"
    fails = {
        "min": size < first, "max": size > first, "between": not first <= size <= second, "size": size != first,
        "gt": size <= first, "gte": size < first, "lt": size >= first, "lte": size > first,
    }[name]  # fmt: skip
    words = {"min": "at least", "gte": "at least", "max": "at most", "lte": "at most", "size": "exactly", "gt": "more than", "lt": "less than"}
    if not fails:
        return ""
    return f"It must be from {args[0]} to {args[1]}{unit}." if name == "between" else f"It must be {words[name]} {args[0]}{unit}."


def _digits(name: str, args: tuple[str, ...], value: str) -> str:
    limits = [int(arg) for arg in args if arg.isascii() and arg.isdigit()]
    if not limits:
        return ""
    low, high = limits[0], limits[-1]
    good = value.isascii() and value.isdigit() and low <= len(value) <= high
    return "" if good else f"It must be {low} digits." if low == high else f"It must be {low} to {high} digits."


def _pattern(name: str, delimited: str, value: str) -> str:
    pattern = _compiled(delimited)
    try:
        matches = pattern.search(value, timeout=REGEX_SECONDS) is not None
    except TimeoutError:
        return "Its pattern takes too long to check."
    return "" if matches == (name == "regex") else "It does not have the form that is asked for."


def _kind(name: str, value: str) -> str:
    if name == "url":
        try:
            parts = urlsplit(value)
            good = bool(parts.scheme.isalpha() and parts.netloc and not any(c.isspace() for c in value))
        except ValueError:
            good = False
        return "" if good else "It must be an address such as https://example.org."
    if name == "email" and not _EMAIL.match(value):
        return "It must be an e-mail address."
    if name in ("ip", "ipv4", "ipv6"):
        try:
            version: int = ipaddress.ip_address(value).version
        except ValueError:
            version = 0
        wanted = {"ip": (4, 6), "ipv4": (4,), "ipv6": (6,)}[name]
        return "" if version in wanted else "It must be an IP address."
    return ""
