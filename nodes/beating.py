"""Heartbeats by HTTP, for agents without a socket: they show that a node is alive and what it has; commands need a socket."""

from __future__ import annotations

from typing import Any

import msgspec
from django.db import transaction
from django.db.models import Q

from agent.protocol.messages import NodeFacts, NodeUsage
from lormas.common import clock
from lormas.common.errors import Conflict, Invalid
from nodes import services
from nodes.gateway.store import facts_columns, settle_status, take_signals, text
from nodes.models import Node


def beat(
    node: Node,
    *,
    usage: dict[str, Any] | None = None,
    facts: dict[str, Any] | None = None,
    engine_ok: bool = True,
    engine_error: str = "",
    agent_version: str = "",
    sent_at_unix: float = 0,
) -> Node:
    """A sign of life. Raises Invalid where facts or usage are of the wrong shape."""
    now = clock.now()
    changes: dict[str, Any] = {"last_heartbeat": now, "last_health_check": now, "engine_ok": engine_ok, "engine_error": text(engine_error, 255)}
    try:
        if usage is not None:
            changes["usage"] = msgspec.to_builtins(msgspec.convert(usage, NodeUsage))
        if facts is not None:
            changes |= facts_columns(msgspec.convert(facts, NodeFacts))
    except msgspec.ValidationError as error:
        raise Invalid(f"The report can't be read: {error}", code="bad_report") from error
    if agent_version:
        changes |= {"agent_version": text(agent_version, 32), "kubelet_version": text(agent_version, 64)}
    with transaction.atomic():
        Node.objects.filter(pk=node.pk).update(**changes)
        node.refresh_from_db()
        take_signals(node, skew_seconds=sent_at_unix - now.timestamp() if sent_at_unix else None, connected=bool(node.gateway))
        settle_status(node)
        node.refresh_from_db()
        services.publish_node(node)
    return node


def take_resources(node: Node, *, allocated_cpus: float, allocated_memory_bytes: int, allocated_storage_bytes: int, current_pods: int) -> Node:
    """What is promised there, as the node says. Raises Conflict `kept_by_panel` where the panel itself keeps that account.

    A node with a socket, or that ever had one, gets its containers from the panel; its sums are claimed by conditional UPDATE.
    """
    counted = Node.objects.filter(Q(pk=node.pk), session_epoch=0, gateway="").update(
        allocated_cpus=allocated_cpus,
        allocated_memory_bytes=allocated_memory_bytes,
        allocated_storage_bytes=allocated_storage_bytes,
        current_pods=current_pods,
    )
    if not counted:
        raise Conflict(
            f"The panel itself keeps the account of {node.name}, because its agent has a socket: leave this out.",
            code="kept_by_panel",
            extra={"state": "socket", "allowed": []},
        )
    node.refresh_from_db()
    services.publish_node(node)
    return node
