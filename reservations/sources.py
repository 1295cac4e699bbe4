"""Machines made of what Lormas knows already: a node's address, or a container's published SSH port."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from lormas.common.errors import FieldError, Refused
from lormas.common.wires import resolve, wired
from nodes.access import get_node, visible_nodes

SSH_PORT = 22
MOST_CHOICES = 500


def choices(user: Any) -> list[tuple[str, str]]:
    """What this person may make a machine of: (`node:<id>` or `container:<id>`, words); containers only where their SSH port is published."""
    nodes = visible_nodes(user).order_by("name")[:MOST_CHOICES]
    found = [(f"node:{node.pk}", f"{node.name} ({node.public_address})") for node in nodes if node.public_address]
    containers = resolve(wired("MACHINE_SOURCES")["containers"])(user).filter(ports__container_port=SSH_PORT, ports__protocol="tcp").order_by("name")
    return found + [(f"container:{one.pk}", one.name) for one in containers.distinct()[:MOST_CHOICES]]


def chosen(word: str) -> dict[str, UUID]:
    """The field that a choice stands for; nothing for an empty one. Raises ValueError."""
    if not word:
        return {}
    kind, _, key = word.partition(":")
    if kind not in ("node", "container"):
        raise ValueError(kind)
    return {kind: UUID(key)}


def filled(user: Any, fields: dict[str, Any], *, new: bool) -> dict[str, Any]:
    """The fields of a machine, where `node` and `container` are ids: what they tell is filled in where nothing was given.

    Raises:
        NotFound: unseen. Refused `no_ssh_port`: the container publishes no port 22.
    """
    given = dict(fields)
    node_id, container_id = given.pop("node", None), given.pop("container", None)
    if node_id is not None:
        node = get_node(user, node_id)
        given["node"] = node
        if new:
            given.setdefault("host", node.public_address)
            given.setdefault("port", SSH_PORT)
    elif "node" in fields:
        given["node"] = None
    if container_id is not None:
        container = resolve(wired("MACHINE_SOURCES")["container"])(user, container_id)  # the room of containers is on our own floor
        given["container_id"] = container.pk
        published = container.ports.filter(container_port=SSH_PORT, protocol="tcp").first()
        if new and published is None and "port" not in given:
            detail = f"{container.name} publishes no port {SSH_PORT}: publish its SSH server's port, or give host and port."
            raise Refused(detail, code="no_ssh_port", errors=[FieldError("container", detail, "no_ssh_port")])
        if new and published is not None:
            given.setdefault("host", container.node.public_address if container.node else "")
            given.setdefault("port", published.host_port)
    elif "container" in fields:
        given["container_id"] = None
    if new:
        given.setdefault("user", "root")
    return given
