"""Operations: opening, telling how far they are, settling them once, waiting for them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db import connection, transaction
from django.db.models import Exists, OuterRef, Q, QuerySet

from accounts.access import has
from audit.services import SYSTEM, Actor, Target, record
from lormas.common import clock, live
from lormas.common.errors import Conflict, NotFound
from nodes.models import Command, Operation
from nodes.states import COMMAND_OPEN, OPERATION_OPEN, CommandState, OperationStatus

log = structlog.get_logger(__name__)

QUICK_SECONDS = 3.0
"""Most operations end within this: so long `wait_for` looks every 50 ms at what other processes settle, later less often."""
COMMAND_GRACE = timedelta(seconds=60)
"""How long an operation that is over its deadline still waits for a command that the agent has accepted."""


def as_hint(operation: Operation) -> dict[str, Any]:
    """What browsers get on `ui:operations`."""
    return {
        "type": "operation",
        "id": str(operation.pk),
        "kind": operation.kind,
        "status": operation.status,
        "progress": operation.progress,
        "message": operation.message,
        "target_type": operation.target_type,
        "target_id": str(operation.target_id) if operation.target_id else None,
        "owner": str(operation.actor_id) if operation.actor_id else None,
        "error_code": operation.error_code,
        "error_detail": operation.error_detail,
    }


def _publish(op_id: UUID | str) -> None:
    operation = Operation.objects.filter(pk=op_id).first()
    if operation is not None:
        live.on_commit_publish("ui:operations", as_hint(operation))


def open_operation(
    kind: str,
    *,
    user: Any = None,
    target_type: str = "",
    target_id: UUID | str | None = None,
    target_label: str = "",
    deadline_seconds: float = 300,
    message: str = "",
) -> Operation:
    """A new queued operation. `user` None = Lormas itself. The request id comes from the log context."""
    context = structlog.contextvars.get_contextvars()
    operation = Operation.objects.create(
        kind=kind,
        actor=user if getattr(user, "is_authenticated", False) else None,
        actor_label=str(getattr(user, "label", "") or "Lormas")[:255],
        target_type=target_type,
        target_id=target_id,
        target_label=target_label[:255],
        message=message[:255],
        request_id=str(context.get("request_id", ""))[:64],
        deadline=clock.now() + timedelta(seconds=deadline_seconds),
    )
    live.on_commit_publish("ui:operations", as_hint(operation))
    return operation


def mark_running(op_id: UUID | str) -> bool:
    """queued -> running; False if it was not queued."""
    moved = Operation.objects.filter(pk=op_id, status=OperationStatus.QUEUED).update(status=OperationStatus.RUNNING, started_at=clock.now())
    if moved:
        _publish(op_id)
    return bool(moved)


def set_progress(op_id: UUID | str, percent: int, message: str = "") -> None:
    """Store how far an open operation is (0-100); a settled one stays as it is."""
    changes: dict[str, Any] = {"progress": max(0, min(100, int(percent)))}
    if message:
        changes["message"] = message[:255]
    if Operation.objects.filter(pk=op_id, status__in=OPERATION_OPEN).update(**changes):
        _publish(op_id)


def settle_operation(
    op_id: UUID | str,
    *,
    status: str,
    result: dict[str, Any] | None = None,
    error_code: str = "",
    error_detail: str = "",
    message: str = "",
) -> bool:
    """End an operation. The first settle wins: False, and nothing changes, if it has ended before."""
    if status in OPERATION_OPEN:
        raise ValueError(f"{status} does not end an operation")
    now = clock.now()
    changes: dict[str, Any] = {
        "status": status,
        "result": result or {},
        "error_code": error_code[:64],
        "error_detail": error_detail,
        "finished_at": now,
    }
    if status == OperationStatus.SUCCEEDED:
        changes["progress"] = 100
    if message:
        changes["message"] = message[:255]
    with transaction.atomic():
        settled = Operation.objects.filter(pk=op_id, status__in=OPERATION_OPEN).update(**changes)
        if settled:
            Operation.objects.filter(pk=op_id, started_at__isnull=True).update(started_at=now)
            _publish(op_id)
            transaction.on_commit(lambda: _wake(op_id))
    return bool(settled)


_waiting: dict[str, set[threading.Event]] = {}
_waiting_lock = threading.Lock()


def _wake(op_id: UUID | str) -> None:
    """Those who wait in this process look at once; others when their pause is over."""
    with _waiting_lock:
        for waiter in _waiting.get(str(op_id), ()):
            waiter.set()


@contextlib.contextmanager
def _waiter(op_id: UUID | str) -> Iterator[threading.Event]:
    key, waiter = str(op_id), threading.Event()
    with _waiting_lock:
        _waiting.setdefault(key, set()).add(waiter)
    try:
        yield waiter
    finally:
        with _waiting_lock:
            _waiting[key].discard(waiter)
            if not _waiting[key]:
                del _waiting[key]


def wait_for(op_id: UUID | str, seconds: float) -> Operation:
    """The operation once it has ended, or as it is when `seconds` are over. Blocks its thread; holds no database connection while it sleeps."""
    end = time.monotonic() + seconds
    pause = 0.05
    with _waiter(op_id) as settled:
        while True:
            settled.clear()
            operation = Operation.objects.get(pk=op_id)
            left = end - time.monotonic()
            if not operation.is_open or left <= 0:
                return operation
            if not connection.in_atomic_block:
                connection.close()
            settled.wait(min(pause, left))
            if seconds - left > QUICK_SECONDS:
                pause = min(pause * 1.3, 0.25)


def visible_operations(user: Any) -> QuerySet[Operation]:
    """One's own; everybody's with `operations.any`."""
    found = Operation.objects.select_related("actor")
    return found if has(user, "operations.any") else found.filter(actor=user)


def get_operation(user: Any, op_id: UUID | str) -> Operation:
    """The operation, or NotFound (never tells whether it exists)."""
    operation = visible_operations(user).filter(pk=op_id).first()
    if operation is None:
        raise NotFound("There is no such operation, or it is not yours.")
    return operation


def cancel(operation: Operation, *, actor: Actor = SYSTEM, reason: str = "Cancelled.") -> Operation:
    """Cancel what no agent has taken up yet.

    Raises:
        Conflict: it has ended, or the node is doing it.
    """
    from nodes import commands

    if not operation.is_open:
        raise Conflict(f"The operation has ended: {operation.status}.", extra={"status": operation.status, "allowed": []})
    with transaction.atomic():
        if operation.commands.filter(state__in=(CommandState.SENT, CommandState.ACKED)).exists():
            raise Conflict(
                "The node is already doing this; `kill` on the container overtakes it.",
                code="running_on_node",
                extra={"status": operation.status, "allowed": []},
            )
        for command_id in operation.commands.filter(state=CommandState.QUEUED).values_list("pk", flat=True):
            commands.settle(command_id, ok=False, error=commands.failure("cancelled", reason))
        settle_operation(operation.pk, status=OperationStatus.CANCELLED, error_code="cancelled", error_detail=reason)
        record("operations.cancel", actor=actor, target=Target("operation", str(operation.pk), operation.kind))
    operation.refresh_from_db()
    return operation


def sweep_overdue() -> int:
    """End operations whose deadline is over; one whose command an agent has accepted gets `COMMAND_GRACE` more. Returns how many ended."""
    now = clock.now()
    busy = Command.objects.filter(operation=OuterRef("pk"), state__in=COMMAND_OPEN)
    overdue = Operation.objects.filter(status__in=OPERATION_OPEN, deadline__lt=now).filter(Q(deadline__lt=now - COMMAND_GRACE) | ~Exists(busy))
    ended = 0
    for op_id in overdue.values_list("pk", flat=True)[:500]:
        ended += settle_operation(
            op_id,
            status=OperationStatus.TIMED_OUT,
            error_code="timed_out",
            error_detail="It did not end within its time. What it left is being looked at.",
        )
    if ended:
        log.warning("operations.timed_out", count=ended)
    return ended
