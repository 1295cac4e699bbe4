"""The phases of a move, each begun in one transaction and ended by a settled command, by the carrier of its bytes, or by its time.

    prepare -> snapshot -> copy -> verify -> cut_over -> release -> done
       \\__________\\__________\\________\\____> returned       \\-> going_back -> returned

Before `cut_over` the container belongs to the old node, which only has to start it again. From `cut_over` on it belongs to the new node under a
higher epoch; on the way back the new node must first have confirmed that nothing of it is left there. So at no time two may run, and the files of
the old node are removed only by `release`, when the new one runs on a copy that was compared.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import structlog
from django.db import transaction

from agent.protocol.commands import CreatePayload, RemovePayload, StopPayload
from agent.protocol.moving import DigestPayload, FencePayload, ReceivePayload
from audit.services import SYSTEM, record
from containers.models import Container, Migration
from containers.models.moving import BEFORE, HELD, OPEN, Phase
from containers.services import failover
from containers.services.create import CREATE_SECONDS, registry_auth, render_spec
from containers.services.migrate_back import UNDO_SECONDS, go_back, return_without_word, returned
from containers.services.migrate_rows import RUNS, ask, container_of, enter, finish, leave, locked, publish, swap, unlock
from containers.services.power import SLACK_SECONDS, stop_spec
from containers.services.publish import announce, target
from containers.services.remove import REMOVE_SECONDS
from containers.spec import as_kept
from containers.states import Desired
from lormas.common import clock
from nodes import commands
from nodes.models import Command
from nodes.services import release
from nodes.states import OPERATION_OPEN, CommandState, OperationStatus

log = structlog.get_logger(__name__)

PREPARE_SECONDS = CREATE_SECONDS + 60
COPY_SECONDS = 6 * 3600
VERIFY_SECONDS = 6 * 3600
STALL_SECONDS = 120
"""A node that is away for so long while something is asked of it (or bytes stand still) ends the move: better back than waiting."""
STEADY_SECONDS = 2
"""So long it must have run on the new node before the old copy may go."""


# --------------------------------------------------------------------------------------------------------------- forward


def begin(move: Migration, container: Container) -> None:
    """Have the new node ready while it still runs on the old one."""
    publish(move)
    if not move.has_files:
        _snapshot(move, container)
        return
    payload = ReceivePayload(
        spec=render_spec(container), move=str(move.pk), registry_auth=registry_auth(container), log_seq=container.last_log_seq + 1000
    )
    ask(move, "receive", move.target, "container.receive", payload, epoch=move.target_epoch, seconds=PREPARE_SECONDS)


def _snapshot(move: Migration, container: Container) -> None:
    stop = stop_spec(container, None)
    seconds = stop.grace_seconds + SLACK_SECONDS
    # Also where it seems to be stopped: so its node has the last word, and nothing that was asked before comes after.
    enter(move, Phase.SNAPSHOT, seconds + STALL_SECONDS)
    # It ends because we ask: that is no crash, and nobody is to start it again before we do.
    Container.objects.filter(pk=container.pk).update(desired=Desired.STOPPED)
    ask(move, "stop", move.source, "container.stop", StopPayload(stop=stop), epoch=move.source_epoch, seconds=seconds)


def _copy(move: Migration, *, again: bool = False) -> None:
    if not move.has_files:
        _cut_over(move)
        return
    # The warden's carriers take it up (`containers.carrying`).
    enter(move, Phase.COPY, COPY_SECONDS, bytes_done=0, digests={}, copies=move.copies + again)


def carried(move_id: UUID, *, done: int) -> None:
    """All bytes came: both nodes read what they have."""
    with transaction.atomic():
        move = locked(move_id, Phase.COPY)
        if move is None:
            return
        assert move.source is not None and move.target is not None
        enter(move, Phase.VERIFY, VERIFY_SECONDS, bytes_done=done)
        owners = "process" not in (move.source.runtime_kind, move.target.runtime_kind)
        for role, node, epoch in (("source", move.source, move.source_epoch), ("target", move.target, move.target_epoch)):
            ask(move, role, node, "container.digest", DigestPayload(owners=owners), epoch=epoch, seconds=VERIFY_SECONDS)


def progressed(move_id: UUID, *, done: int, total: int, message: str) -> bool:
    """Bytes moved. False: it is no longer to be copied."""
    with transaction.atomic():
        move = locked(move_id, Phase.COPY)
        if move is None or (move.operation is not None and move.operation.status not in OPERATION_OPEN):
            return False
        if done > move.bytes_done:
            move.moved_at = clock.now()
        move.bytes_done, move.bytes_total = done, max(total, done)
        move.save(update_fields=["bytes_done", "bytes_total", "moved_at"])
        publish(move, message)
    return True


def _verified(move: Migration) -> None:
    one, other = move.digests.get("source"), move.digests.get("target")
    if one is None or other is None:
        return
    if one == other:
        _cut_over(move)
    elif move.copies < 1:
        log.warning("containers.copies_differ", container=str(move.container_id), move=str(move.pk))
        _copy(move, again=True)
    else:
        detail = "The copy on the new node was twice not the same as the original: the disk of one of them may be bad."
        go_back(move, code="copies_differ", detail=detail)


def _cut_over(move: Migration) -> None:
    container = container_of(move)
    if container.node_id != move.source_id or container.epoch != move.source_epoch or move.target is None:
        go_back(move, code="overtaken", detail="Something else has placed it meanwhile.")
        return
    if container.observed in RUNS:
        go_back(move, code="started_meanwhile", detail="It was started on the old node while it was being moved, by a hand on the engine.")
        return
    swap(container, move, node=move.target, epoch=move.target_epoch)
    enter(move, Phase.CUT_OVER, CREATE_SECONDS + STALL_SECONDS)
    if move.source is not None and "fence" in move.source.capabilities:
        commands.enqueue(
            move.source, "container.fence", payload=FencePayload(), subject_id=container.pk, epoch=move.source_epoch, deadline_seconds=REMOVE_SECONDS
        )
    spec = render_spec(container)
    desired = Desired.RUNNING if move.was_running else Desired.STOPPED
    Container.objects.filter(pk=container.pk).update(spec=as_kept(spec), spec_changed=False, desired=desired, placed=move.placed)
    container.refresh_from_db()
    payload = CreatePayload(spec=spec, start=move.was_running, registry_auth=registry_auth(container))
    ask(move, "create", move.target, "container.create", payload, epoch=move.target_epoch, seconds=CREATE_SECONDS)
    announce(container)


def _steady(move: Migration) -> None:
    """It was made on the new node. Once it runs there, and has run for a moment, the old copy may go."""
    container = container_of(move)
    if move.was_running:
        if container.observed == "exited" and container.exit_code not in (0, None):
            detail = f"On the new node it ended at once with code {container.exit_code}."
            go_back(move, code="does_not_run", detail=detail)
            return
        if container.observed not in ("running", "paused", "exited"):
            return
        if clock.now() < move.moved_at + timedelta(seconds=STEADY_SECONDS):
            return
    _release(move, container)


def _release(move: Migration, container: Container) -> None:
    enter(move, Phase.RELEASE, REMOVE_SECONDS)
    move.ports.all().delete()
    if move.source_id is not None:
        release(move.source_id, cpus=container.cpus, memory_bytes=container.memory_bytes, disk_bytes=container.disk_bytes)
    result = {"container": str(container.pk), "node": str(move.target_id), "bytes": move.bytes_done}
    record("containers.migrated", actor=SYSTEM, target=target(container), before={"node": move.source_name}, after={"node": move.target_name})
    unlock(move, container, status=OperationStatus.SUCCEEDED, result=result)
    if move.source is None:
        finish(move, Phase.DONE)
        return
    ask(move, "remove", move.source, "container.remove", RemovePayload(), epoch=move.source_epoch, seconds=REMOVE_SECONDS)


# --------------------------------------------------------------------------------------------------- commands that settled


def took(command: Command) -> bool:
    """A command of some move has ended (inside the transaction that settles it). True: it was one, and nobody else is to act on it."""
    if command.subject_id is None:
        return False
    found = Migration.objects.filter(container_id=command.subject_id).order_by("-created_at").values_list("pk", "commands", "phase")[:3]
    for pk, asked, phase in found:
        role = next((role for role, command_id in asked.items() if command_id == str(command.pk)), "")
        if role and phase in OPEN:
            move = locked(pk, *OPEN)
            if move is not None and move.commands.get(role) == str(command.pk):
                _step(move, role, command)
            return True
    return False


def _step(move: Migration, role: str, command: Command) -> None:
    ok = command.state == CommandState.DONE
    if move.error_code and move.phase in BEFORE:  # it was called off meanwhile
        go_back(move, code=move.error_code, detail=move.error_detail)
        return
    if role == "remove":
        if not ok:
            leave(move.container, move.source, epoch=move.source_epoch, reason=f"It was moved, and removing it failed: {command.error_detail}")
        finish(move, Phase.DONE)
        return
    if role == "undo":
        if ok:
            returned(move)
        else:  # asked again until it is confirmed: without that it may run there
            enter(move, Phase.GOING_BACK, UNDO_SECONDS)
            ask(move, "undo", move.target, "container.remove", RemovePayload(), epoch=move.target_epoch, seconds=UNDO_SECONDS)
        return
    if not ok:
        code = {"expired": "timed_out", "timeout": "timed_out"}.get(command.error_code, command.error_code or "failed")
        where = move.source_name if role in ("stop", "source") else move.target_name
        go_back(move, code=code, detail=f"{where}: {command.error_detail}")
        return
    move.moved_at = clock.now()
    move.save(update_fields=["moved_at"])
    if role == "receive":
        free = int(command.result.get("free_bytes") or 0)
        if free and free < move.bytes_total:
            go_back(move, code="disk_full", detail=f"{move.target_name} has {free} bytes free, its files take {move.bytes_total}.")
        else:
            _snapshot(move, container_of(move))
    elif role == "stop":
        _copy(move)
    elif role in ("source", "target"):
        move.digests = {**move.digests, role: command.result.get("digest")}
        move.save(update_fields=["digests"])
        _verified(move)
    elif role == "create":
        _steady(move)


# --------------------------------------------------------------------------------------------------------------- the clock


def _stalled(move: Migration) -> str:
    """Which node has been away for too long, as a sentence; "" if none is waited for in vain."""
    now = clock.now()
    if now < move.moved_at + timedelta(seconds=STALL_SECONDS):
        return ""
    if move.phase == Phase.COPY:
        return f"No byte came for {STALL_SECONDS} s."
    asked = Command.objects.filter(pk__in=list(move.commands.values()), state__in=(CommandState.QUEUED, CommandState.SENT)).select_related("node")
    return next((f"{command.node.name} does not answer: {command.node.status_reason}" for command in asked if not command.node.is_online), "")


def advance(move_id: UUID) -> None:
    """What time alone brings. May be called by anybody, any number of times."""
    with transaction.atomic():
        move = locked(move_id, *HELD)
        if move is None:
            return
        if move.phase == Phase.CUT_OVER:
            created = Command.objects.filter(pk=move.commands.get("create")).first()
            if created is not None and created.state == CommandState.DONE:
                if clock.now() >= move.deadline:
                    go_back(move, code="timed_out", detail="It did not come to run on the new node.")
                else:
                    _steady(move)
            return
        if move.phase == Phase.GOING_BACK:
            if move.target is None or failover.has_stopped_by_itself(move.target):
                return_without_word(move, detail=f"{move.target_name} is gone, and has stopped what it ran by itself.")
            return
        if move.operation is None or move.operation.status not in OPERATION_OPEN:
            go_back(move, code="cancelled", detail="Its operation was ended.")
        elif move.error_code and clock.now() >= move.deadline:
            go_back(move, code=move.error_code, detail=move.error_detail)
        elif clock.now() >= move.deadline:
            go_back(move, code="timed_out", detail=f"{Phase(move.phase).label}: that took too long.")
        elif stalled := _stalled(move):
            go_back(move, code="stalled", detail=stalled)


def advance_all() -> int:
    """The warden's tick."""
    ids = list(Migration.objects.filter(phase__in=HELD).values_list("pk", flat=True))
    for move_id in ids:
        try:
            advance(move_id)
        except Exception:  # one that can't be moved on must not hold up the others
            log.exception("containers.move_failed", move=str(move_id))
    return len(ids)
