"""The timeline of a node: writing lines, and reading them as bars of uptime."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from lormas.common import clock
from nodes.models import Node, NodeEvent

KEEP_DAYS = 30
CHUNK = 1000


def note(node: Node, kind: str, message: str, *, level: str = "info", before: str = "", after: str = "") -> NodeEvent:
    """One line. Call inside the act's transaction."""
    return NodeEvent.objects.create(
        node=node, time=clock.now(), kind=kind, level=level, before=before[:32], after=after[:32], message=message.replace("\x00", "")[:500]
    )


@dataclass(frozen=True, slots=True)
class Stretch:
    """A time in one status. `share` is its part of the whole bar in percent."""

    status: str
    start: datetime
    end: datetime
    share: float
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Uptime:
    """A bar, oldest first, and how much of the known time the node was ACTIVE (percent; None: nothing is known)."""

    stretches: tuple[Stretch, ...]
    percent: float | None


def uptime(node: Node, *, hours: int = 24) -> Uptime:
    """How the node fared in the last `hours`. Time before it was registered is left out, MAINTENANCE counts for nobody."""
    now = clock.now()
    start = max(now - timedelta(hours=hours), node.created_at)
    moves = list(NodeEvent.objects.filter(node=node, kind="status", time__gt=start).order_by("time", "id"))
    before = moves[0].before if moves else node.status
    reason = "" if moves else node.status_reason
    whole = max((now - start).total_seconds(), 0.001)
    found: list[Stretch] = []
    at = start
    for move in moves:
        found.append(Stretch(before, at, move.time, 100 * (move.time - at).total_seconds() / whole, reason))
        at, before, reason = move.time, move.after, move.message
    found.append(Stretch(before, at, now, 100 * (now - at).total_seconds() / whole, reason))
    counted = [s for s in found if s.status not in ("MAINTENANCE", "PENDING")]
    known = sum(s.share for s in counted)
    up = sum(s.share for s in counted if s.status == "ACTIVE")
    return Uptime(tuple(found), round(100 * up / known, 2) if known > 0 else None)


def forget_old() -> int:
    """Lines older than `KEEP_DAYS`; status moves stay as long as everything else does. In chunks, so that no lock is held long."""
    count, old = 0, NodeEvent.objects.filter(time__lt=clock.now() - timedelta(days=KEEP_DAYS))
    while ids := list(old.values_list("pk", flat=True)[:CHUNK]):
        count += NodeEvent.objects.filter(pk__in=ids).delete()[0]
    return count
