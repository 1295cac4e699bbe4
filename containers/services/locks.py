"""One operation at a time per container: the row's `operation` is the lock, taken by conditional UPDATE."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from containers.models import Container
from containers.states import ACTION_STATUS
from lormas.common import clock
from lormas.common.errors import Locked, NodeUnavailable
from nodes import operations
from nodes.models import Node, Operation


def locked_by(container: Container) -> Locked:
    """The refusal that names the running operation."""
    running = Operation.objects.filter(pk=container.operation_id).first() if container.operation_id else None
    what = running.kind.removeprefix("container.") if running else "another action"
    return Locked(
        f"{container.name} is busy: {what} is running. Wait for it, or kill the container.",
        extra={"operation": str(running.pk) if running else None, "operation_kind": running.kind if running else None},
    )


def take(container: Container, action: str, *, user: Any, deadline_seconds: float) -> Operation:
    """Open an operation and make it the container's; the status becomes the action's passing one. Call inside a transaction.

    Raises:
        Locked: another operation holds it (nothing is left behind when the caller's transaction rolls back).
    """
    operation = operations.open_operation(
        f"container.{action}",
        user=user,
        target_type="container",
        target_id=container.pk,
        target_label=container.name,
        deadline_seconds=deadline_seconds,
    )
    now = clock.now()
    changes: dict[str, Any] = {"operation": operation, "updated_at": now, "restart_at": None}
    if action in ACTION_STATUS:
        changes |= {
            "status": ACTION_STATUS[action],
            "status_reason": "",
            "status_since": now,
            "status_deadline": now + timedelta(seconds=deadline_seconds),
        }
    if not Container.objects.filter(pk=container.pk).unlocked().update(**changes):
        container.refresh_from_db()
        raise locked_by(container)
    for field, value in changes.items():
        setattr(container, field, value)
    return operation


def hold(container: Container, operation: Operation) -> None:
    """Make an operation that is open already the container's, without a passing state: nobody starts or changes it meanwhile. It is let go of when
    the operation ends. Call inside a transaction.

    Raises:
        Locked: another operation holds it.
    """
    if not Container.objects.filter(pk=container.pk).unlocked().update(operation=operation, restart_at=None, updated_at=clock.now()):
        container.refresh_from_db()
        raise locked_by(container)
    container.operation = operation


def require_online(node: Node | None) -> Node:
    """The node, if commands can reach it soon.

    Raises:
        NodeUnavailable: says since when it is silent.
    """
    if node is None:
        raise NodeUnavailable("This container has no node yet.")
    if not node.is_online:
        since = node.last_heartbeat or node.status_since
        raise NodeUnavailable(
            f"Node {node.name} is {node.get_status_display().lower()} since {since:%Y-%m-%d %H:%M:%S} UTC"
            f"{': ' + node.status_reason.rstrip('.') if node.status_reason else ''}. Check its agent, then try again.",
            extra={"node": str(node.pk), "since": clock.rfc3339(since)},
        )
    return node
