"""What becomes of containers whose node is lost: as the node's cluster says, and never so that one runs twice (docs/adr/0017).

`never`: they wait for their node. `restart_empty`: they are made anew elsewhere, with empty folders. `restore_backup`: made anew from their last good
backup; those that have none wait. Each gets a higher placement epoch, so that all that the lost node still says or does with it counts for nothing,
and the old copy is stopped and kept there when the node is back.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from django.conf import settings
from django.db import transaction

from agent.protocol.commands import CreatePayload
from agent.protocol.messages import StopSpec
from audit.services import SYSTEM, record
from containers import whereabouts
from containers.models import Backup, Container, LeftCopy, Migration, Port
from containers.models.moving import HELD
from containers.services import install
from containers.services.backups import latest_good_backup, restore_into
from containers.services.create import CREATE_SECONDS, allocate_ports, demand_of, registry_auth, render_spec
from containers.services.locks import take
from containers.services.publish import announce, target
from containers.spec import as_kept
from containers.states import Desired, Status
from lormas.common import clock
from lormas.common.errors import Conflict, Problem, Refused
from nodes import commands, events, operations, placement, selectors
from nodes.models import Cluster, Node
from nodes.services import claim, release
from nodes.states import NodeStatus, OperationStatus

log = structlog.get_logger(__name__)

AT_ONCE = 20
"""Containers in one sweep: placing them must not hold up the warden."""


def has_stopped_by_itself(node: Node) -> bool:
    """Is it silent for so long that its agent, by its lease, has stopped what it ran?"""
    if not node.lease_seconds or node.gateway or node.last_heartbeat is None or node.status == NodeStatus.ACTIVE:
        return False
    return node.last_heartbeat < clock.now() - timedelta(seconds=max(settings.FAILOVER_AFTER_SECONDS, 2 * node.lease_seconds))


def sweep() -> int:
    """Periodic: let containers of lost nodes go elsewhere where their cluster wants that. Returns how many did."""
    lost = Node.objects.select_related("cluster").filter(status=NodeStatus.INACTIVE, gateway="", cluster__isnull=False, lease_seconds__gt=0)
    moved = 0
    _restore_waiting()
    for node in lost.exclude(cluster__failover="never"):
        if not has_stopped_by_itself(node):
            continue
        there = Container.objects.alive().filter(node=node, desired=Desired.RUNNING, status=Status.UNKNOWN)
        for pk in there.values_list("pk", flat=True)[: AT_ONCE - moved]:
            moved += _try(pk, node)
    return moved


def _try(container_id: UUID, node: Node) -> bool:
    try:
        return fail_over(container_id, node) is not None
    except Problem as problem:
        _say(container_id, problem.detail)
    return False


def _say(container_id: UUID, why: str) -> None:
    """Why it waits, where people look; once a reason."""
    reason = f"Its node is lost, and it waits: {why}"[:255]
    container = Container.objects.filter(pk=container_id, status=Status.UNKNOWN).exclude(status_reason=reason).first()
    if container is None:
        return
    Container.objects.filter(pk=container_id, status=Status.UNKNOWN).update(status_reason=reason)
    container.status_reason = reason
    record("containers.failover_waits", actor=SYSTEM, target=target(container), message=reason, outcome="failed")
    announce(container)


def fail_over(container_id: UUID, lost: Node) -> Node | None:
    """Make one anew on the best other node of the cluster. None: it is no longer where it was, or no longer wanted.

    Raises:
        Refused `no_placement`, `no_backup`, `not_movable`. Conflict `not_fenced`: its node may still run it.
    """
    with transaction.atomic():
        container = (
            Container.objects.select_for_update(of=("self",))
            .select_related("node__cluster", "operation", "egg_version", "owner")
            .filter(pk=container_id, node=lost, desired=Desired.RUNNING, deleted_at__isnull=True, status=Status.UNKNOWN)
            .first()
        )
        if container is None or container.node is None:
            return None
        old = Node.objects.select_for_update(of=("self",)).select_related("cluster").get(pk=lost.pk)
        if not has_stopped_by_itself(old):
            raise Conflict(f"{old.name} may still run it.", code="not_fenced", extra={"state": container.status, "allowed": []})
        policy = old.cluster.failover if old.cluster else "never"
        if policy == "never" or Migration.objects.filter(container=container, phase__in=HELD).exists():
            return None
        if container.placement.get("movable") is False:
            raise Refused("It is set not to move.", code="not_movable")
        if any(mount.get("kind") in ("bind", "volume") for mount in container.mounts):
            raise Refused("It uses folders of its machine itself.", code="not_movable")
        backup = _backup_of(container) if policy == "restore_backup" else None
        if container.running_operation is not None:
            commands.cancel_open(subject_id=container.pk, reason="Its node is lost.")
            operations.settle_operation(
                container.running_operation.pk,
                status=OperationStatus.FAILED,
                error_code="node_lost",
                error_detail=f"{old.name} was lost; it is made anew elsewhere.",
            )
            Container.objects.filter(pk=container.pk).update(operation=None)
            container.operation = None
        node = _place(container, old.cluster)
        _go(container, old=old, node=node)
        _make(container, node, backup=backup)
        what = "from its last backup" if backup is not None else "with empty folders"
        message = f"{old.name} is lost since {clock.rfc3339(old.last_heartbeat)}: made anew on {node.name} {what}."
        record("containers.failover", actor=SYSTEM, target=target(container), before={"node": old.name}, after={"node": node.name}, message=message)
        events.note(old, "failover", f"{container.name} was made anew on {node.name}.", level="warning")
        announce(container)
    return node


def _backup_of(container: Container) -> Backup:
    """The last good one. Raises Refused `no_backup`."""
    found = latest_good_backup(container)
    if found is None:
        raise Refused("Its cluster restores the last backup, and it has no good one.", code="no_backup")
    return found


def _place(container: Container, cluster: Cluster | None) -> Node:
    wishes = [(port.container_port, 0, port.protocol) for port in container.ports.all()]
    demand = demand_of(container, wishes, node=None, cluster=cluster)
    views = selectors.placement_views(running=whereabouts.labels_there(demand.affinity, without=container.pk))
    # A node that keeps an old copy would take that one for the new one.
    left = set(LeftCopy.objects.filter(container_id=container.pk).values_list("node_id", flat=True))
    there = [view for view in views if view.id not in left and view.id != container.node_id]
    ranking = placement.rank(demand, there, strategy=cluster.strategy if cluster else "spread")
    size: dict[str, Any] = {"cpus": container.cpus, "memory_bytes": container.memory_bytes, "disk_bytes": container.disk_bytes}
    chosen = next((view for view in ranking.candidates if claim(view.id, **size)), None)
    if chosen is None:
        why = "; ".join(f"{one.node_name}: {one.reason}" for one in ranking.rejected[:5]) or "the cluster has no other node"
        raise Refused(f"no other node can take it ({why}).", code="no_placement")
    Container.objects.filter(pk=container.pk).update(placed=whereabouts.told(ranking, chosen))
    return Node.objects.get(pk=chosen.id)


def _go(container: Container, *, old: Node, node: Node) -> None:
    """It lives there from now on."""
    from containers.services.migrate import next_epoch

    LeftCopy.objects.update_or_create(
        container_id=container.pk,
        node=old,
        defaults={
            "container_name": container.name,
            "epoch": container.epoch,
            "reason": f"Made anew on {node.name} when {old.name} was lost.",
            "asked_at": None,
        },
    )
    wishes = [(port.container_port, 0, port.protocol) for port in container.ports.order_by("-is_primary", "id")]
    Port.objects.filter(container=container).delete()
    release(old.pk, cpus=container.cpus, memory_bytes=container.memory_bytes, disk_bytes=container.disk_bytes)
    commands.cancel_open(subject_id=container.pk, reason="Its node is lost: it is made anew elsewhere.")
    Container.objects.filter(pk=container.pk).update(
        node=node,
        epoch=next_epoch(container),
        observed="",
        observed_seq=0,
        runtime_ref="",
        exit_code=None,
        health="",
        readiness="",
        restarts=0,
        restart_at=None,
    )
    container.refresh_from_db()
    allocate_ports(container, node, wishes)


def _make(container: Container, node: Node, *, backup: Backup | None) -> None:
    spec = render_spec(container)
    Container.objects.filter(pk=container.pk).update(spec=as_kept(spec), spec_changed=False)
    script = install.script_of(container, spec) if backup is None else None
    if script is not None:
        operation = take(container, "install", user=None, deadline_seconds=install.deadline_seconds())
        install.enqueue_install(container, spec=spec, script=script, operation=operation, start=True, stop=StopSpec())
        return
    operation = take(container, "failover", user=None, deadline_seconds=CREATE_SECONDS)
    changes: dict[str, Any] = {"status": Status.CREATING, "status_reason": f"Made anew on {node.name}.", "status_since": clock.now()}
    if backup is not None:  # started when its files are there: `_restore_waiting`
        container.refresh_from_db(fields=["placed"])
        changes["placed"] = {**container.placed, "restore": str(backup.pk)}
    Container.objects.filter(pk=container.pk).update(**changes)
    commands.enqueue(
        node,
        "container.create",
        payload=CreatePayload(spec=spec, start=backup is None, registry_auth=registry_auth(container)),
        operation=operation,
        subject_id=container.pk,
        epoch=container.epoch,
        deadline_seconds=CREATE_SECONDS,
    )


def _restore_waiting() -> int:
    """Those that were made anew from a backup, and are there: their files come, then they start. Returns how many were begun."""
    begun = 0
    waiting = Container.objects.alive().unlocked().filter(placed__has_key="restore", observed__in=("created", "exited"))
    for container in waiting.select_related("node", "operation")[:AT_ONCE]:
        backup = Backup.objects.filter(pk=container.placed["restore"]).first()
        try:
            with transaction.atomic():
                left = {key: value for key, value in container.placed.items() if key != "restore"}
                if not Container.objects.filter(pk=container.pk, placed=container.placed).update(placed=left):
                    continue
                if backup is None:
                    _say_lost(container)
                    continue
                restore_into(container, backup, user=None, actor=SYSTEM, start=True)
                begun += 1
        except Problem as problem:  # tried again
            log.info("containers.restore_put_off", container=str(container.pk), reason=problem.detail)
    return begun


def _say_lost(container: Container) -> None:
    reason = "Its backup was deleted before it could be restored: it is empty, and was not started."
    Container.objects.filter(pk=container.pk).update(status_reason=reason, desired=Desired.STOPPED)
    record("containers.failover_waits", actor=SYSTEM, target=target(container), message=reason, outcome="failed")
