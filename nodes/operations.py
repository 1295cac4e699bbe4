"""Operations: opening, telling how far they are, settling them once, waiting for them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import structlog
from django.db import connection, transaction
from django.db.models import DateTimeField, Exists, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Coalesce

from accounts.access import has
from audit.services import SYSTEM, Actor, Target, record
from lormas.common import clock, live
from lormas.common.database import one
from lormas.common.errors import Conflict, Forbidden, NotFound
from lormas.common.wires import resolve, wired
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
    operation = one(Operation.objects.filter(pk=op_id))
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
        started = Coalesce("started_at", Value(now, output_field=DateTimeField()))
        settled = Operation.objects.filter(pk=op_id, status__in=OPERATION_OPEN).update(**changes, started_at=started)
        if settled:
            transaction.on_commit(lambda: _wake(op_id))  # who waits goes on while the others are told
            _publish(op_id)
    return bool(settled)


_waiting: dict[str, set[threading.Event]] = {}
_waiting_lock = threading.Lock()


_ending = threading.Event()


def answer_waiting() -> None:
    """This process ends: who waits for an operation in it is answered at once with how far it is."""
    _ending.set()
    with _waiting_lock:
        for waiters in _waiting.values():
            for waiter in waiters:
                waiter.set()


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
    """The operation once it has ended, or as it is when `seconds` are over or this process ends. Blocks its thread; of psycopg's pool it holds
    nothing while it sleeps."""
    end = time.monotonic() + seconds
    pause = 0.05
    with _waiter(op_id) as settled:
        while True:
            settled.clear()
            is_open = Operation.objects.values_list("status", flat=True).get(pk=op_id) in OPERATION_OPEN
            left = end - time.monotonic()
            if not is_open or left <= 0 or _ending.is_set():
                return Operation.objects.get(pk=op_id)
            if not connection.in_atomic_block:
                connection.close_if_unusable_or_obsolete()
            settled.wait(min(pause, left))
            if seconds - left > QUICK_SECONDS:
                pause = min(pause * 1.3, 0.25)


ROOM_OF: Final = {
    "container": "containers",
    "node": "nodes",
    "cluster": "clusters",
    "machine": "machines",
    "reservation": "reservations",
    "job": "settings",
}
"""Whose scopes let an API key see its owner's operations, by what they act on. What is not here, no key sees."""
LOOKING: Final = ("view", "logs")
"""Scopes that let a key look, and cancel nothing."""


def reach_of_key(user: Any, *, to_act: bool = False) -> frozenset[str] | None:
    """The kinds of targets that this person's API key lets through; None for somebody who came without one."""
    key = getattr(user, "api_key", None)
    if key is None:
        return None
    pairs = [scope.split(".", 1) for scope in key.scopes]
    rooms = {room for room, verb in pairs if not (to_act and verb in LOOKING)}
    return frozenset(kind for kind, room in ROOM_OF.items() if room in rooms)


def may_know(user: Any, *, owner: str | None, target_type: str) -> bool:
    """Of one operation, as its hint tells of it: the same rule as `visible_operations`."""
    if has(user, "operations.any"):
        return True
    reach = reach_of_key(user)
    return owner == str(user.pk) and (reach is None or target_type in reach)


def visible_operations(user: Any) -> QuerySet[Operation]:
    """One's own, by an API key those of what its scopes speak of; everybody's with `operations.any`."""
    found = Operation.objects.select_related("actor")
    if has(user, "operations.any"):
        return found
    reach = reach_of_key(user)
    return found.filter(actor=user) if reach is None else found.filter(actor=user, target_type__in=reach)


def require_reach(user: Any) -> None:
    """Raises Forbidden for an API key whose scopes speak of nothing that has operations."""
    if reach_of_key(user) == frozenset() and not has(user, "operations.any"):
        raise Forbidden("This API key may not do that: none of its scopes is about what has operations.")


def get_operation(user: Any, op_id: UUID | str, *, to_act: bool = False) -> Operation:
    """The operation, or NotFound (never tells whether it exists). Raises Forbidden where an API key may only look, and `to_act`."""
    operation = one(visible_operations(user).filter(pk=op_id))
    if operation is None:
        raise NotFound("There is no such operation, or it is not yours.")
    reach = reach_of_key(user, to_act=True) if to_act else None
    if reach is not None and operation.target_type not in reach:
        raise Forbidden("This API key may look at this operation, and not cancel it.")
    return operation


def cancel(operation: Operation, *, actor: Actor = SYSTEM, reason: str = "Cancelled.") -> Operation:
    """Cancel what no agent has taken up yet.

    Raises:
        Conflict: it has ended, or the node is doing it.
    """
    from nodes import commands

    if not operation.is_open:
        raise Conflict(f"The operation has ended: {operation.status}.", extra={"status": operation.status, "allowed": []})
    if operation.kind in wired("CANCEL"):
        resolve(wired("CANCEL")[operation.kind])(operation, actor=actor, reason=reason)
        operation.refresh_from_db()
        return operation
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
