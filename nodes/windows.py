"""Maintenance windows: planned times in which nodes take no work. The job `nodes.maintenance` begins and ends them by conditional UPDATE."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import structlog
from django.db import transaction
from django.db.models import Q, QuerySet

from audit.services import SYSTEM, Actor, Target, record
from lormas.common import clock
from lormas.common.errors import Conflict, FieldError, Invalid, Problem
from nodes import drains, events, services
from nodes.models import Cluster, MaintenanceWindow, Node
from nodes.states import NodeStatus

log = structlog.get_logger(__name__)

LONGEST = timedelta(days=90)


def _target(window: MaintenanceWindow) -> Target:
    if window.node is not None:
        return services.target_of(window.node)
    return Target("cluster", str(window.cluster_id), window.cluster.name if window.cluster else "")


@transaction.atomic
def plan(
    *,
    actor: Actor,
    user: Any = None,
    node: Node | None = None,
    cluster: Cluster | None = None,
    starts_at: datetime,
    ends_at: datetime,
    reason: str = "",
    drain: bool = False,
) -> MaintenanceWindow:
    """A new window for a node or a cluster. Raises Invalid; Conflict `overlaps` with another window of the same target."""
    wrong = []
    if ends_at <= starts_at:
        wrong.append(FieldError("ends_at", "Must be after its start."))
    elif ends_at <= clock.now():
        wrong.append(FieldError("ends_at", "Is over already."))
    elif ends_at - starts_at > LONGEST:
        wrong.append(FieldError("ends_at", "At most 90 days after its start."))
    if wrong:
        raise Invalid("The window is not valid.", errors=wrong)
    rivals = MaintenanceWindow.objects.filter(
        node=node, cluster=cluster, state__in=("planned", "active"), starts_at__lt=ends_at, ends_at__gt=starts_at
    )
    rival = rivals.first()
    if rival is not None:
        raise Conflict(
            f"It overlaps with the window from {rival.starts_at:%Y-%m-%d %H:%M} to {rival.ends_at:%Y-%m-%d %H:%M} UTC.",
            code="overlaps",
            extra={"window": str(rival.pk), "state": rival.state, "allowed": []},
        )
    made = MaintenanceWindow.objects.create(
        node=node,
        cluster=cluster,
        starts_at=starts_at,
        ends_at=ends_at,
        reason=reason[:200],
        drain=drain,
        created_by=user if getattr(user, "is_authenticated", False) else None,
    )
    record(
        "nodes.maintenance_plan",
        actor=actor,
        target=_target(made),
        after={"starts_at": clock.rfc3339(starts_at), "ends_at": clock.rfc3339(ends_at), "drain": drain},
        message=reason,
    )
    return made


@transaction.atomic
def cancel(window: MaintenanceWindow, *, actor: Actor) -> MaintenanceWindow:
    """Call it off; one that goes on ends now. Raises Conflict if it is over."""
    locked = MaintenanceWindow.objects.select_for_update(of=("self",)).get(pk=window.pk)
    if locked.state not in ("planned", "active"):
        raise Conflict(f"This window is {locked.state}.", code="illegal_move", extra={"state": locked.state, "allowed": []})
    if locked.state == "active":
        _let_go(locked)
    locked.state = "cancelled"
    locked.save(update_fields=["state", "held"])
    record("nodes.maintenance_cancel", actor=actor, target=_target(locked))
    return locked


def _nodes(window: MaintenanceWindow) -> QuerySet[Node]:
    return Node.objects.filter(Q(pk=window.node_id) if window.node_id else Q(cluster_id=window.cluster_id))


def _hold(window: MaintenanceWindow) -> None:
    seconds = max(60.0, (window.ends_at - clock.now()).total_seconds())
    held = []
    for node in _nodes(window):
        if node.status in (NodeStatus.MAINTENANCE, NodeStatus.PENDING):
            continue  # by hand, or there is nothing to hold: not ours to let go later
        why = f"Maintenance until {window.ends_at:%Y-%m-%d %H:%M} UTC{': ' + window.reason if window.reason else '.'}"
        if services.move_status(node, to=NodeStatus.MAINTENANCE, reason=why):
            held.append(str(node.pk))
            events.note(node, "maintenance", why, level="warning")
            if window.drain:
                try:
                    drains.drain(node, user=None, actor=SYSTEM, deadline_seconds=seconds, message=window.reason or "Maintenance", is_automatic=True)
                except Problem as problem:
                    log.info("maintenance.no_drain", node=str(node.pk), reason=problem.detail)
    window.held = held


def _let_go(window: MaintenanceWindow) -> None:
    for node in Node.objects.filter(pk__in=window.held, status=NodeStatus.MAINTENANCE):
        ready = bool(node.gateway) and node.engine_ok
        to, reason = (NodeStatus.ACTIVE, "") if ready else (NodeStatus.NOT_READY, "Maintenance is over, and the agent has not been heard since.")
        if services.move_status(node, to=to, reason=reason):
            events.note(node, "maintenance", "Maintenance is over.")
            if window.drain:
                drains.undrain(node, user=None, actor=SYSTEM, message="Maintenance is over.")
    window.held = []


def advance() -> dict[str, int]:
    """Periodic: begin what is due, end what is over."""
    now = clock.now()
    begun = ended = 0
    MaintenanceWindow.objects.filter(state="planned", ends_at__lte=now).update(state="ended")  # nobody was there to begin it
    for window in MaintenanceWindow.objects.filter(state="planned", starts_at__lte=now).select_related("node", "cluster"):
        with transaction.atomic():
            if MaintenanceWindow.objects.filter(pk=window.pk, state="planned").update(state="active"):
                _hold(window)
                MaintenanceWindow.objects.filter(pk=window.pk).update(held=window.held)
                begun += 1
    for window in MaintenanceWindow.objects.filter(state="active", ends_at__lte=now).select_related("node", "cluster"):
        with transaction.atomic():
            if MaintenanceWindow.objects.filter(pk=window.pk, state="active").update(state="ended"):
                _let_go(window)
                MaintenanceWindow.objects.filter(pk=window.pk).update(held=[])
                ended += 1
    return {"begun": begun, "ended": ended}
