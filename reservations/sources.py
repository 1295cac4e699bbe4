"""Machines made of what Lormas knows already: a node's address, or a container's published SSH port."""

from __future__ import annotations

from typing import Any

from lormas.common.errors import FieldError, Refused
from lormas.common.wires import resolve, wired
from nodes.access import get_node

SSH_PORT = 22


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
