"""Writing the journal. Called inside the transaction of the act it speaks of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import structlog

from audit.models import Entry
from lormas.common import clock

SECRET_WORDS = ("password", "token", "secret", "private_key", "credential", "authorization")
MASK = "***"


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


def masked(values: dict[str, Any] | None) -> dict[str, Any]:
    """A copy whose values under telling keys are replaced, at any depth."""

    def walk(value: Any, key: str) -> Any:
        if any(word in key.lower() for word in SECRET_WORDS):
            return MASK if value not in (None, "", [], {}) else value
        if isinstance(value, dict):
            return {k: walk(v, str(k)) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [walk(v, "") for v in value]
        return value if isinstance(value, str | int | float | bool | type(None)) else str(value)

    return {key: walk(value, key) for key, value in (values or {}).items()}


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
    return Entry.objects.create(
        time=clock.now(),
        actor_kind=actor.kind,
        actor_id=actor.id,
        actor_label=actor.label[:255],
        address=actor.address or context.get("client_address"),
        action=action,
        outcome=outcome,
        target_type=target.type if target else "",
        target_id=target.id if target else "",
        target_label=(target.label if target else "")[:255],
        before=masked(before),
        after=masked(after),
        message=message[:4000],
        request_id=str(context.get("request_id", ""))[:64],
    )
