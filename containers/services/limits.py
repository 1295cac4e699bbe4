"""Limits: a container's share of its node, changed in place where the node can."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from agent.protocol.commands import UpdatePayload
from agent.protocol.messages import ContainerSpec
from containers.models import Container
from containers.services.locks import take
from lormas.common.errors import FieldError, Refused
from nodes import commands
from nodes.models import Command, Operation
from nodes.services import resize
from nodes.states import CommandState

LIMITS = ("cpus", "memory_bytes", "swap_bytes", "disk_bytes", "io_weight", "pids")
UPDATE_SECONDS = 120


def asked_limits(given: dict[str, Any]) -> dict[str, Any]:
    """0 means the default, as at create."""
    found = dict(given)
    if "cpus" in found:
        found["cpus"] = found["cpus"] or settings.CONTAINER_CPU_LIMIT
    if "memory_bytes" in found:
        found["memory_bytes"] = found["memory_bytes"] or settings.CONTAINER_MEMORY_LIMIT
    if "pids" in found:
        found["pids"] = found["pids"] or 512
    return found


def take_room(container: Container, before: dict[str, Any]) -> None:
    """Its node promises the difference to what it held. Inside the caller's transaction.

    Raises:
        Refused `no_room`: the node has not so much more.
    """
    if container.node_id is None:
        return
    more = {name: getattr(container, name) - before[name] for name in ("cpus", "memory_bytes", "disk_bytes") if name in before}
    if not any(more.values()):
        return
    full = {"cpus": 0.0, "memory_bytes": 0, "disk_bytes": 0, **more}
    if not resize(container.node_id, **full):
        assert container.node is not None
        wrong = [FieldError(f"limits.{name}", "The node has not so much more to give.", "no_room") for name, value in more.items() if value > 0]
        raise Refused(f"{container.node.name} has no room for that: ask for less, or free some.", code="no_room", errors=wrong)


def can_update(container: Container) -> bool:
    """Would a change of limits reach the container that is there, without a new one?"""
    node = container.node
    return (
        node is not None
        and node.is_online
        and "update" in node.capabilities
        and container.running_operation is None
        and not container.spec_changed
        and container.observed in ("created", "running", "paused", "exited")
    )


def update_in_place(container: Container, spec: ContainerSpec, *, user: Any) -> Operation:
    """Ask the node. In a transaction; see `can_update`."""
    assert container.node is not None
    operation = take(container, "update", user=user, deadline_seconds=UPDATE_SECONDS)
    commands.enqueue(
        container.node,
        "container.update",
        payload=UpdatePayload(spec=spec),
        operation=operation,
        subject_id=container.pk,
        epoch=container.epoch,
        deadline_seconds=UPDATE_SECONDS,
    )
    return operation


def on_updated(command: Command) -> None:
    """It worked: the node has these limits. It did not: the next start brings them."""
    container = Container.objects.filter(pk=command.subject_id).first() if command.subject_id else None
    if container is None:
        return
    if command.state == CommandState.DONE:
        applied = (command.result or {}).get("limits")
        if isinstance(applied, dict):
            Container.objects.filter(pk=container.pk).update(spec={**container.spec, "limits": applied})
    else:
        Container.objects.filter(pk=container.pk).update(spec_changed=True)
