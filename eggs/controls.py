"""The right form control for each variable of an egg, by its rules. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from eggs import rules
from eggs.definition import EggDefinition

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


@dataclass(frozen=True, slots=True)
class Control:
    """How one variable of an egg is asked for."""

    name: str
    label: str
    help: str
    kind: str  # text | number | select | switch | password
    value: str
    options: tuple[str, ...] = ()
    required: bool = False
    editable: bool = True
    minimum: str = ""
    maximum: str = ""
    max_length: str = ""
    min_length: str = ""
    step: str = ""
    input_mode: str = ""
    on: str = "1"
    off: str = "0"
    hidden: bool = False
    """Only those who manage eggs see it at all."""
    error: str = ""

    @property
    def field(self) -> str:
        """Its name in the form."""
        return f"var.{self.name}"

    @property
    def is_odd(self) -> bool:
        """A choice whose value is none of those offered: it is shown, so that nothing is changed by looking at it."""
        return self.kind == "select" and self.value not in self.options

    @property
    def is_on(self) -> bool:
        return self.value.lower() in ("1", "true", "yes", "on")


def controls_of(definition: EggDefinition | None, values: Mapping[str, str], *, manager: bool = False) -> list[Control]:
    """One control a variable, in the egg's order, holding `values` (by name in any case) or the default.

    Hidden variables are there for a `manager` only, who may set all; others set what is both viewable and editable.
    """
    given = {env.upper(): value for env, value in values.items()}
    found: list[Control] = []
    for variable in definition.effective_variables() if definition else ():
        if not variable.user_viewable and not manager:
            continue
        look = look_of(variable.rules, name=variable.env_variable)
        found.append(
            Control(
                name=variable.env_variable,
                label=variable.name or variable.env_variable,
                help=variable.description,
                kind=look.kind,
                value=given.get(variable.env_variable.upper(), variable.default_value),
                options=look.options,
                required=look.required,
                editable=manager or variable.user_editable,
                minimum=look.minimum,
                maximum=look.maximum,
                max_length=look.max_length,
                min_length=look.min_length,
                step=look.step,
                input_mode=look.input_mode,
                on=look.on,
                off=look.off,
                hidden=not variable.user_viewable,
            )
        )
    return found


def posted_values(post: Mapping[str, str]) -> dict[str, str]:
    """What a form with such controls holds, by `env`."""
    return {key.removeprefix("var."): str(post.get(key, "")) for key in post if key.startswith("var.")}
