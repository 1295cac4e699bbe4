"""The journal is told in sentences: whatever the panel writes down has words."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from audit.models import Entry
from lormas.templatetags.console import entry_say
from lormas.templatetags.entrywords import ALONE, ENTRY_WORDS

ROOT = Path(__file__).parents[2]
ROOMS = ("accounts", "audit", "nodes", "eggs", "containers", "reservations", "lormas")


def written() -> Iterator[tuple[str, str]]:
    """(action, where) of each call of `record` whose action stands there as it is."""
    for room in ROOMS:
        for file in sorted((ROOT / room).rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "record" and node.args:
                    first = node.args[0]
                    for one in (first.body, first.orelse) if isinstance(first, ast.IfExp) else (first,):
                        if isinstance(one, ast.Constant) and isinstance(one.value, str):
                            yield one.value, f"{file.relative_to(ROOT)}:{node.lineno}"


def test_each_act_that_is_written_down_has_words() -> None:
    found = list(written())
    assert len(found) > 150, "this test sees what is written"
    assert [f"{where}: {action}" for action, where in found if action not in ENTRY_WORDS] == []


def said(action: str, *, outcome: str = "ok", target: str = "web <1>", actor: str = "Alice") -> str:
    return entry_say(Entry(action=action, outcome=outcome, actor_label=actor, target_label=target))


def test_a_sentence_is_whole_wherever_it_stands() -> None:
    """Its object is there on the object's own page too, and before the word that it was refused."""
    assert said("containers.exec") == "ran a command in <b>web &lt;1&gt;</b>"
    assert (
        said("accounts.password", target="Alice", outcome="refused") == '<span class="state red">changed the password of <b>Alice</b>: refused</span>'
    )
    assert said("accounts.sign_in", target="Alice", outcome="failed") == '<span class="state red">signed in: failed</span>'
    assert said("accounts.sign_in", target="Bob").startswith("signed in <b>Bob")
    assert said("no.such_act", target="") == "no such act"
    assert set(ENTRY_WORDS) >= ALONE
