"""Copies of containers that an earlier node keeps, stopped: told, and removed only when somebody asks."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import transaction

from agent.protocol.commands import RemovePayload
from audit.services import Actor, Target, record
from containers.models import Container, LeftCopy
from containers.services.remove import REMOVE_SECONDS
from lormas.common import clock
from lormas.common.errors import Conflict, NotFound
from nodes import commands, events
from nodes.models import Command, Node
from nodes.states import CommandState

AGAIN = timedelta(minutes=10)


def on_node(node: Node) -> list[LeftCopy]:
    """Newest first."""
    return list(LeftCopy.objects.filter(node=node)[:500])


def get(node: Node, copy_id: UUID | str) -> LeftCopy:
    """Raises NotFound."""
    found: LeftCopy | None = LeftCopy.objects.filter(node=node, pk=copy_id).first()
    if found is None:
        raise NotFound("There is no such copy on this node.")
    return found


def as_data(copy: LeftCopy) -> dict[str, Any]:
    """For answers."""
    return {
        "id": copy.pk,
        "container": copy.container_id,
        "name": copy.container_name,
        "reason": copy.reason,
        "created_at": copy.created_at,
        "asked_at": copy.asked_at,
    }


@transaction.atomic
def remove(copy: LeftCopy, *, actor: Actor) -> LeftCopy:
    """Ask its node to remove it with its files; the row goes when the node has confirmed.

    Raises:
        Conflict `lives_here`: the container lives on this node (again). Conflict `asked_already`.
    """
    node = Node.objects.get(pk=copy.node_id)
    if Container.objects.filter(pk=copy.container_id, node=node).exists():
        raise Conflict(f"{copy.container_name} lives on {node.name}: delete it there.", code="lives_here", extra={"state": "live", "allowed": []})
    now = clock.now()
    if not LeftCopy.objects.filter(pk=copy.pk).exclude(asked_at__gt=now - AGAIN).update(asked_at=now):
        raise Conflict("Its node was asked a moment ago.", code="asked_already", extra={"state": "asked", "allowed": []})
    commands.enqueue(
        node, "container.remove", payload=RemovePayload(), subject_id=copy.container_id, epoch=copy.epoch, deadline_seconds=REMOVE_SECONDS
    )
    events.note(node, "left_copy", f"The old copy of {copy.container_name} is being removed, with its files.", level="warning")
    record("nodes.left_copy_remove", actor=actor, target=Target("node", str(node.pk), node.name), after={"container": str(copy.container_id)})
    copy.asked_at = now
    return copy


def removed(command: Command) -> None:
    """A node has removed something: then no copy of it is left there. Inside the transaction that settles it."""
    if command.kind == "container.remove" and command.subject_id is not None and command.state == CommandState.DONE:
        LeftCopy.objects.filter(container_id=command.subject_id, node_id=command.node_id, epoch__lte=command.epoch).delete()
