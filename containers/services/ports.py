"""Changing the ports of a container that is there: what stays keeps its number, what is new is taken under the same rules as at create."""

from __future__ import annotations

from collections.abc import Sequence

from containers.models import Container, Port
from containers.services.create import PortWish, allocate_ports
from lormas.common.errors import FieldError, Invalid
from nodes.models import Node


def _match(wish: PortWish, free: list[Port]) -> Port | None:
    for port in free:
        if port.protocol != wish.protocol:
            continue
        if wish.host and port.host_port == wish.host:
            return port
        if not wish.host and wish.container and port.container_port == wish.container:
            return port
    return None


def set_ports(container: Container, node: Node, wishes: Sequence[PortWish]) -> None:
    """Make its ports these, the first one primary. In the caller's transaction.

    A wish without a host port keeps the one that this container port has already, or gets a free one of the node's range. A wish whose container
    port is 0 listens inside on the number it has outside.

    Raises:
        Invalid `port_needed`, `duplicate_port`. Refused `port_out_of_range`, `no_free_port`. Conflict `port_taken`.
    """
    if not wishes and container.egg_version is not None and container.ports.exists():
        raise Invalid("Its egg needs a port to listen on.", code="port_needed", errors=[FieldError("ports", "Keep at least one.", "port_needed")])
    named = [(wish.protocol, wish.host) for wish in wishes if wish.host]
    if len(set(named)) != len(named):
        raise Invalid("A host port is named twice.", code="duplicate_port", errors=[FieldError("ports", "Name each host port once.", "duplicate")])
    free = list(container.ports.order_by("-is_primary", "id"))
    kept: list[Port | None] = []
    for wish in wishes:
        port = _match(wish, free)
        if port is not None:
            free.remove(port)
        kept.append(port)
    for port in free:
        port.delete()
    missing = [(wish.container, wish.host, wish.protocol) for wish, there in zip(wishes, kept, strict=True) if there is None]
    fresh = iter(allocate_ports(container, node, missing))
    rows: list[Port] = []
    for wish, there in zip(wishes, kept, strict=True):
        if there is not None and wish.container and wish.container != there.container_port:
            there.container_port, there.follows = wish.container, False
        rows.append(there if there is not None else next(fresh))
    for index, port in enumerate(rows):
        port.is_primary = index == 0
        port.save(update_fields=["container_port", "follows", "is_primary"])
