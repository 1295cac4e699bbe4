"""Agent facts in: what nodes report about containers. Wired in `lormas.wiring`; every door is told the node by its token, never by the message."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from containers import stats
from containers.services import leftovers, limits, migrate_steps, observe
from nodes.states import NodeStatus

if TYPE_CHECKING:
    from agent.protocol.messages import Hello, Snapshot, StateFact, StatsReport
    from nodes.models import Command, Node


def on_state(node_id: UUID, fact: StateFact) -> None:
    """One container changed."""
    observe.observe(node_id, fact.report)


def on_snapshot(node_id: UUID, fact: Snapshot) -> None:
    """All containers that the node sees."""
    observe.take_snapshot(node_id, fact.containers, complete=fact.complete)


def on_stats(reports: list[tuple[UUID, StatsReport]]) -> None:
    """Samples."""
    stats.take_in_all(reports)


def on_settled(command: Command) -> None:
    """A container command ended."""
    leftovers.removed(command)
    if not migrate_steps.took(command):
        observe.on_settled(command)


def on_updated(command: Command) -> None:
    """Limits were changed in place, or were not."""
    limits.on_updated(command)
    observe.on_settled(command)


def on_node_changed(node: Node, before: str) -> None:
    """A node came or went."""
    if node.status == NodeStatus.INACTIVE:
        observe.node_lost(node)
    elif node.status == NodeStatus.ACTIVE:
        observe.node_back(node)


def on_hello(node: Node, hello: Hello) -> list[str]:
    """An agent says what it holds; answers what it must stop first."""
    return observe.welcome_back(node, hello.containers, complete=hello.containers_complete)


def known(container_ids: set[str]) -> set[str]:
    """Which of these have a row, on whatever node (what has none is an orphan)."""
    from containers.models import Container

    return {str(pk) for pk in Container.objects.filter(pk__in=container_ids).values_list("pk", flat=True)}


def homes(container_ids: set[str]) -> dict[str, UUID]:
    """On which node each of these containers lives, where it lives on one (SECURITY D04)."""
    from containers.models import Container

    rows = Container.objects.order_by().filter(pk__in=container_ids).exclude(node_id=None)
    return {str(pk): node_id for pk, node_id in rows.values_list("pk", "node_id")}


def foreign(node_id: UUID, container_ids: set[str]) -> dict[str, int]:
    """Which of these containers live on another node, with their placement epoch there (SECURITY D04)."""
    from containers.models import Container

    elsewhere = Container.objects.filter(pk__in=container_ids).exclude(node_id=node_id).exclude(node_id=None)
    return {str(pk): epoch for pk, epoch in elsewhere.values_list("pk", "epoch")}
