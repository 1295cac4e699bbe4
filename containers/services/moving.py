"""Letting containers go from a node that is drained or tainted: place them on another node (with their files, by a move), or stop them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db import transaction

from agent.protocol.commands import CreatePayload, RemovePayload
from audit.services import SYSTEM, record
from containers import whereabouts
from containers.models import Container, Migration
from containers.models.moving import Phase
from containers.services import migrate, power, sessions
from containers.services.create import CREATE_SECONDS, allocate_ports, demand_of, registry_auth, render_spec
from containers.services.locks import take
from containers.services.publish import announce, target
from containers.services.remove import REMOVE_SECONDS
from containers.spec import as_kept
from containers.states import Desired, Status
from lormas.common import clock
from lormas.common.errors import Conflict, Locked, NodeUnavailable, Problem, Refused
from nodes import commands, placement, selectors
from nodes.drains import Holding, Step
from nodes.models import Node
from nodes.services import claim, release

log = structlog.get_logger(__name__)

TRIES = 2
DOWN = (Status.STOPPED, Status.CRASHED, Status.FAILED, Status.MISSING)


def why_not_movable(container: Container) -> str:
    """What ties it to its node, as a sentence; "" if it may go elsewhere without loss of what is kept."""
    if container.placement.get("movable") is False:
        return "It is set not to move."
    return migrate.why_tied(container)


def _ranking(container: Container, *, away_from: UUID) -> placement.Ranking:
    ports = [(port.container_port, 0, port.protocol) for port in container.ports.all()]
    demand = demand_of(container, ports, node=None, cluster=container.node.cluster if container.node else None)
    views = selectors.placement_views(running=whereabouts.labels_there(demand.affinity, without=container.pk))
    strategy = container.node.cluster.strategy if container.node and container.node.cluster else "spread"
    return placement.rank(demand, [view for view in views if view.id != away_from], strategy=strategy)


def holdings(node: Node) -> list[Holding]:
    """What runs there or is to run there."""
    found = []
    there = Container.objects.filter(node=node).exclude(desired=Desired.DELETED).exclude(status__in=(Status.DELETING, Status.DELETED))
    for container in there.select_related("owner", "node__cluster", "operation").prefetch_related("ports"):
        if container.status in DOWN and container.desired != Desired.RUNNING:
            continue
        tied = why_not_movable(container)
        goes_to = ""
        if not tied and migrate.has_files(container):
            found_plan = migrate.plan(container)
            goes_to = found_plan.goes_to
            tied = found_plan.why_not or ("" if goes_to else "It has files of its own, and no other node can take them now.")
        elif not tied:
            ranking = _ranking(container, away_from=node.pk)
            goes_to = ranking.candidates[0].name if ranking.candidates else ""
            tied = "" if goes_to else "No other node can take it now."
        found.append(
            Holding(
                id=container.pk,
                name=container.name,
                owner=container.owner.label,
                status=container.status,
                movable=not tied,
                why_not=tied,
                loses=_loses(container, moves=not tied),
                goes_to=goes_to,
                tolerations=whereabouts.tolerations_of(container.placement),
            )
        )
    return found


def _loses(container: Container, *, moves: bool) -> tuple[str, ...]:
    if not moves:
        return ("It is down until the node takes containers again.",)
    moved = migrate.has_files(container)
    lost = ["It is down while its files are copied; its log so far stays behind." if moved else "What it wrote outside its image, and its log."]
    if container.address:
        lost.append(f"Its address {container.address} becomes another one.")
    return tuple(lost)


def evict(container_id: UUID, node: Node, *, act: str, kill: bool, reason: str) -> Step:
    """One step of letting it go; asks what is true now, so it may be called again and again."""
    container = Container.objects.select_related("node__cluster", "operation", "owner", "egg_version").filter(pk=container_id).first()
    if container is None or container.desired == Desired.DELETED:
        return Step("done")
    if container.node_id != node.pk:  # it may still come back
        on_its_way = migrate.running_move(container)
        return Step("done") if on_its_way is None or on_its_way.source_id != node.pk else Step("busy", str(Phase(on_its_way.phase).label))
    try:
        running = container.running_operation
        if running is not None and running.kind == "container.migrate":
            return Step("busy", f"{running.progress} %: {running.message}")
        if running is not None and not (kill and running.kind != "container.kill"):
            return Step("busy", f"{running.kind.removeprefix('container.')} is running")
        if container.status == Status.UNKNOWN:
            return Step("busy", "Its node does not tell what it does.")
        if act == "move" and migrate.has_files(container):
            return _move_with_files(container, reason=reason)
        if container.status not in DOWN or (container.desired == Desired.RUNNING and act == "stop"):
            power.act(container, "kill" if kill else "stop", user=None, actor=SYSTEM)
            return Step("busy", "is being killed" if kill else "is stopping")
        if act == "move":
            moved = move_away(container, reason=reason)
            return Step("done", f"goes to {moved.name}")
    except Conflict as problem:
        return Step("done" if container.status in DOWN else "busy", problem.detail)
    except (Locked, NodeUnavailable) as problem:
        return Step("busy", problem.detail)
    except Refused as problem:
        return Step("failed", problem.detail)
    return Step("done", "stopped")


def _move_with_files(container: Container, *, reason: str) -> Step:
    """Begin a move; one that came back twice within the hour is not tried again."""
    since = clock.now() - timedelta(hours=1)
    failed = Migration.objects.filter(container=container, source=container.node, phase=Phase.RETURNED, created_at__gt=since)
    if failed.exclude(error_code="cancelled").count() >= TRIES:
        last = failed.latest("created_at")
        return Step("failed", f"It came back {TRIES} times: {last.error_detail}"[:200])
    operation = migrate.migrate(container, user=None, actor=SYSTEM, reason=reason)
    return Step("busy", f"{operation.message or 'is being moved'}")


def move_away(container: Container, *, reason: str) -> Node:
    """Make a stopped, stateless container anew on the best other node and forget it on this one. Returns the node it goes to.

    One transaction with a new placement epoch: what the old node still says of it is ignored, and a node that was away stops it when it is back.

    Raises:
        Refused `not_movable`, `no_placement`, `too_many_sessions`. Locked. Conflict `wrong_state`: it runs.
    """
    with transaction.atomic():
        container = Container.objects.select_for_update(of=("self",)).select_related("node__cluster", "operation", "egg_version").get(pk=container.pk)
        tied = why_not_movable(container) or ("It has files of its own there." if migrate.has_files(container) else "")
        if tied or container.node is None:
            raise Refused(f"{container.name} can't move: {tied or 'it has no node'}", code="not_movable")
        if container.status not in DOWN:
            raise Conflict(
                f"{container.name} is {container.status}: stop it first.", code="wrong_state", extra={"state": container.status, "allowed": []}
            )
        old, old_epoch = container.node, container.epoch
        ranking = _ranking(container, away_from=old.pk)
        size: dict[str, Any] = {"cpus": container.cpus, "memory_bytes": container.memory_bytes, "disk_bytes": container.disk_bytes}
        chosen = next((view for view in ranking.candidates if claim(view.id, **size)), None)
        if chosen is None:
            rejected = [{"node": r.node_name, "rule": r.rule, "reason": r.reason} for r in ranking.rejected]
            raise Refused(f"No other node can take {container.name}.", code="no_placement", extra={"rejected": rejected})
        sessions.take_place(container)
        node = Node.objects.get(pk=chosen.id)
        wishes = [(port.container_port, 0, port.protocol) for port in container.ports.order_by("-is_primary", "id")]
        container.ports.all().delete()
        release(old.pk, **size)
        Container.objects.filter(pk=container.pk).update(
            placed=whereabouts.told(ranking, chosen),
            node=node,
            epoch=old_epoch + 1,
            observed="",
            observed_seq=0,
            runtime_ref="",
            exit_code=None,
            desired=Desired.RUNNING,
            restarts=0,
        )
        container.refresh_from_db()
        allocate_ports(container, node, wishes)
        spec = render_spec(container)
        Container.objects.filter(pk=container.pk).update(spec=as_kept(spec), spec_changed=False)
        commands.cancel_open(subject_id=container.pk, reason="It goes to another node.")
        commands.enqueue(old, "container.remove", payload=RemovePayload(), subject_id=container.pk, epoch=old_epoch, deadline_seconds=REMOVE_SECONDS)
        operation = take(container, "create", user=None, deadline_seconds=CREATE_SECONDS)
        commands.enqueue(
            node,
            "container.create",
            payload=CreatePayload(spec=spec, start=True, registry_auth=registry_auth(container)),
            operation=operation,
            subject_id=container.pk,
            epoch=container.epoch,
            deadline_seconds=CREATE_SECONDS,
        )
        record("containers.move", actor=SYSTEM, target=target(container), before={"node": old.name}, after={"node": node.name}, message=reason)
        announce(container)
    return node


def bring_back(node: Node, container_ids: list[UUID]) -> int:
    """Start what a drain had stopped on this node, unless somebody has decided otherwise since. Returns how many."""
    count = 0
    for container in Container.objects.alive().filter(pk__in=container_ids, node=node, status__in=DOWN).select_related("node", "operation"):
        try:
            power.act(container, "start", user=None, actor=SYSTEM)
            count += 1
        except Problem as problem:
            log.info("containers.not_brought_back", container=str(container.pk), reason=problem.detail)
    return count
