"""Images, volumes and networks of a node: questions to its agent, and acts that take long as operations.

Lists are read from the node when asked for and never stored; a page says when they were read. Pruning removes exactly what was shown before: the
panel sends the ids, and the engine refuses whatever is in use by then.
"""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from django.db import transaction

from agent.protocol.nodework import ImagePull, Prune
from audit.services import Actor, Target, record
from lormas.common import live
from lormas.common.errors import Conflict, NodeSilent, NodeUnavailable, NotFound, Problem, Refused
from nodes import commands, operations, orphans, registries
from nodes.models import Command, Node, Operation
from nodes.services import target_of
from nodes.states import CommandState, OperationStatus

Kind = Literal["images", "volumes", "networks"]
KINDS: tuple[Kind, ...] = ("images", "volumes", "networks")
ASK_SECONDS = 20.0
PULL_SECONDS = 1000.0
PRUNE_SECONDS = 600.0
MOST_PRUNED = 2000


def _ask(node: Node, kind: str, payload: dict[str, Any]) -> dict[str, Any]:
    """Ask its agent; its refusals become problems."""
    if not node.gateway:
        raise NodeUnavailable(f"Node {node.name} is not connected: {node.status_reason or 'its agent has no socket'}")
    try:
        return live.ask_node(node.pk, kind, payload=payload, timeout_seconds=ASK_SECONDS)
    except live.NodeOffline as error:
        raise NodeUnavailable(f"Node {node.name} is not connected: {error}") from error
    except live.NodeTimeout as error:
        raise NodeSilent(f"Node {node.name} did not answer in time: try again.") from error
    except live.NodeRefused as error:
        raise _problem(error.code, error.detail) from error


def _problem(code: str, detail: str) -> Problem:
    if code == "not_found":
        return NotFound(detail)
    if code == "in_use":
        return Conflict(detail, code="in_use", extra={"state": "in_use", "allowed": []})
    return Refused(detail, code=code)


def listing(node: Node, kind: Kind) -> list[dict[str, Any]]:
    """What the engine has. Raises NodeUnavailable, NodeSilent, Refused `unsupported` (its runtime has none)."""
    found = _ask(node, "stock.list", {"kind": kind}).get("items")
    return found if isinstance(found, list) else []


def remove(node: Node, kind: Kind, name: str, *, actor: Actor, force: bool = False) -> list[str]:
    """Remove one; gives the names that are gone. Raises Conflict `in_use`, NotFound, and as `listing`."""
    gone = _ask(node, "stock.remove", {"kind": kind, "name": name, "force": force}).get("removed")
    with transaction.atomic():
        record(f"nodes.{kind}_remove", actor=actor, target=target_of(node), after={"name": name, "force": force})
    return [str(item) for item in gone] if isinstance(gone, list) else []


def prune_preview(node: Node, kind: Kind) -> list[dict[str, Any]]:
    """What pruning would remove: unused images; our own volumes and networks that nothing uses and no container known here needs."""
    items = [item for item in listing(node, kind) if not item.get("in_use")]
    if kind == "images":
        return items
    ours = [item for item in items if item.get("ours")]
    needed = orphans.known({str(item["container_id"]) for item in ours if _is_id(item.get("container_id"))})
    return [item for item in ours if item.get("container_id") not in needed]


def _is_id(value: Any) -> bool:
    try:
        UUID(str(value))
    except ValueError:
        return False
    return True


def _begin(node: Node, kind: str, *, user: Any, payload: Any, seconds: float, message: str) -> Operation:
    operation = operations.open_operation(
        kind, user=user, target_type="node", target_id=node.pk, target_label=node.name, deadline_seconds=seconds, message=message
    )
    commands.enqueue(node, kind, payload=payload, operation=operation, deadline_seconds=seconds)
    return operation


@transaction.atomic
def pull(node: Node, image: str, *, user: Any, actor: Actor) -> Operation:
    """Have the node pull an image, with the stored credentials of its registry if there are any."""
    if not node.is_online:
        raise NodeUnavailable(f"Node {node.name} is {node.get_status_display().lower()}: {node.status_reason}")
    payload = ImagePull(image=image, registry_auth=registries.auth_for(image, shared_only=False), timeout_seconds=PULL_SECONDS - 100)
    operation = _begin(node, "node.image_pull", user=user, payload=payload, seconds=PULL_SECONDS, message=f"Pulling {image}")
    record("nodes.image_pull", actor=actor, target=target_of(node), after={"image": image})
    return operation


def cancel_pull(operation: Operation, *, actor: Actor, reason: str) -> None:
    """Call it off, on its node too where that has begun; what was loaded so far is dropped there.

    Raises:
        Conflict `running_on_node`: it ends just now, or its agent is too old to give up a pull. NodeUnavailable, NodeSilent.
    """
    command = operation.commands.filter(state__in=(CommandState.QUEUED, CommandState.SENT, CommandState.ACKED)).select_related("node").first()
    if command is not None and command.state != CommandState.QUEUED:
        try:
            found = bool(_ask(command.node, "node.cancel", {"command_id": str(command.pk)}).get("found"))
        except Refused:
            found = False
        if not found:
            raise Conflict(
                "The node does not give it up now: it may be ending just now.",
                code="running_on_node",
                extra={"status": operation.status, "allowed": []},
            )
    with transaction.atomic():
        if command is not None:
            commands.settle(command.pk, ok=False, error=commands.failure("cancelled", reason))
        operations.settle_operation(operation.pk, status=OperationStatus.CANCELLED, error_code="cancelled", error_detail=reason)
        record("operations.cancel", actor=actor, target=Target("operation", str(operation.pk), operation.kind))


@transaction.atomic
def prune(node: Node, kind: Kind, ids: list[str], *, user: Any, actor: Actor) -> Operation:
    """Remove exactly these, which a preview has shown; what is in use by now stays."""
    if not ids:
        raise Refused("There is nothing to remove.", code="nothing_to_do")
    if len(ids) > MOST_PRUNED:
        raise Refused(f"At most {MOST_PRUNED} at a time.", code="too_many")
    if not node.is_online:
        raise NodeUnavailable(f"Node {node.name} is {node.get_status_display().lower()}: {node.status_reason}")
    operation = _begin(node, "node.prune", user=user, payload=Prune(kind=kind, ids=ids), seconds=PRUNE_SECONDS, message=f"Removing {len(ids)} {kind}")
    record("nodes.prune", actor=actor, target=target_of(node), after={"kind": kind, "count": len(ids)})
    return operation


def on_settled(command: Command) -> None:
    """The node has ended it (inside the transaction that settles the command)."""
    if command.operation_id is None:
        return
    status = {
        CommandState.DONE: OperationStatus.SUCCEEDED,
        CommandState.EXPIRED: OperationStatus.TIMED_OUT,
        CommandState.CANCELLED: OperationStatus.CANCELLED,
    }.get(CommandState(command.state), OperationStatus.FAILED)
    operations.settle_operation(
        command.operation_id,
        status=status,
        result=command.result if command.state == CommandState.DONE else None,
        error_code=command.error_code,
        error_detail=command.error_detail,
    )
