"""What a container says of where it wants to be, and what placement has to know of those that are there already."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any
from uuid import UUID

from containers.models import Container, Port
from containers.states import Desired
from lormas.common import clock
from nodes.placement import Affinity, Demand, NodeView, Ranking, Toleration

MOST_TOLD = 20


def tolerations_of(wish: dict[str, Any]) -> tuple[Toleration, ...]:
    """From `Container.placement`."""
    return tuple(Toleration(**toleration) for toleration in wish.get("tolerations", ()))


def affinity_of(wish: dict[str, Any]) -> tuple[Affinity, ...]:
    """From `Container.placement`."""
    return tuple(Affinity(**affinity) for affinity in wish.get("affinity", ()))


def told(ranking: Ranking, chosen: NodeView) -> dict[str, Any]:
    """Why it goes there and not elsewhere, for `Container.placed`: what was true when it was decided."""
    first = ranking.candidates.index(chosen)
    passed = [[view.name, "room", "Other containers took its last room a moment before."] for view in ranking.candidates[:first]]
    return {
        "why": ranking.why.get(chosen.id, ""),
        "at": clock.rfc3339(clock.now()),
        "rejected": [*passed, *([one.node_name, one.rule, one.reason] for one in ranking.rejected)][:MOST_TOLD],
        "others": len(ranking.candidates) - 1 - first,
    }


def labels_there(affinity: tuple[Affinity, ...], *, without: UUID | None = None) -> dict[UUID, Counter[tuple[str, str]]]:
    """By node: how many containers carry the labels that these wishes speak of. One query, and none where no wish is about containers."""
    wanted = {(wish.key, wish.value) for wish in affinity if wish.containers}
    found: dict[UUID, Counter[tuple[str, str]]] = defaultdict(Counter)
    if not wanted:
        return found
    rows = Container.objects.alive().exclude(node_id=None).exclude(labels={}).exclude(desired=Desired.DELETED)
    for pk, node_id, labels in rows.values_list("pk", "node_id", "labels").iterator():
        if pk != without:
            found[node_id].update(pair for pair in labels.items() if pair in wanted)
    return found


def ports_held(wanted: list[tuple[str, int]]) -> dict[UUID, frozenset[tuple[str, int]]]:
    """By node: which of these (protocol, host port) are held there."""
    found: dict[UUID, set[tuple[str, int]]] = defaultdict(set)
    if wanted:
        for node_id, protocol, port in Port.objects.filter(host_port__in=[port for _, port in wanted]).values_list(
            "node_id", "protocol", "host_port"
        ):
            found[node_id].add((protocol, port))
    return {node_id: frozenset(ports) for node_id, ports in found.items()}


def taken_for(demand: Demand) -> tuple[dict[UUID, frozenset[tuple[str, int]]], dict[UUID, Counter[tuple[str, str]]]]:
    """(ports, labels) by node, as far as this demand asks for them."""
    return ports_held(list(demand.ports)), labels_there(demand.affinity)
