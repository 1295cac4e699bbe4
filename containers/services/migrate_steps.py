"""The phases of a move, each begun in one transaction and ended by a settled command, by the carrier of its bytes, or by its time.

    prepare -> snapshot -> copy -> verify -> cut_over -> release -> done
       \\__________\\__________\\________\\____> returned       \\-> going_back -> returned

Before `cut_over` the container belongs to the old node, which only has to start it again. From `cut_over` on it belongs to the new node under a
higher epoch; on the way back the new node must first have confirmed that nothing of it is left there. So at no time two may run, and the files of
the old node are removed only by `release`, when the new one runs on a copy that was compared.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db import transaction

from agent.protocol.commands import CreatePayload, RemovePayload, StopPayload
from agent.protocol.moving import DigestPayload, FencePayload, ReceivePayload
from agent.protocol.parts import Part
from audit.services import SYSTEM, record
from containers.models import Container, LeftCopy, Migration, Port
from containers.models.moving import BEFORE, HELD, OPEN, Phase
from containers.services import failover
from containers.services.create import CREATE_SECONDS, registry_auth, render_spec
from containers.services.observe import settle_status
from containers.services.power import SLACK_SECONDS, act, stop_spec
from containers.services.publish import announce, target
from containers.services.remove import REMOVE_SECONDS
from containers.spec import as_kept
from containers.states import Desired
from lormas.common import clock, live
from lormas.common.errors import Problem
from nodes import commands, operations
from nodes.models import Command, Node
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
UNDO_SECONDS = 7 * 86400
PROGRESS = {Phase.PREPARE: 2, Phase.SNAPSHOT: 8, Phase.COPY: 10, Phase.VERIFY: 70, Phase.CUT_OVER: 85, Phase.RELEASE: 98}
RUNS = ("running", "paused", "restarting")


def locked(move_id: UUID, *phases: str) -> Migration | None:
    """The row, if it is in one of these phases. In a transaction."""
    found: Migration | None = (
        Migration.objects.select_for_update(of=("self",)).select_related("source", "target", "operation").filter(pk=move_id, phase__in=phases).first()
    )
    return found


def container_of(move: Migration) -> Container:
    found: Container = (
        Container.objects.select_for_update(of=("self",)).select_related("node", "operation", "egg_version", "owner").get(pk=move.container_id)
    )
    return found


def _enter(move: Migration, phase: str, seconds: float, **changes: Any) -> None:
    now = clock.now()
    values = {"phase": phase, "phase_since": now, "moved_at": now, "deadline": now + timedelta(seconds=seconds), "commands": {}, **changes}
    for name, value in values.items():
        setattr(move, name, value)
    move.save(update_fields=list(values))
    publish(move)


def publish(move: Migration, message: str = "") -> None:
    """Its operation and its watchers hear how far it is."""
    if move.operation_id is not None:
        operations.mark_running(move.operation_id)
        done = PROGRESS.get(Phase(move.phase), 99)
        if move.phase == Phase.COPY and move.bytes_total:
            done += int(58 * min(1.0, move.bytes_done / move.bytes_total))
        operations.set_progress(move.operation_id, done, message or str(Phase(move.phase).label))
    live.on_commit_publish("ui:containers", hint(move))


def hint(move: Migration) -> dict[str, Any]:
    """On topic `containers`: how far a move is."""
    return {
        "type": "migration",
        "id": str(move.container_id),
        "migration": str(move.pk),
        "owner": str(move.container.owner_id),
        "phase": move.phase,
        "operation": str(move.operation_id) if move.operation_id else None,
        "source": str(move.source_id) if move.source_id else None,
        "target": str(move.target_id) if move.target_id else None,
        "bytes_done": move.bytes_done,
        "bytes_total": move.bytes_total,
        "error_code": move.error_code,
        "error_detail": move.error_detail,
    }


def _ask(move: Migration, role: str, node: Node | None, kind: str, payload: Part, *, epoch: int, seconds: float) -> None:
    """A command that this phase waits for."""
    assert node is not None
    command = commands.enqueue(node, kind, payload=payload, subject_id=move.container_id, epoch=epoch, deadline_seconds=seconds)
    move.commands = {**move.commands, role: str(command.pk)}
    move.save(update_fields=["commands"])


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
    _ask(move, "receive", move.target, "container.receive", payload, epoch=move.target_epoch, seconds=PREPARE_SECONDS)


def _snapshot(move: Migration, container: Container) -> None:
    stop = stop_spec(container, None)
    seconds = stop.grace_seconds + SLACK_SECONDS
    # Also where it seems to be stopped: so its node has the last word, and nothing that was asked before comes after.
    _enter(move, Phase.SNAPSHOT, seconds + STALL_SECONDS)
    # It ends because we ask: that is no crash, and nobody is to start it again before we do.
    Container.objects.filter(pk=container.pk).update(desired=Desired.STOPPED)
    _ask(move, "stop", move.source, "container.stop", StopPayload(stop=stop), epoch=move.source_epoch, seconds=seconds)


def _copy(move: Migration, *, again: bool = False) -> None:
    if not move.has_files:
        _cut_over(move)
        return
    # The warden's carriers take it up (`containers.carrying`).
    _enter(move, Phase.COPY, COPY_SECONDS, bytes_done=0, digests={}, copies=move.copies + again)


def carried(move_id: UUID, *, done: int) -> None:
    """All bytes came: both nodes read what they have."""
    with transaction.atomic():
        move = locked(move_id, Phase.COPY)
        if move is None:
            return
        assert move.source is not None and move.target is not None
        _enter(move, Phase.VERIFY, VERIFY_SECONDS, bytes_done=done)
        owners = "process" not in (move.source.runtime_kind, move.target.runtime_kind)
        for role, node, epoch in (("source", move.source, move.source_epoch), ("target", move.target, move.target_epoch)):
            _ask(move, role, node, "container.digest", DigestPayload(owners=owners), epoch=epoch, seconds=VERIFY_SECONDS)


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
    _swap(container, move, node=move.target, epoch=move.target_epoch)
    _enter(move, Phase.CUT_OVER, CREATE_SECONDS + STALL_SECONDS)
    if move.source is not None and "fence" in move.source.capabilities:
        commands.enqueue(
            move.source, "container.fence", payload=FencePayload(), subject_id=container.pk, epoch=move.source_epoch, deadline_seconds=REMOVE_SECONDS
        )
    spec = render_spec(container)
    desired = Desired.RUNNING if move.was_running else Desired.STOPPED
    Container.objects.filter(pk=container.pk).update(spec=as_kept(spec), spec_changed=False, desired=desired)
    container.refresh_from_db()
    payload = CreatePayload(spec=spec, start=move.was_running, registry_auth=registry_auth(container))
    _ask(move, "create", move.target, "container.create", payload, epoch=move.target_epoch, seconds=CREATE_SECONDS)
    announce(container)


def _swap(container: Container, move: Migration, *, node: Node, epoch: int) -> None:
    """It lives there from now on; the ports of the other place are held by the move."""
    held = list(move.ports.values_list("pk", flat=True))
    container.ports.all().update(container=None, migration=move)
    Port.objects.filter(pk__in=held).update(container=container, migration=None)
    Container.objects.filter(pk=container.pk).update(
        node=node, epoch=epoch, observed="", observed_seq=0, runtime_ref="", exit_code=None, restarts=0, health="", readiness=""
    )
    container.refresh_from_db()


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
    _enter(move, Phase.RELEASE, REMOVE_SECONDS)
    move.ports.all().delete()
    if move.source_id is not None:
        release(move.source_id, cpus=container.cpus, memory_bytes=container.memory_bytes, disk_bytes=container.disk_bytes)
    result = {"container": str(container.pk), "node": str(move.target_id), "bytes": move.bytes_done}
    record("containers.migrated", actor=SYSTEM, target=target(container), before={"node": move.source_name}, after={"node": move.target_name})
    _unlock(move, container, status=OperationStatus.SUCCEEDED, result=result)
    if move.source is None:
        _finish(move, Phase.DONE)
        return
    _ask(move, "remove", move.source, "container.remove", RemovePayload(), epoch=move.source_epoch, seconds=REMOVE_SECONDS)


def _unlock(move: Migration, container: Container, *, status: str, result: dict[str, Any] | None = None) -> None:
    if move.operation_id is not None and container.operation_id == move.operation_id:
        Container.objects.filter(pk=container.pk, operation_id=move.operation_id).update(operation=None)
        container.operation = None
    settle_status(container, cause="command")
    if move.operation_id is not None:
        operations.settle_operation(
            move.operation_id, status=status, result=result, error_code=move.error_code, error_detail=move.error_detail, message=""
        )


def _finish(move: Migration, phase: str) -> None:
    _enter(move, phase, 0, finished_at=clock.now())


# ------------------------------------------------------------------------------------------------------------------ back


def go_back(move: Migration, *, code: str, detail: str) -> None:
    """It stays where it was, whatever the phase: at once, or when the new node has confirmed that nothing of it is left there. In a transaction."""
    if not move.error_code:
        move.error_code, move.error_detail = code[:64], detail
        move.save(update_fields=["error_code", "error_detail"])
    asked = {role: Command.objects.filter(pk=command_id).first() for role, command_id in move.commands.items()}
    stop, create = asked.get("stop"), asked.get("create")
    if stop is not None and stop.state in (CommandState.SENT, CommandState.ACKED) and code != "stalled" and clock.now() < move.deadline:
        publish(move, "Stopping it, then starting it again")  # what starts it again must come behind the stop
        return
    # What was never sent can't have made anything there: then there is nothing to wait for.
    at_once = move.phase in BEFORE or (create is not None and create.state == CommandState.QUEUED)
    if at_once:
        _returned(move)
    else:
        _enter(move, Phase.GOING_BACK, UNDO_SECONDS)
    for command in asked.values():  # what was not sent yet is not sent any more; what was is overtaken by what follows
        if command is not None and command.state == CommandState.QUEUED:
            commands.settle(command.pk, ok=False, error=commands.failure("cancelled", "The move was given up."))
    if not at_once:
        _ask(move, "undo", move.target, "container.remove", RemovePayload(), epoch=move.target_epoch, seconds=UNDO_SECONDS)


def return_without_word(move: Migration, *, detail: str) -> None:
    """Back, although the new node has not confirmed: somebody (or its lease) vouches for it. When it is back it is fenced. In a transaction."""
    move.error_detail = f"{move.error_detail} {detail}".strip()
    move.save(update_fields=["error_detail"])
    leave(move.container, move.target, epoch=move.target_epoch, reason="A move to here was given up while this node was away.")
    _returned(move)


def _returned(move: Migration) -> None:
    container = container_of(move)
    crossed = container.epoch == move.target_epoch and container.node_id == move.target_id
    if crossed and move.source is not None:
        _swap(container, move, node=move.source, epoch=move.target_epoch + 1)
    move.ports.all().delete()
    if move.target_id is not None:
        release(move.target_id, **move.claimed)
        if move.has_files and move.target is not None and not LeftCopy.objects.filter(container_id=container.pk, node=move.target).exists():
            commands.enqueue(
                move.target,
                "container.remove",
                payload=RemovePayload(),
                subject_id=container.pk,
                epoch=move.target_epoch,
                deadline_seconds=REMOVE_SECONDS,
            )
    if crossed and move.source is not None:
        # So its node speaks of it under the epoch that counts now.
        commands.enqueue(
            move.source,
            "container.stop",
            payload=StopPayload(stop=stop_spec(container, None)),
            subject_id=container.pk,
            epoch=container.epoch,
            deadline_seconds=REMOVE_SECONDS,
        )
        Container.objects.filter(pk=container.pk).update(observed="exited", exit_code=None, spec=as_kept(render_spec(container)))
        container.refresh_from_db()
    _finish(move, Phase.RETURNED)
    record(
        "containers.migrate_returned",
        actor=SYSTEM,
        target=target(container),
        before={"node": move.target_name},
        after={"node": move.source_name},
        message=move.error_detail[:500],
        outcome="failed",
    )
    status = {"cancelled": OperationStatus.CANCELLED, "timed_out": OperationStatus.TIMED_OUT}.get(move.error_code, OperationStatus.FAILED)
    _unlock(move, container, status=status)
    if not move.was_running:
        return
    if container.observed in RUNS:  # it was not even stopped
        Container.objects.filter(pk=container.pk).update(desired=Desired.RUNNING)
    else:
        _start_again(container)


def _start_again(container: Container) -> None:
    Container.objects.filter(pk=container.pk).update(desired=Desired.RUNNING)
    container.desired = Desired.RUNNING
    try:
        with transaction.atomic():
            act(container, "start", user=None, actor=SYSTEM, automatic=True)
    except Problem as problem:  # its node is away: the sweep starts it when it is back
        log.info("containers.not_started_again", container=str(container.pk), reason=problem.detail)
        Container.objects.filter(pk=container.pk).update(restart_at=clock.now() + timedelta(seconds=5))


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
        _finish(move, Phase.DONE)
        return
    if role == "undo":
        if ok:
            _returned(move)
        else:  # asked again until it is confirmed: without that it may run there
            _enter(move, Phase.GOING_BACK, UNDO_SECONDS)
            _ask(move, "undo", move.target, "container.remove", RemovePayload(), epoch=move.target_epoch, seconds=UNDO_SECONDS)
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


def leave(container: Container, node: Node | None, *, epoch: int, reason: str) -> None:
    """A stopped copy stays on a node: it is told, and removed only by a person."""
    if node is None:
        return
    LeftCopy.objects.update_or_create(
        container_id=container.pk,
        node=node,
        defaults={"container_name": container.name, "epoch": epoch, "reason": reason[:200], "asked_at": None},
    )


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
