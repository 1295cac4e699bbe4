"""Moving a container with its files to another node: what would happen, beginning it, calling it off. What follows is in `migrate_steps`.

Nothing of the old place is given up before the new one runs: until then its files, ports and share of the old node stay (SECURITY R38).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Max, QuerySet

from audit.services import Actor, record
from containers import whereabouts
from containers.models import BackupWork, Container, LeftCopy, Migration, Port
from containers.models.moving import BEFORE, HELD, Phase
from containers.services import migrate_back as back
from containers.services import migrate_rows as rows
from containers.services import migrate_steps as steps
from containers.services.create import allocate_ports, demand_of
from containers.services.locks import locked_by, require_online, take
from containers.services.power import stop_spec
from containers.services.publish import announce, target
from containers.states import Desired, Status
from lormas.common import clock
from lormas.common.errors import Conflict, Locked, Refused
from nodes import placement, selectors
from nodes.models import Cluster, Node, Operation
from nodes.services import claim

MOVABLE = (Status.RUNNING, Status.STARTING, Status.PAUSED, Status.STOPPED, Status.CRASHED, Status.CRASH_LOOP)
RUNS = ("running", "paused", "restarting")
OVERALL_SECONDS = 14 * 3600


@dataclass(frozen=True, slots=True)
class Plan:
    """What a move would do."""

    ranking: placement.Ranking
    goes_to: str
    """Name of the node that would take it; "" = none can."""
    has_files: bool
    bytes: int
    stops_for_seconds: int
    ports: tuple[str, ...]
    """Those that it gives up; on the new node it gets free ones of that node's range."""
    why_not: str = ""


def has_files(container: Container) -> bool:
    """Has it a folder of its own on its node?"""
    return container.egg_version_id is not None or any(mount.get("kind") == "data" for mount in container.mounts)


def why_tied(container: Container) -> str:
    """What keeps it on its machine for good, as a sentence; "" if it can be moved."""
    bound = [mount["target"] for mount in container.mounts if mount.get("kind") in ("bind", "volume")]  # a volume that it was adopted with
    return f"It uses folders or volumes of its machine itself ({', '.join(bound)}): those can't be moved." if bound else ""


def _ranking(container: Container, *, to: Node | None, cluster: Cluster | None, among: QuerySet[Node] | None) -> placement.Ranking:
    wishes = [(port.container_port, 0, port.protocol) for port in container.ports.all()]
    if to is None and cluster is None and container.node is not None:
        cluster = container.node.cluster
    demand = demand_of(container, wishes, node=to, cluster=cluster)
    there = selectors.placement_views(among=among, running=whereabouts.labels_there(demand.affinity, without=container.pk))
    views = [view for view in there if view.id != container.node_id]
    strategy = container.node.cluster.strategy if container.node and container.node.cluster else "spread"
    ranking = placement.rank(demand, views, strategy=strategy)
    left = set(LeftCopy.objects.filter(container_id=container.pk).values_list("node_id", flat=True))
    able = {pk: "move" in capabilities for pk, capabilities in Node.objects.filter(pk__in=[v.id for v in views]).values_list("pk", "capabilities")}
    files = has_files(container)
    fits: list[placement.NodeView] = []
    rejected = list(ranking.rejected)
    for view in ranking.candidates:
        if view.id in left:
            rejected.append(placement.Rejection(view.id, view.name, "left_copy", "An old copy of it is kept there: remove that one first."))
        elif files and not able.get(view.id):
            why = "Its agent can't take files in: upgrade it, and run it beside its engine."
            rejected.append(placement.Rejection(view.id, view.name, "no_files", why))
        else:
            fits.append(view)
    return placement.Ranking(tuple(fits), tuple(rejected), ranking.why)


def plan(container: Container, *, to: Node | None = None, cluster: Cluster | None = None, among: QuerySet[Node] | None = None) -> Plan:
    """Changes nothing. `among`: only these nodes (those that a person may see)."""
    ranking = _ranking(container, to=to, cluster=cluster, among=among)
    size = int((container.stats or {}).get("disk_bytes") or 0)
    grace = stop_spec(container, None).grace_seconds
    why = why_tied(container)
    if not why and container.node is not None and has_files(container) and "move" not in container.node.capabilities:
        why = f"The agent of {container.node.name} can't hand files over: upgrade it, and run it beside its engine."
    return Plan(
        ranking=ranking,
        goes_to=ranking.candidates[0].name if ranking.candidates and not why else "",
        has_files=has_files(container),
        bytes=size,
        # Copied, then read by both sides at a time for comparing: an eighth of the copying where it was measured, a quarter for slower disks.
        stops_for_seconds=round(min(grace, 10) / 2 + 5 + 1.25 * size / settings.COPY_BYTES_PER_SECOND),
        ports=tuple(f"{port.host_port}/{port.protocol}" for port in container.ports.all()),
        why_not=why,
    )


def migrate(
    container: Container,
    *,
    user: Any,
    actor: Actor,
    to: Node | None = None,
    cluster: Cluster | None = None,
    reason: str = "",
    among: QuerySet[Node] | None = None,
) -> Operation:
    """Begin; the operation tells how it ends: on the new node, or back where it was.

    Args:
        to: None = the best other node that placement finds, of `cluster` or else of the cluster that it is in.

    Raises:
        Conflict `wrong_state`, `same_node`. Locked. NodeUnavailable. Refused `not_movable`, `no_placement` (with the reason of every node).
    """
    source = require_online(container.node)
    if to is not None and to.pk == source.pk:
        raise Conflict(f"{container.name} is on {source.name} already.", code="same_node", extra={"state": container.status, "allowed": []})
    with transaction.atomic():
        container = Container.objects.select_for_update(of=("self",)).select_related("node__cluster", "operation", "egg_version").get(pk=container.pk)
        if container.running_operation is not None:
            raise locked_by(container)
        if container.status not in MOVABLE:
            raise Conflict(
                f"{container.name} is {container.get_status_display().lower()}: it can be moved when it runs or is stopped.",
                code="wrong_state",
                extra={"state": container.status, "allowed": []},
            )
        if BackupWork.objects.filter(container=container, is_open=True).exists():
            raise Locked(f"Work on backups of {container.name} is running: wait for it, or cancel it.")
        found = plan(container, to=to, cluster=cluster, among=among)
        if found.why_not:
            raise Refused(f"{container.name} can't be moved. {found.why_not}", code="not_movable")
        size: dict[str, Any] = {"cpus": container.cpus, "memory_bytes": container.memory_bytes, "disk_bytes": container.disk_bytes}
        chosen = next((view for view in found.ranking.candidates if claim(view.id, **size)), None)
        if chosen is None:
            raise _no_placement(container, found.ranking)
        node = Node.objects.get(pk=chosen.id)
        operation = take(container, "migrate", user=user, deadline_seconds=OVERALL_SECONDS)
        now = clock.now()
        move = Migration.objects.create(
            container=container,
            source=source,
            target=node,
            source_name=source.name,
            target_name=node.name,
            operation=operation,
            reason=reason[:200],
            phase=Phase.PREPARE,
            phase_since=now,
            moved_at=now,
            deadline=now + timedelta(seconds=steps.PREPARE_SECONDS),
            source_epoch=container.epoch,
            target_epoch=next_epoch(container),
            was_running=container.observed in RUNS or container.desired == Desired.RUNNING,
            has_files=found.has_files,
            claimed=size,
            placed=whereabouts.told(found.ranking, chosen),
            bytes_total=found.bytes,
        )
        hold_ports(container, move, node)
        record("containers.migrate", actor=actor, target=target(container), before={"node": source.name}, after={"node": node.name}, message=reason)
        steps.begin(move, container)
        announce(container)
    return operation


def next_epoch(container: Container) -> int:
    """Above all that any node has heard of it."""
    tried = Migration.objects.filter(container=container).aggregate(last=Max("target_epoch"))["last"] or 0
    return int(max(container.epoch, tried)) + 1


def hold_ports(container: Container, move: Migration, node: Node) -> None:
    """As many ports of the new node as it has now, held by the move. Raises Refused `no_free_port`."""
    own = list(container.ports.order_by("-is_primary", "id"))
    ids = [port.pk for port in own]
    Port.objects.filter(pk__in=ids).update(container=None, migration=move)
    allocate_ports(container, node, [(port.container_port, 0, port.protocol) for port in own])
    container.ports.all().update(container=None, migration=move)
    Port.objects.filter(pk__in=ids).update(container=container, migration=None)


def _no_placement(container: Container, ranking: placement.Ranking) -> Refused:
    rejected = [{"node": one.node_name, "rule": one.rule, "reason": one.reason} for one in ranking.rejected]
    why = "; ".join(f"{one['node']}: {one['reason']}" for one in rejected[:5]) or "there is no other node"
    return Refused(f"No other node can take {container.name}. {why}", code="no_placement", extra={"rejected": rejected})


def running_move(container: Container) -> Migration | None:
    """The one that goes on, if there is one."""
    found: Migration | None = Migration.objects.select_related("operation").filter(container=container, phase__in=HELD).first()
    return found


def cancel(operation: Operation, *, actor: Actor, reason: str) -> None:
    """Call it off: it is started again where it was. Wired as the way to cancel such an operation.

    On its way back already, and the new node is away and can't confirm: then whoever cancels vouches for it that nothing of it runs there.

    Raises:
        Conflict `too_late`: the new node counts already.
    """
    with transaction.atomic():
        found = Migration.objects.filter(operation=operation, phase__in=HELD).values_list("pk", flat=True).first()
        move = rows.locked(found, *HELD) if found is not None else None
        if move is not None and move.phase == Phase.GOING_BACK and (move.target is None or not move.target.is_online):
            back.return_without_word(move, detail=f"{reason} {move.target_name} has not confirmed that nothing of it runs there.")
        elif move is None or move.phase not in BEFORE:
            raise Conflict(
                "It is past the point where it could be called off: its files are whole on the new node, where it is being started.",
                code="too_late",
                extra={"status": operation.status, "allowed": []},
            )
        else:
            back.go_back(move, code="cancelled", detail=reason)
        record("containers.migrate_cancel", actor=actor, target=target(move.container), message=reason)
