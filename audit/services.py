"""Writing the journal. Called inside the transaction of the act it speaks of."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import structlog
from django.db import transaction

from audit import chain
from audit.masking import masked, masked_text
from audit.models import Entry
from lormas.common import clock
from lormas.common.wires import resolve, wired


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts, as far as the journal is concerned; `accounts.models.User.as_actor()` and the constants below give one."""

    kind: Literal["user", "node", "system", "anonymous"]
    id: str = ""
    label: str = ""
    address: str | None = None


SYSTEM = Actor("system", label="Lormas")
ANONYMOUS = Actor("anonymous")


@dataclass(frozen=True, slots=True)
class Target:
    """What is acted on."""

    type: str
    id: str
    label: str = ""


def record(
    action: str,
    *,
    actor: Actor,
    target: Target | None = None,
    before: dict[str, Any] | None = None,
    after: dict[str, Any] | None = None,
    message: str = "",
    outcome: Literal["ok", "refused", "failed"] = "ok",
) -> Entry:
    """One row. Secrets are masked; the request id comes from the log context."""
    context = structlog.contextvars.get_contextvars()
    entry = Entry(
        time=clock.now(),
        actor_kind=actor.kind,
        actor_id=actor.id,
        actor_label=actor.label[:255].replace("\x00", ""),
        address=actor.address or context.get("client_address"),
        action=action,
        outcome=outcome,
        target_type=target.type if target else "",
        target_id=target.id.replace("\x00", "\ufffd") if target else "",
        target_label=masked_text(target.label if target else "")[:255],
        before=masked(before),
        after=masked(after),
        message=masked_text(message)[:4000],
        request_id=str(context.get("request_id", ""))[:64],
    )
    entry.digest = chain.digest(entry)
    entry.save(force_insert=True)
    if outcome == "refused" and (told := _REFUSALS.get()) is not None:
        told.append(action)
    chain.seal_after_commit()
    sink = wired("SINKS").get(action)
    if sink is not None:
        transaction.on_commit(partial(resolve(sink), entry), robust=True)  # who listens can't undo what happened
    return entry


_REFUSALS: ContextVar[list[str] | None] = ContextVar("audit_refusals", default=None)


def watch_refusals() -> list[str]:
    """For the door around a request: a list that fills with the refusals that are written until its end, so that none is written twice."""
    told: list[str] = []
    _REFUSALS.set(told)
    return told
