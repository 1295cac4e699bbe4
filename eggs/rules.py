"""The rules that variables keep: Laravel's validation grammar, as far as eggs use it. Pure.

Values are texts, as forms and environments have them. What is empty or blank passes every rule but `required` and `filled`; `present` is kept
by any value that is there at all. `min`, `max`, `between`, `size`, `gt` and their kin compare numbers where `numeric` or `integer` stands beside
them, else lengths in characters.
"""

from __future__ import annotations

import csv
import ipaddress
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import regex

REGEX_SECONDS: Final = 0.2
"""A pattern comes from a stranger: it may not think longer (C10)."""
MAX_PATTERN: Final = 2000
MAX_RULES: Final = 64
"""Of one variable; real ones have five."""
_ALIASES: Final = {"int": "integer", "bool": "boolean"}
_KNOWN: Final = frozenset(
    (
        "required", "present", "nullable", "sometimes", "filled", "string", "numeric", "integer", "boolean", "in", "not_in", "min", "max", "between",
        "size", "gt", "gte", "lt", "lte", "digits", "digits_between", "alpha", "alpha_num", "alpha_dash", "regex", "not_regex", "url", "email", "ip",
        "ipv4", "ipv6", "starts_with", "ends_with",
    )
)  # fmt: skip
_BRACKETS: Final = {"(": ")", "{": "}", "[": "]", "<": ">"}
_FLAGS: Final = {"i": regex.IGNORECASE, "m": regex.MULTILINE, "s": regex.DOTALL, "x": regex.VERBOSE}
_MODIFIERS: Final = frozenset("imsxuADUSXJ\n\r ")
_REGEX_HEAD: Final = regex.compile(r"\s*+((?:not_)?regex:)", regex.IGNORECASE)
_BLANK: Final = " \t\n\r\0\x0b"
"""What PHP's trim takes away."""
_NUMBER: Final = regex.compile(r"[ \t\n\r\v\f]*[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?[ \t\n\r\v\f]*\Z", regex.ASCII)
_INTEGER: Final = regex.compile(r"[+-]?(?:0|[1-9]\d{0,18})\Z", regex.ASCII)
_LETTERS: Final = {
    "alpha": (regex.compile(r"[\p{L}\p{M}]+\Z"), regex.compile(r"[a-zA-Z]+\Z")),
    "alpha_num": (regex.compile(r"[\p{L}\p{M}\p{N}]+\Z"), regex.compile(r"[a-zA-Z0-9]+\Z")),
    "alpha_dash": (regex.compile(r"[\p{L}\p{M}\p{N}_-]+\Z"), regex.compile(r"[a-zA-Z0-9_-]+\Z")),
}
"""(any alphabet, with the argument `ascii`)"""
_LETTERS_SAY: Final = {
    "alpha": "Only letters are allowed.",
    "alpha_num": "Only letters and digits are allowed.",
    "alpha_dash": "Only letters, digits, dashes and underscores are allowed.",
}
_HOST: Final = regex.compile(r"(?:\[[0-9a-fA-F:.]+\]|[\p{L}\p{N}](?:[\p{L}\p{N}_.-]{0,251}[\p{L}\p{N}])?)\.?\Z")
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
    """Rules written as one text, the first `MAX_RULES`. A `|` between a regex's delimiters does not divide (Laravel's own does)."""
    found: list[str] = []
    at = 0
    while at < len(text) and len(found) < MAX_RULES:
        head = _REGEX_HEAD.match(text, at)
        if head:
            end = _end_of_regex(text, head.end())
            found.append(text[head.start(1) : end])
        else:
            bar = text.find("|", at)
            end = len(text) if bar < 0 else bar
            item = text[at:end]
            found.append(item.lstrip(" \t\r\n") if ":" in item else item.strip(" \t\r\n"))  # blanks of a list's last item count
            if not found[-1].strip():
                found.pop()
        at = end + 1
    return found


def _end_of_regex(text: str, start: int) -> int:
    """Where a pattern that begins at `start` ends: behind its closing delimiter (as PHP finds it) and its flags, if a `|` or the end follows; else
    at the next `|`."""
    opening = text[start : start + 1]
    closing, depth = _BRACKETS.get(opening, opening), 0
    position = start + 1
    last = min(len(text), start + MAX_PATTERN) if closing and not closing.isalnum() and closing != "\\" else 0
    while position < last:
        letter = text[position]
        if letter == "\\":
            position += 1
        elif letter == closing and depth == 0:
            tail = position + 1
            while tail < len(text) and text[tail] in "imsxuADUSXJ":
                tail += 1
            if tail == len(text) or text[tail] == "|":
                return tail
            break
        elif letter == closing:
            depth -= 1
        elif letter == opening:
            depth += 1
        position += 1
    bar = text.find("|", start)
    return len(text) if bar < 0 else bar


def parse(text: str) -> Rule:
    """One rule of its text, such as `between:1,5` or `regex:/^a$/i`."""
    return _parse(text) if len(text) > 512 else _remembered(text)  # strangers' texts must not fill the memory


def _parse(text: str) -> Rule:
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
        return Rule(name, _listed(rest))
    return Rule(name, tuple(part.strip() for part in rest.split(",")))


_remembered = lru_cache(maxsize=1024)(_parse)


def _listed(text: str) -> tuple[str, ...]:
    """By commas, as a line of CSV."""
    try:
        return tuple(next(csv.reader([text.replace("\n", " ")]), []))
    except csv.Error:  # an item of more than 128 KB
        return tuple(text.split(","))


@lru_cache(maxsize=512)
def _compiled(delimited: str) -> Any:
    """A PHP pattern with its delimiters; None if it has none or can't be read."""
    delimited = delimited.lstrip(_BLANK)
    if len(delimited) < 2 or len(delimited) > MAX_PATTERN or delimited[0].isalnum() or delimited[0] == "\\" or not delimited[0].isascii():
        return None
    end = delimited.rfind(_BRACKETS.get(delimited[0], delimited[0]))
    modifiers = delimited[end + 1 :]
    if end <= 0 or not set(modifiers) <= _MODIFIERS:
        return None
    flags = regex.UNICODE if "u" in modifiers else regex.ASCII
    for letter in modifiers:
        flags |= _FLAGS.get(letter, 0)
    body = _as_python(delimited[1:end], dollar_end_only="D" in modifiers and "m" not in modifiers)
    try:
        return regex.compile(rf"\A(?:{body})" if "A" in modifiers else body, flags)
    except (regex.error, OverflowError, RecursionError, ValueError):
        return None


_ESCAPES: Final = {"z": r"\Z", "Z": r"(?=\n?\Z)", "h": r"[ \t\u00a0]", "H": r"[^ \t\u00a0]", "e": r"\x1b"}


def _as_python(pattern: str, *, dollar_end_only: bool) -> str:
    """PCRE's spelling of what `regex` spells differently. Inside of a class only `\\h` and `\\e` differ."""
    made: list[str] = []
    index, in_class = 0, False
    while index < len(pattern):
        letter = pattern[index]
        if letter == "\\" and index + 1 < len(pattern):
            following = pattern[index + 1]
            if following == "x" and pattern[index + 2 : index + 3] == "{":
                close = pattern.find("}", index)
                digits = pattern[index + 3 : close] if close > 0 else ""
                if 0 < len(digits) <= 6 and all(c in "0123456789abcdefABCDEF" for c in digits):
                    made.append(rf"\U{int(digits, 16):08x}")
                    index = close + 1
                    continue
            if in_class:
                made.append({"h": r" \t\u00a0", "e": r"\x1b"}.get(following, letter + following))
            else:
                made.append(_ESCAPES.get(following, letter + following))
            index += 2
            continue
        if in_class:
            in_class = letter != "]"
            made.append(r"\[" if letter == "[" and pattern[index + 1 : index + 2] != ":" else letter)
        elif letter == "[":
            in_class = True
            made.append(letter)
            for lead in ("^", "]"):  # a bracket that comes first is a letter
                if pattern[index + 1 : index + 2] == lead:
                    made.append(lead if lead == "^" else r"\]")
                    index += 1
        elif letter == "$" and dollar_end_only:
            made.append(r"\Z")
        else:
            made.append(letter)
        index += 1
    return "".join(made)


def broken(rules: list[str], value: str) -> list[Broken]:
    """The rules that `value` breaks; empty if it keeps all."""
    parsed = [rule for rule in map(parse, rules) if rule.kind == "known"]
    names = {rule.name for rule in parsed}
    if not value.strip(_BLANK):
        return [Broken("required", "A value is needed.")] if names & {"required", "filled"} else []
    numeric = bool(names & {"numeric", "integer"})
    found = []
    for rule in parsed:
        message = _breaks(rule, value, numeric)
        if message:
            found.append(Broken(rule.name, message))
    return found


def _size(value: str, numeric: bool) -> Decimal:
    number = _number(value) if numeric else None
    return Decimal(len(value)) if number is None else number


def _number(text: str) -> Decimal | None:
    """Exact: account numbers have more digits than a float."""
    return Decimal(text.strip(_BLANK + "\f")) if _NUMBER.match(text) else None


def _breaks(rule: Rule, value: str, numeric: bool) -> str:
    name, args = rule.name, rule.args
    if name == "numeric" and not _NUMBER.match(value):
        return "It must be a number."
    if name == "integer" and not is_integer(value):
        return "It must be a whole number."
    if name == "boolean" and value not in ("0", "1"):  # a text "true" is none to Laravel
        return "It must be 0 or 1."
    if name == "in" and value not in args:
        return f"It must be one of: {', '.join(args)}."
    if name == "not_in" and value in args:
        return f"It must not be one of: {', '.join(args)}."
    if name in _COMPARE:
        return _compare(name, args, value, numeric)
    if name in ("digits", "digits_between"):
        return _digits(name, args, value)
    if name in _LETTERS:
        return "" if _LETTERS[name]["ascii" in args].match(value) else _LETTERS_SAY[name]
    if name in ("regex", "not_regex"):
        return _pattern(name, args[0], value)
    if name == "starts_with" and not value.startswith(args):
        return f"It must begin with one of: {', '.join(args)}."
    if name == "ends_with" and not value.endswith(args):
        return f"It must end with one of: {', '.join(args)}."
    return _kind(name, args, value)


def is_number(value: str) -> bool:
    """As PHP's is_numeric."""
    return _NUMBER.match(value) is not None


def is_integer(value: str) -> bool:
    """As PHP's filter_var: no leading zeros, within 64 bits, blanks around it don't count."""
    text = value.strip(_BLANK)
    return _INTEGER.match(text) is not None and -(2**63) <= int(text) <= 2**63 - 1


_COMPARE: Final = frozenset({"min", "max", "between", "size", "gt", "gte", "lt", "lte"})


def _compare(name: str, args: tuple[str, ...], value: str, numeric: bool) -> str:
    limits = [_number(arg) for arg in args]
    if not limits or any(limit is None for limit in limits) or (name == "between" and len(limits) < 2):
        return ""  # a comparison with another field, or nonsense: counts for nothing
    size, first = _size(value, numeric), limits[0] or Decimal(0)
    second = limits[1] or Decimal(0) if len(limits) > 1 else first
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
    low, high = limits[0], limits[0] if name == "digits" else limits[-1]
    good = value.isascii() and value.isdigit() and low <= len(value) <= high
    return "" if good else f"It must be {low} digits." if low == high else f"It must be {low} to {high} digits."


def _pattern(name: str, delimited: str, value: str) -> str:
    pattern = _compiled(delimited)
    try:
        matches = pattern.search(value, timeout=REGEX_SECONDS) is not None
    except TimeoutError:
        return "Its pattern takes too long to check."
    return "" if matches == (name == "regex") else "It does not have the form that is asked for."


def _is_address(value: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(value)
        host = parts.netloc.rpartition("@")[2]
        if not host.endswith("]"):
            host = host.rpartition(":")[0] if parts.port is not None or host.endswith(":") else host
    except ValueError:
        return False
    scheme = value.partition(":")[0]
    named = scheme.lower() in schemes if schemes else scheme[:1].isalpha() and scheme.isascii()
    return named and "://" in value and _HOST.match(host) is not None and not any(c.isspace() for c in value)


def _kind(name: str, args: tuple[str, ...], value: str) -> str:
    if name == "url":
        return "" if _is_address(value, args) else "It must be an address such as https://example.org."
    if name == "email" and not _EMAIL.match(value):
        return "It must be an e-mail address."
    if name in ("ip", "ipv4", "ipv6"):
        try:
            version: int = 0 if "%" in value else ipaddress.ip_address(value).version
        except ValueError:
            version = 0
        wanted = {"ip": (4, 6), "ipv4": (4,), "ipv6": (6,)}[name]
        return "" if version in wanted else "It must be an IP address."
    return ""
