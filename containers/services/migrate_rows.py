"""What the phases of a move share: its row, its container's, who is told, what is asked of the nodes. See `migrate_steps`."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from agent.protocol.parts import Part
from containers.models import Container, LeftCopy, Migration, Port
from containers.models.moving import Phase
from containers.services.observe import settle_status
from lormas.common import clock, live
from nodes import commands, operations
from nodes.models import Node

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


def enter(move: Migration, phase: str, seconds: float, **changes: Any) -> None:
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


def ask(move: Migration, role: str, node: Node | None, kind: str, payload: Part, *, epoch: int, seconds: float) -> None:
    """A command that this phase waits for."""
    assert node is not None
    command = commands.enqueue(node, kind, payload=payload, subject_id=move.container_id, epoch=epoch, deadline_seconds=seconds)
    move.commands = {**move.commands, role: str(command.pk)}
    move.save(update_fields=["commands"])


def swap(container: Container, move: Migration, *, node: Node, epoch: int) -> None:
    """It lives there from now on; the ports of the other place are held by the move."""
    held = list(move.ports.values_list("pk", flat=True))
    container.ports.all().update(container=None, migration=move)
    Port.objects.filter(pk__in=held).update(container=container, migration=None)
    Container.objects.filter(pk=container.pk).update(
        node=node, epoch=epoch, observed="", observed_seq=0, runtime_ref="", exit_code=None, restarts=0, health="", readiness=""
    )
    container.refresh_from_db()


def unlock(move: Migration, container: Container, *, status: str, result: dict[str, Any] | None = None) -> None:
    if move.operation_id is not None and container.operation_id == move.operation_id:
        Container.objects.filter(pk=container.pk, operation_id=move.operation_id).update(operation=None)
        container.operation = None
    settle_status(container, cause="command")
    if move.operation_id is not None:
        operations.settle_operation(
            move.operation_id, status=status, result=result, error_code=move.error_code, error_detail=move.error_detail, message=""
        )


def finish(move: Migration, phase: str) -> None:
    enter(move, phase, 0, finished_at=clock.now())


def leave(container: Container, node: Node | None, *, epoch: int, reason: str) -> None:
    """A stopped copy stays on a node: it is told, and removed only by a person."""
    if node is None:
        return
    LeftCopy.objects.update_or_create(
        container_id=container.pk,
        node=node,
        defaults={"container_name": container.name, "epoch": epoch, "reason": reason[:200], "asked_at": None},
    )
