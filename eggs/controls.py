"""The right form control for a variable's rules. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from eggs import rules

Kind = Literal["text", "number", "select", "switch", "password"]
SECRET_WORDS: Final = ("PASSWORD", "PASSWD", "TOKEN", "SECRET", "APIKEY", "API_KEY", "PRIVATE_KEY")
_SWITCHES: Final = ({"0", "1"}, {"true", "false"})


@dataclass(frozen=True, slots=True)
class Look:
    """How a variable is asked for. Numbers are texts as the rules spell them; empty = not said."""

    kind: Kind = "text"
    options: tuple[str, ...] = ()
    on: str = "1"
    off: str = "0"
    """What a switch means."""
    required: bool = False
    minimum: str = ""
    maximum: str = ""
    step: str = ""
    min_length: str = ""
    max_length: str = ""
    input_mode: str = ""


def look_of(texts: Sequence[str], *, name: str = "") -> Look:
    """`in` is a choice (of two truths: a switch), `boolean` a switch, `numeric` and `integer` a number with its bounds, else a text with its
    lengths; a text whose name speaks of a secret is a password. Unknown rules are left to the check on the server."""
    found = {rule.name: rule for rule in map(rules.parse, texts) if rule.kind == "known"}
    required = "required" in found or "filled" in found
    if "in" in found:
        options = found["in"].args
        if set(options) in _SWITCHES and len(options) == 2:
            return Look("switch", on="1" if "1" in options else "true", off="0" if "0" in options else "false", required=required)
        return Look("select", options if required else tuple(dict.fromkeys(("", *options))), required=required)
    if "boolean" in found:
        return Look("switch", required=required)
    low, high = _bounds(found)
    if "integer" in found or "numeric" in found:
        return Look("number", required=required, minimum=low, maximum=high, step="1" if "integer" in found else "any")
    if "digits" in found or "digits_between" in found:
        sizes = (found.get("digits_between") or found["digits"]).args
        good = [size for size in sizes if size.isdigit()]
        least, most = (good[0], good[-1]) if good else ("", "")
        return Look("text", required=required, min_length=least, max_length=most, input_mode="numeric")
    secret = any(word in name.upper() for word in SECRET_WORDS)
    kind: Kind = "password" if secret else "text"
    return Look(kind, required=required, min_length=low if low.isdigit() else "", max_length=high if high.isdigit() else "", input_mode=_mode(found))


def _mode(found: dict[str, rules.Rule]) -> str:
    return "url" if "url" in found else "email" if "email" in found else ""


def _bounds(found: dict[str, rules.Rule]) -> tuple[str, str]:
    def first(name: str) -> str:
        args = found[name].args if name in found else ()
        return args[0] if args and rules.is_number(args[0]) else ""

    low = high = ""
    if "between" in found and len(found["between"].args) >= 2 and all(map(rules.is_number, found["between"].args[:2])):
        low, high = found["between"].args[:2]
    if "size" in found:
        low = high = first("size")
    return first("min") or first("gte") or low, first("max") or first("lte") or high
