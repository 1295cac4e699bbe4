"""The right form control for each rule (EGGS 3.1); a form hides no value, offers nothing that is not allowed and sets only what is one's own."""

from __future__ import annotations

from typing import Any

import pytest

from eggs.controls import Look, controls_of, look_of, posted_values
from eggs.formats import parse
from tests.eggs.conftest import egg_file, encoded, variable

LOOKS: list[tuple[str, str, Look]] = [
    ("required|string|max:20", "", Look("text", required=True, max_length="20")),
    ("nullable|string|between:3,16", "", Look("text", min_length="3", max_length="16")),
    ("string|size:8", "", Look("text", min_length="8", max_length="8")),
    ("required|integer|between:1,65535", "", Look("number", required=True, minimum="1", maximum="65535", step="1")),
    ("numeric|min:0.5|max:2", "", Look("number", minimum="0.5", maximum="2", step="any")),
    ("integer|gte:-5|lte:5", "", Look("number", minimum="-5", maximum="5", step="1")),
    ("required|boolean", "", Look("switch", required=True)),
    ("required|in:0,1", "", Look("switch", required=True)),
    ("in:true,false", "", Look("switch", on="true", off="false")),
    ("required|in:easy,normal,hard", "", Look("select", ("easy", "normal", "hard"), required=True)),
    ("nullable|in:easy,hard", "", Look("select", ("", "easy", "hard"))),
    ("in:1,0,2", "", Look("select", ("", "1", "0", "2"))),
    ("digits_between:3,5", "", Look("text", min_length="3", max_length="5", input_mode="numeric")),
    ("digits:4", "", Look("text", min_length="4", max_length="4", input_mode="numeric")),
    ("nullable|url", "", Look("text", input_mode="url")),
    ("email|max:50", "", Look("text", max_length="50", input_mode="email")),
    ("required|string", "RCON_PASSWORD", Look("password", required=True)),
    ("string|max:64", "github_token", Look("password", max_length="64")),
    ("required|in:a,b", "TOKEN_KIND", Look("select", ("a", "b"), required=True)),
    ("required|regex:/^[a|b]+$/", "", Look("text", required=True)),
    ("", "", Look("text")),
    ("no_such_rule|max:x|between:1", "", Look("text")),
]


@pytest.mark.parametrize(("rules", "name", "look"), LOOKS, ids=[f"{rules} {name}".strip() or "none" for rules, name, _ in LOOKS])
def test_each_rule_has_its_control(rules: str, name: str, look: Look) -> None:
    egg = parse(encoded(egg_file(variables=[variable(name or "X", rules=rules)])), filename="e.json").definition
    assert look_of(egg.variables[0].rules, name=name) == look


def shown(**changes: Any) -> list[Any]:
    variables = [
        variable("OPEN", default_value="odd", rules="required|in:a,b"),
        variable("FIXED", user_editable=False),
        variable("HIDDEN", user_viewable=False, user_editable=True),
    ]
    return controls_of(parse(encoded(egg_file(variables=variables)), filename="e.json").definition, **changes)


def test_a_form_shows_what_is_there_and_lets_change_what_is_ones_own() -> None:
    own = {control.name: control for control in shown(values={"open": "gone"})}
    assert set(own) == {"OPEN", "FIXED"}, "what is not viewable is in no form of a member"
    assert (own["OPEN"].value, own["OPEN"].is_odd) == ("gone", True), "a value that is no choice any more is kept, not replaced by the first"
    assert (own["OPEN"].editable, own["FIXED"].editable) == (True, False)
    every = {control.name: control for control in shown(values={}, manager=True)}
    assert (every["HIDDEN"].hidden, all(control.editable for control in every.values())) == (True, True)
    assert (every["OPEN"].value, every["OPEN"].field) == ("odd", "var.OPEN"), "defaults that break their own rules are shown as they are"
    assert posted_values({"var.OPEN": "a", "name": "x", "var.": ""}) == {"OPEN": "a", "": ""}
