"""Writing down what was refused, without letting a flood of it fill the journal (I04, J)."""

from __future__ import annotations

from typing import Final

from audit.services import ANONYMOUS, Actor, Target, record
from lormas.common.ratelimit import Limit, LimiterDown

STRANGERS: Final = Limit("audit_denied_strangers", 60, 60)
"""Rows a minute and address for those who are not signed in; the next one says that there were more."""
PEOPLE: Final = Limit("audit_denied_people", 600, 60)


def note_denied(action: str, *, actor: Actor = ANONYMOUS, target: Target | None = None, message: str = "", address: str | None = None) -> bool:
    """One row for a refusal; False where this address or person has filled their minute."""
    limit, subject = (STRANGERS, address or "local") if actor.kind == "anonymous" else (PEOPLE, actor.id)
    try:
        verdict = limit.hit(subject)
    except LimiterDown:
        verdict = None  # better too many rows than none
    if verdict is not None and not verdict.allowed:
        return False
    if verdict is not None and verdict.remaining == 0:
        message = f"{message} More refusals in this minute are not written.".strip()
    who = Actor(actor.kind, actor.id, actor.label, actor.address or address)
    record(action, actor=who, target=target, outcome="refused", message=message)
    return True
