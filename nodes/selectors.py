"""Reads of nodes for pages, API and placement."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.db.models import Count, QuerySet, Sum

from lormas.common.wires import resolve, wired
from nodes.health import known
from nodes.models import Node
from nodes.placement import NOTHING_RUNS, Demand, NodeView, Taint
from nodes.services import overcommit_of
from nodes.states import NodeStatus

_SEEN = (
    "pk", "name", "status", "status_reason", "is_schedulable", "cluster_id", "cpu_cores", "total_memory_bytes", "total_storage_bytes",
    "allocated_cpus", "allocated_memory_bytes", "allocated_storage_bytes", "cluster__overcommit_cpu", "cluster__overcommit_memory",
    "cluster__overcommit_storage", "current_pods", "max_pods", "labels", "taints", "cpu_architecture", "runtime_kind", "isolates", "port_first",
    "port_last",
)  # fmt: skip
"""Columns, in the order of NodeView's first fields. Not whole rows: a fleet of 200 is read for each container that is placed."""


def _taints(kept: list[Any]) -> tuple[Taint, ...]:
    return tuple(Taint(key=t["key"], value=t.get("value", ""), effect=t["effect"]) for t in kept)


def placement_views(
    cluster_id: UUID | None = None,
    *,
    among: QuerySet[Node] | None = None,
    ports_taken: Mapping[UUID, frozenset[tuple[str, int]]] | None = None,
    running: Mapping[UUID, Mapping[tuple[str, str], int]] | None = None,
) -> list[NodeView]:
    """All nodes (of a cluster; or `among` these) for `nodes.placement.rank`; what containers hold there (ports, labels) is given by the room that
    knows it."""
    found = Node.objects.order_by("name") if among is None else among.order_by("name")
    if cluster_id is not None:
        found = found.filter(cluster_id=cluster_id)
    # The health signal that keeps new containers away, as a sentence.
    full = found.order_by().filter(signals__disk__level="bad").values_list("pk", "signals")
    trouble = {pk: known(signals, "disk").cause for pk, signals in full}
    taken, there = ports_taken or {}, running or {}
    alone = overcommit_of(None)
    views = []
    for columns in found.values_list(*_SEEN):
        row: list[Any] = list(columns)
        if row[5] is None:
            row[12:15] = alone
        row[18] = _taints(row[18])
        pk = row[0]
        row += [taken.get(pk, frozenset()), there.get(pk, NOTHING_RUNS), trouble.get(pk, "")]
        views.append(NodeView(*row))
    return views


@dataclass(frozen=True, slots=True)
class Taken:
    """What containers hold, as far as a demand asks for it: host ports and labels by node."""

    ports: Mapping[UUID, frozenset[tuple[str, int]]]
    labels: Mapping[UUID, Mapping[tuple[str, str], int]]


def taken_for(demand: Demand) -> Taken:
    """Asked of the room that knows containers (`lormas.wiring.NODE_TAKEN`)."""
    for dotted in wired("NODE_TAKEN"):
        ports, labels = resolve(dotted)(demand)
        return Taken(ports, labels)
    return Taken({}, {})


def online(nodes: QuerySet[Node]) -> QuerySet[Node]:
    """Those heard within the bound."""
    return nodes.filter(status=NodeStatus.ACTIVE) | nodes.filter(status__in=(NodeStatus.NOT_READY, NodeStatus.MAINTENANCE)).exclude(gateway="")


def offline(nodes: QuerySet[Node]) -> QuerySet[Node]:
    """The others."""
    return nodes.exclude(pk__in=online(nodes).values("pk"))


def _percent(used: float, total: float) -> float:
    return round(100 * used / total, 1) if total else 0.0


def stats(nodes: QuerySet[Node]) -> dict[str, Any]:
    """Counts by status, capacity, what is promised, containers, percent. Two queries whatever the size."""
    plain = nodes.order_by()
    counts = dict.fromkeys(NodeStatus.values, 0)
    counts.update({row["status"]: row["count"] for row in plain.values("status").annotate(count=Count("pk"))})
    sums = plain.aggregate(
        cpu_cores=Sum("cpu_cores", default=0.0),
        memory=Sum("total_memory_bytes", default=0),
        storage=Sum("total_storage_bytes", default=0),
        allocated_cpus=Sum("allocated_cpus", default=0.0),
        allocated_memory=Sum("allocated_memory_bytes", default=0),
        allocated_storage=Sum("allocated_storage_bytes", default=0),
        pods=Sum("current_pods", default=0),
        max_pods=Sum("max_pods", default=0),
        total=Count("pk"),
    )
    return {
        "total": sums["total"],
        "online": online(plain).count(),
        "by_status": counts,
        "capacity": {"cpu_cores": sums["cpu_cores"], "memory_bytes": sums["memory"], "storage_bytes": sums["storage"], "pods": sums["max_pods"]},
        "allocated": {
            "cpus": sums["allocated_cpus"],
            "memory_bytes": sums["allocated_memory"],
            "storage_bytes": sums["allocated_storage"],
            "pods": sums["pods"],
        },
        "percent": {
            "cpu": _percent(sums["allocated_cpus"], sums["cpu_cores"]),
            "memory": _percent(sums["allocated_memory"], sums["memory"]),
            "storage": _percent(sums["allocated_storage"], sums["storage"]),
            "pods": _percent(sums["pods"], sums["max_pods"]),
        },
    }
