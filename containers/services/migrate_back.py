"""The way back of a move, whatever its phase. See `migrate_steps`."""

from __future__ import annotations

from datetime import timedelta

import structlog
from django.db import transaction

from agent.protocol.commands import RemovePayload, StopPayload
from audit.services import SYSTEM, record
from containers.models import Container, LeftCopy, Migration
from containers.models.moving import BEFORE, Phase
from containers.services.create import render_spec
from containers.services.migrate_rows import RUNS, ask, container_of, enter, finish, leave, publish, swap, unlock
from containers.services.power import act, stop_spec
from containers.services.publish import target
from containers.services.remove import REMOVE_SECONDS
from containers.spec import as_kept
from containers.states import Desired
from lormas.common import clock
from lormas.common.errors import Problem
from nodes import commands
from nodes.models import Command
from nodes.services import release
from nodes.states import CommandState, OperationStatus

log = structlog.get_logger(__name__)

UNDO_SECONDS = 7 * 86400


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
        returned(move)
    else:
        enter(move, Phase.GOING_BACK, UNDO_SECONDS)
    for command in asked.values():  # what was not sent yet is not sent any more; what was is overtaken by what follows
        if command is not None and command.state == CommandState.QUEUED:
            commands.settle(command.pk, ok=False, error=commands.failure("cancelled", "The move was given up."))
    if not at_once:
        ask(move, "undo", move.target, "container.remove", RemovePayload(), epoch=move.target_epoch, seconds=UNDO_SECONDS)


def return_without_word(move: Migration, *, detail: str) -> None:
    """Back, although the new node has not confirmed: somebody (or its lease) vouches for it. When it is back it is fenced. In a transaction."""
    move.error_detail = f"{move.error_detail} {detail}".strip()
    move.save(update_fields=["error_detail"])
    leave(move.container, move.target, epoch=move.target_epoch, reason="A move to here was given up while this node was away.")
    returned(move)


def returned(move: Migration) -> None:
    container = container_of(move)
    crossed = container.epoch == move.target_epoch and container.node_id == move.target_id
    if crossed and move.source is not None:
        swap(container, move, node=move.source, epoch=move.target_epoch + 1)
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
    finish(move, Phase.RETURNED)
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
    unlock(move, container, status=status)
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
