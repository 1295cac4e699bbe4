"""Commands: durable messages to agents. Enqueue in the act's transaction, send as often as needed, settle once.

The payload is encrypted at rest (it holds environments and registry credentials) and is wiped when the command has ended.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Case, F, Max, Q, Value, When

from agent.protocol.commands import COMMANDS
from agent.protocol.messages import ContainerReport, ErrorInfo, Part
from lormas.common import clock, crypto, live
from lormas.common.database import one
from lormas.common.wires import resolve, wired
from nodes import operations
from nodes.models import Command, Node, Operation
from nodes.states import COMMAND_OPEN, CommandState

log = structlog.get_logger(__name__)

RESEND_AFTER = timedelta(seconds=10)
"""A command that the agent has not acknowledged for so long is sent again."""
ACKED_GRACE = timedelta(seconds=45)
"""How long past its deadline a command may still run on the agent before the panel gives it up."""


def failure(code: str, detail: str) -> ErrorInfo:
    """An `ErrorInfo`, for `settle`."""
    return ErrorInfo(code=code, detail=detail)


def enqueue(
    node: Node,
    kind: str,
    *,
    payload: Part,
    operation: Operation | None = None,
    subject_id: UUID | str | None = None,
    epoch: int = 0,
    deadline_seconds: float = 120,
) -> Command:
    """Write a command down for a node's agent and wake its gateway on commit.

    After `deadline_seconds` it must not be *started* any more. Payload is an instance of `COMMANDS[kind]`.
    """
    if not isinstance(payload, COMMANDS[kind]):
        raise TypeError(f"{kind} takes {COMMANDS[kind].__name__}, not {type(payload).__name__}")
    context = structlog.contextvars.get_contextvars()
    with transaction.atomic():
        # The row lock makes sequences of one node grow in commit order.
        Node.objects.select_for_update().only("pk").get(pk=node.pk)
        last = Command.objects.filter(node_id=node.pk).aggregate(last=Max("sequence"))["last"] or 0
        command = Command.objects.create(
            sequence=last + 1,
            node=node,
            operation=operation,
            kind=kind,
            subject_id=subject_id,
            epoch=epoch,
            payload={"sealed": crypto.encrypt(msgspec.json.encode(payload).decode(), keys=settings.FIELD_KEYS)},
            request_id=str((operation.request_id if operation else "") or context.get("request_id", ""))[:64],
            deadline=clock.now() + timedelta(seconds=deadline_seconds),
        )
    live.wake_node(node.pk)
    return command


def payload_of(command: Command) -> dict[str, Any]:
    """The payload in clear, as it goes to the agent; `{}` once the command has ended."""
    sealed = command.payload.get("sealed")
    if not sealed:
        return {}
    found = json.loads(crypto.decrypt(sealed, keys=settings.FIELD_KEYS))
    return found if isinstance(found, dict) else {}


def due_filter() -> Q:
    """Open, in time, and never sent or not acknowledged for `RESEND_AFTER`."""
    now = clock.now()
    unheard = Q(state=CommandState.QUEUED) | Q(state=CommandState.SENT, sent_at__lt=now - RESEND_AFTER)
    return unheard & Q(deadline__gt=now)


def due(node_id: UUID | str, *, known_to_agent: Iterable[str] | None = None) -> list[Command]:
    """Commands to send now, in order: never sent, or sent and not acknowledged for `RESEND_AFTER`.

    With `known_to_agent` (at a hello) everything open that the agent does not list is due.
    """
    if known_to_agent is not None:
        known = set(known_to_agent)
        open_ones = Command.objects.filter(node_id=node_id, state__in=COMMAND_OPEN, deadline__gt=clock.now())
        return [command for command in open_ones if str(command.pk) not in known]
    return list(Command.objects.filter(due_filter(), node_id=node_id))


def mark_sent(command_ids: Iterable[UUID | str]) -> int:
    """Note that these went out. An acknowledged one that is sent again stays acknowledged."""
    ids = list(command_ids)
    sent = Case(When(state=CommandState.QUEUED, then=Value(CommandState.SENT.value)), default=F("state"))
    return Command.objects.filter(pk__in=ids, state__in=COMMAND_OPEN).update(sent_at=clock.now(), attempts=F("attempts") + 1, state=sent)


def mark_acked(command_id: UUID | str, *, node_id: UUID | str) -> bool:
    """The agent has written it down. False if it is settled, acknowledged, or another node's."""
    with transaction.atomic():
        moved = Command.objects.filter(pk=command_id, node_id=node_id, state__in=(CommandState.QUEUED, CommandState.SENT)).update(
            state=CommandState.ACKED, acked_at=clock.now()
        )
        if moved:
            operation_id = Command.objects.filter(pk=command_id).values_list("operation_id", flat=True).get()
            if operation_id:
                operations.mark_running(operation_id)
    return bool(moved)


def note_progress(command_id: UUID | str, *, node_id: UUID | str, percent: int, message: str = "") -> bool:
    """Store progress of an open command and of its operation. False if it is settled or another node's."""
    command = one(Command.objects.filter(pk=command_id, node_id=node_id, state__in=COMMAND_OPEN))
    if command is None:
        return False
    command.progress = max(0, min(100, percent))
    command.message = message[:255]
    Command.objects.filter(pk=command.pk, state__in=COMMAND_OPEN).update(progress=command.progress, message=command.message)
    if command.operation_id:
        operations.set_progress(command.operation_id, command.progress, command.message)
    handler = wired("PROGRESS").get(command.kind)
    if handler:
        resolve(handler)(command)
    return True


def settle(
    command_id: UUID | str,
    *,
    ok: bool,
    error: ErrorInfo | None = None,
    data: dict[str, Any] | None = None,
    report: ContainerReport | None = None,
) -> bool:
    """End a command; the first settle wins. Then, in the same transaction, the handler of `lormas.wiring.SETTLED` is called.

    The handler gets the row as it is now: `state`, `error_code`, `error_detail`, `result` (= `data`), and the transient `report`.
    A later settle of the same command changes nothing but `result["late"]`, where it is kept for whoever looks. Returns whether this was the first.
    """
    state = CommandState.DONE
    if not ok:
        state = {"expired": CommandState.EXPIRED, "cancelled": CommandState.CANCELLED}.get(error.code if error else "", CommandState.FAILED)
    with transaction.atomic():
        command = one(Command.objects.select_for_update(of=("self",)).select_related("node", "operation").filter(pk=command_id))
        if command is None:
            return False
        if not command.is_open:
            _note_late(command, ok=ok, error=error, data=data)
            return False
        changes: dict[str, Any] = {
            "state": state,
            "settled_at": clock.now(),
            "result": data or {},
            "payload": {},
            "error_code": (error.code if error else "")[:64],
            "error_detail": error.detail if error else "",
            **({"progress": 100} if ok else {}),
        }
        if not Command.objects.filter(pk=command.pk, state__in=COMMAND_OPEN).update(**changes):
            return False
        for name, value in changes.items():
            setattr(command, name, value)
        command.report = report
        handler = wired("SETTLED").get(command.kind)
        if handler:
            resolve(handler)(command)
    return True


def _note_late(command: Command, *, ok: bool, error: ErrorInfo | None, data: dict[str, Any] | None) -> None:
    """Keep what came after the end, once. A repeat of the result that settled it is no news."""
    repeat = command.state == (CommandState.DONE if ok else CommandState.FAILED) and command.error_code == (error.code if error else "")
    if repeat or "late" in command.result:
        return
    late = {"ok": ok, "data": data or {}, "error": msgspec.to_builtins(error) if error else None, "at": clock.rfc3339(clock.now())}
    Command.objects.filter(pk=command.pk).update(result={**command.result, "late": late})
    log.info("commands.late_result", command_id=str(command.pk), kind=command.kind, state=command.state, ok=ok)


def cancel_open(*, subject_id: UUID | str, kinds: Iterable[str] | None = None, reason: str) -> int:
    """Settle all open commands of a subject as cancelled (a later act overtakes them); returns how many."""
    found = Command.objects.filter(subject_id=subject_id, state__in=COMMAND_OPEN)
    if kinds is not None:
        found = found.filter(kind__in=list(kinds))
    return sum(settle(command_id, ok=False, error=failure("cancelled", reason)) for command_id in found.values_list("pk", flat=True))


def _give_up(command_id: UUID, error: ErrorInfo) -> bool:
    try:
        return settle(command_id, ok=False, error=error)
    except Exception:  # a fault in an upper room must not hold up the others; it is tried again at the next sweep
        log.exception("commands.handler_failed", command_id=str(command_id))
        return False


def sweep_overdue() -> int:
    """End commands whose time is over: unacknowledged ones at their deadline, acknowledged ones `ACKED_GRACE` later. Returns how many."""
    now = clock.now()
    ended = 0
    unstarted = Command.objects.filter(state__in=(CommandState.QUEUED, CommandState.SENT), deadline__lt=now)
    for command_id, was_sent in list(unstarted.values_list("pk", "sent_at")[:500]):
        detail = "The node did not accept it in time." if was_sent else "The node was not connected in time."
        ended += _give_up(command_id, failure("expired", detail))
    stuck = Command.objects.filter(state=CommandState.ACKED, deadline__lt=now - ACKED_GRACE)
    for command_id in list(stuck.values_list("pk", flat=True)[:500]):
        ended += _give_up(command_id, failure("timeout", "The node accepted it and did not finish it in time."))
    if ended:
        log.warning("commands.overdue", count=ended)
    return ended
