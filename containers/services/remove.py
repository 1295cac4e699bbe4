"""Deleting: to the trash, back from it, and for good."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import transaction
from django.db.models import Count, Max, Q

from agent.protocol.commands import RemovePayload, StopPayload
from audit.services import Actor, record
from containers.models import Container, KeptLog
from containers.services.locks import take
from containers.services.power import SLACK_SECONDS, overtake, stop_spec
from containers.services.publish import announce, target
from containers.states import Desired, Status
from lormas.common import clock, jobs
from lormas.common.errors import Conflict
from nodes import commands, operations
from nodes.models import Command, Node, Operation
from nodes.services import release
from nodes.states import OperationStatus

REMOVE_SECONDS = 30 * 86400
"""An offline node is told when it comes back."""
AGAIN_SECONDS = 15
AGAIN_AT_MOST_SECONDS = 3600
SOON_SECONDS = 120
"""Longer pauses are left to `containers.tasks.tidy`."""
AWAY_ERRORS = ("engine_down", "timeout")
AWAY_TIMES = 8
"""So often an engine that was away does not lengthen the pause: it is back soon, and when it is so between two heartbeats no node is ever 'back'."""


def delete_container(container: Container, *, user: Any, actor: Actor, force: bool = False) -> Operation:
    """Stop it and put it into the trash (`force`: remove it with its data at once)."""
    if force:
        return purge_container(container, user=user, actor=actor)
    with transaction.atomic():
        container = Container.objects.select_for_update(of=("self",)).select_related("node", "operation").get(pk=container.pk)
        if container.running_operation is not None:
            overtake(container, container.running_operation)
        operation = take(container, "delete", user=user, deadline_seconds=REMOVE_SECONDS)
        Container.objects.filter(pk=container.pk).update(deleted_at=clock.now(), desired=Desired.STOPPED)
        container.deleted_at = clock.now()
        if container.node is not None:
            _tell(container, container.node, operation)
        record("containers.delete", actor=actor, target=target(container), message="Moved to the trash.")
        announce(container)
    return operation


def restore_container(container: Container, *, actor: Actor) -> Container:
    """Out of the trash, stopped. Raises Conflict if its name is in use again, or it is being purged."""
    with transaction.atomic():
        if Container.objects.alive().filter(owner=container.owner, name=container.name).exists():
            raise Conflict(f"Another container is named {container.name} now: rename that one first.", code="name_taken")
        moved = Container.objects.trashed().exclude(desired=Desired.DELETED).filter(pk=container.pk).update(deleted_at=None)
        if not moved:
            raise Conflict("It is no longer in the trash.", code="not_in_trash")
        container.refresh_from_db()
        record("containers.restore", actor=actor, target=target(container))
        announce(container)
    return container


def purge_container(container: Container, *, user: Any, actor: Actor) -> Operation:
    """Remove it from its node with its data; the row goes when the node has confirmed. Its log is kept for LOG_RETENTION_DAYS."""
    with transaction.atomic():
        container = Container.objects.select_for_update(of=("self",)).select_related("node", "operation").get(pk=container.pk)
        if container.running_operation is not None:
            overtake(container, container.running_operation)
        operation = take(container, "delete", user=user, deadline_seconds=REMOVE_SECONDS)
        Container.objects.filter(pk=container.pk).update(
            deleted_at=container.deleted_at or clock.now(), desired=Desired.DELETED, status=Status.DELETING, status_deadline=None
        )
        record("containers.purge", actor=actor, target=target(container), message="Removed with its data.")
        if container.node is None:
            operations.settle_operation(operation.pk, status=OperationStatus.SUCCEEDED)
            forget(container)
            return operation
        commands.cancel_open(subject_id=container.pk, reason="The container is being deleted.")
        _tell(container, container.node, operation, for_good=True)
        announce(container)
    return operation


def _tell(container: Container, node: Node, operation: Operation, *, for_good: bool = False) -> None:
    stop = StopPayload(stop=stop_spec(container, None))
    commands.enqueue(
        node,
        "container.remove" if for_good else "container.stop",
        payload=RemovePayload(keep_logs=settings.LOG_RETENTION_DAYS > 0) if for_good else stop,
        operation=operation,
        subject_id=container.pk,
        epoch=container.epoch,
        deadline_seconds=REMOVE_SECONDS,
    )


def delete_again(container: Container) -> Operation:
    """Tell the node once more to stop what is in the trash, or to remove what is to go: its engine was down when it was told before.

    The wish is in the journal already. Raises Locked.
    """
    with transaction.atomic():
        for_good = container.desired == Desired.DELETED
        operation = take(container, "delete", user=None, deadline_seconds=REMOVE_SECONDS)
        Container.objects.filter(pk=container.pk).update(status_deadline=None)
        assert container.node is not None
        _tell(container, container.node, operation, for_good=for_good)
    return operation


def told(container: Container) -> dict[str, Any]:
    """How often its node was told since it was deleted, how often of these its engine was away, and the last answer: {"count", "away", "last"}."""
    kind = "container.remove" if container.desired == Desired.DELETED else "container.stop"
    since = Command.objects.filter(subject_id=container.pk, kind=kind, created_at__gte=container.deleted_at)
    return since.aggregate(last=Max("settled_at"), count=Count("pk"), away=Count("pk", filter=Q(error_code__in=AWAY_ERRORS)))


def pause(told: dict[str, Any]) -> timedelta:
    """Before it is told once more; `told` is what the function of this name answers."""
    times = told["count"] - min(told["away"], AWAY_TIMES)
    return timedelta(seconds=min(AGAIN_SECONDS * 2 ** min(times, 10), AGAIN_AT_MOST_SECONDS))


def not_done(container: Container) -> None:
    """Its node could not do what deleting asks of it: told again when the pause is over, not only when somebody looks around the next time."""
    if container.deleted_at is not None:
        wait = pause(told(container)).total_seconds()
        if wait <= SOON_SECONDS:
            jobs.enqueue_on_commit("containers.tasks.delete_again", countdown_seconds=wait + 1)


def forget(container: Container) -> None:
    """The row, its ports and its share of the node go. Inside the caller's transaction."""
    if container.node_id is not None:
        release(container.node_id, cpus=container.cpus, memory_bytes=container.memory_bytes, disk_bytes=container.disk_bytes)
        if container.observed and settings.LOG_RETENTION_DAYS > 0:
            kept = {"name": container.name, "owner_id": container.owner_id, "node_id": container.node_id, "deleted_at": clock.now()}
            KeptLog.objects.update_or_create(pk=container.pk, defaults=kept)
    container.status = Status.DELETED
    announce(container)
    container.ports.all().delete()
    Container.objects.filter(pk=container.pk).delete()


__all__ = ["SLACK_SECONDS", "delete_again", "delete_container", "forget", "not_done", "pause", "purge_container", "restore_container", "told"]
