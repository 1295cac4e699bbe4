"""Taking over a container that somebody made by hand on a node's engine (docs/adr: adoption).

Engines can't label what is there, so ours is made in its place, with its volumes by reference; the old one is stopped and kept under another name.
The agent does that as one act: if ours can't be started, the old one runs as before, and the row here goes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec
from django.conf import settings
from django.db import IntegrityError, transaction

from agent.protocol.foreign import AdoptPayload, Foreign, ForeignLook, ForeignSummary
from agent.protocol.messages import StopSpec
from audit.services import Actor, record
from containers.models import Container, Port
from containers.services import quotas
from containers.services.create import CREATE_SECONDS, NewContainer, allocate_ports, port_taken, render_spec, row_of
from containers.services.locks import require_online, take
from containers.services.publish import announce, target
from containers.spec import Asked, as_kept
from containers.states import Desired
from containers.validation import check_env, check_labels, check_name
from lormas.common import live
from lormas.common.errors import Conflict, FieldError, NodeSilent, NodeUnavailable, NotFound, Refused
from nodes import commands
from nodes.models import Node, Operation
from nodes.services import claim

ASK_SECONDS = 20.0
SLACK_SECONDS = 300.0
RESTARTS = ("no", "on-failure", "unless-stopped", "always")


@dataclass(frozen=True, slots=True)
class Listing:
    """Containers of a node's engine that no Lormas made. `reason`: why none may be taken over there, empty if that is allowed."""

    containers: list[ForeignSummary]
    reason: str


def _ask(node: Node, kind: str, question: msgspec.Struct | None = None) -> dict[str, Any]:
    if "adopt" not in node.capabilities:
        raise Refused(f"Node {node.name} has no containers but ours: its runtime is not an engine, or its agent is too old.", code="unsupported")
    require_online(node)
    try:
        return live.ask_node(node.pk, kind, payload=msgspec.to_builtins(question) if question else {}, timeout_seconds=ASK_SECONDS)
    except live.NodeOffline as error:
        raise NodeUnavailable(f"Node {node.name} is not connected: {error}") from error
    except live.NodeTimeout as error:
        raise NodeSilent(f"Node {node.name} did not answer in time: try again.") from error
    except live.NodeRefused as error:
        raise (NotFound(error.detail) if error.code == "not_found" else Refused(error.detail, code=error.code)) from error


def listing(node: Node) -> Listing:
    """Read from the node now. Raises Refused `unsupported`, NodeUnavailable, NodeSilent."""
    said = _ask(node, "foreign.list")
    found = msgspec.convert(said.get("containers", []), list[ForeignSummary])
    return Listing(sorted(found, key=lambda one: one.name), str(said.get("reason", "")))


def look(node: Node, ref: str) -> Foreign:
    """What one of them is, what would be lost, what blocks: also variables and labels that no container here may have. Raises as `listing`, NotFound,
    Refused `policy_denied`."""
    found = msgspec.convert(_ask(node, "foreign.look", ForeignLook(ref=ref)).get("found", {}), Foreign)
    blocking = list(found.blocking)
    for code, check, given in (("env", check_env, found.env), ("labels", check_labels, found.labels)):
        try:
            check(given)
        except ValueError as error:
            blocking.append((code, str(error)))
    return msgspec.structs.replace(found, blocking=blocking)


def adopt(
    node: Node, ref: str, *, name: str = "", asked: Asked | None = None, accept: bool = False, user: Any, actor: Actor
) -> tuple[Container, Operation]:
    """Take it over; it is this person's then. `accept`: what is lost was read.

    Raises:
        What `look` raises. Conflict `already_adopted`, `name_taken`, `port_taken`. Refused `cannot_adopt` (errors say why), `must_accept` (errors
        say what is lost), `quota`, `no_room`, `no_free_port`. Nothing is done then.
    """
    found = look(node, ref)
    if found.blocking:
        wrong = [FieldError("ref", text, code) for code, text in found.blocking]
        raise Refused(f"{found.name} can't be taken over.", code="cannot_adopt", errors=wrong)
    if found.lost and not accept:
        wrong = [FieldError("accept", text, code) for code, text in found.lost]
        raise Refused(f"Taking over {found.name} loses something: read it, then accept it.", code="must_accept", errors=wrong)
    with transaction.atomic():
        container = _written(node, found, name=name, asked=asked, user=user)
        spec = render_spec(container)
        container.spec = as_kept(spec)
        container.save(update_fields=["spec"])
        operation = take(container, "adopt", user=user, deadline_seconds=CREATE_SECONDS)
        payload = AdoptPayload(ref=found.ref, spec=spec, start=found.running, stop=StopSpec(), restart=found.restart)
        commands.enqueue(
            node,
            "container.adopt",
            payload=payload,
            operation=operation,
            subject_id=container.pk,
            epoch=container.epoch,
            deadline_seconds=SLACK_SECONDS,
        )
        told = {"image": container.image, "node": node.name, "from": found.name, "ref": found.ref[:12]}
        record("containers.adopt", actor=actor, target=target(container), after=told)
        announce(container)
    return container, operation


def proposed_name(found: Foreign, *, user: Any) -> str:
    """Its own, if that is a name here which this person has not."""
    try:
        name = check_name(found.name[:60])
    except ValueError:
        name = f"adopted-{found.ref[:8]}"
    taken = set(Container.objects.alive().filter(owner=user, name__startswith=name).values_list("name", flat=True))
    return name if name not in taken else next(other for number in range(2, len(taken) + 3) if (other := f"{name}-{number}") not in taken)


def limits_for(found: Foreign) -> Asked:
    """As it has them; where it has none the defaults count."""
    had = found.limits
    cpus, memory_bytes = had.cpus or settings.CONTAINER_CPU_LIMIT, had.memory_bytes or settings.CONTAINER_MEMORY_LIMIT
    return Asked(cpus=cpus, memory_bytes=memory_bytes, swap_bytes=had.swap_bytes, io_weight=had.io_weight, pids=had.pids or Asked().pids)


def _written(node: Node, found: Foreign, *, name: str, asked: Asked | None, user: Any) -> Container:
    restart = str(found.restart.get("Name") or "no")
    data = NewContainer(
        name=name or proposed_name(found, user=user),
        image=found.image,
        command=found.command,
        env=found.env,
        labels=found.labels,
        mounts=[msgspec.to_builtins(mount) for mount in found.mounts],
        asked=asked or limits_for(found),
        start=found.running,
        restart_policy=restart if restart in RESTARTS else "no",
    )
    if Container.objects.filter(node=node, adopted_ref=found.ref).exists():
        raise _adopted_already(found)
    if Container.objects.alive().filter(owner=user, name=data.name).exists():
        raise Conflict(f"You already have a container named {data.name}: choose another name.", code="name_taken")
    container: Container = row_of(user=user, data=data)
    quotas.take(container, user=user)
    container.node, container.adopted_ref = node, found.ref
    made = {"entrypoint": found.entrypoint, "working_dir": found.working_dir, "user": found.user, "tty": found.tty}
    container.made_of = {name: value for name, value in made.items() if value not in (None, "", False)}
    container.desired = Desired.RUNNING if found.running else Desired.STOPPED
    if not claim(node.pk, cpus=container.cpus, memory_bytes=container.memory_bytes, disk_bytes=container.disk_bytes):
        size = f"{container.cpus:g} cores and {container.memory_bytes // 1024**2} MiB"
        raise Refused(f"{node.name} has no room for {size} more: give it smaller limits, or free some.", code="no_room")
    try:
        with transaction.atomic():
            container.save(force_insert=True)
    except IntegrityError:
        raise _adopted_already(found) from None
    _take_ports(container, node, found)
    return container


def _adopted_already(found: Foreign) -> Conflict:
    return Conflict(f"{found.name} is being taken over already.", code="already_adopted", extra={"state": "adopting", "allowed": []})


def _take_ports(container: Container, node: Node, found: Foreign) -> None:
    """The numbers that it has, also outside of the node's range: it holds them already. Those without a fixed one get one of the range."""
    for index, port in enumerate(found.ports):
        if not port.host_port:
            allocate_ports(container, node, [(port.container_port, 0, port.protocol)])
            if index:
                container.ports.filter(container_port=port.container_port, protocol=port.protocol).update(is_primary=False)
            continue
        try:
            with transaction.atomic():
                Port.objects.create(
                    container=container,
                    node=node,
                    container_port=port.container_port,
                    host_port=port.host_port,
                    protocol=port.protocol,
                    is_primary=index == 0,
                )
        except IntegrityError:
            raise port_taken(node, port.host_port, port.protocol, index) from None


def is_id(text: str) -> bool:
    """Could it be an engine's id?"""
    return text.isalnum() and 12 <= len(text) <= 128


__all__ = ["Listing", "adopt", "is_id", "limits_for", "listing", "look", "proposed_name"]
