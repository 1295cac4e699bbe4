"""Where a container goes: pure, from frozen data to an order of candidates and a reason for each rejected node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal
from uuid import UUID

EMPTY: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Taint:
    """Keeps containers off a node unless they tolerate it."""

    key: str
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]
    value: str = ""


@dataclass(frozen=True, slots=True)
class Toleration:
    """Matches taints of `key` ("" = any), of `value` ("" = any), of `effect` ("" = any)."""

    key: str = ""
    value: str = ""
    effect: str = ""

    def covers(self, taint: Taint) -> bool:
        return self.key in ("", taint.key) and self.value in ("", taint.value) and self.effect in ("", taint.effect)


@dataclass(frozen=True, slots=True)
class Demand:
    """What a container needs. `ports` are asked-for host ports as (protocol, port); `port_count` counts those the panel may choose."""

    cpus: float = 0
    memory_bytes: int = 0
    disk_bytes: int = 0
    ports: tuple[tuple[str, int], ...] = ()
    port_count: int = 0
    node_id: UUID | None = None
    cluster_id: UUID | None = None
    tolerations: tuple[Toleration, ...] = ()
    labels: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    image_arch: str = ""
    needs_isolation: bool = False
    needs_images: bool = False


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node as placement sees it; totals are as reported, factors are the cluster's overcommit."""

    id: UUID
    name: str
    status: str
    status_reason: str = ""
    is_schedulable: bool = True
    cluster_id: UUID | None = None
    cpu_cores: float = 0
    memory_bytes: int = 0
    storage_bytes: int = 0
    allocated_cpus: float = 0
    allocated_memory_bytes: int = 0
    allocated_storage_bytes: int = 0
    overcommit_cpu: float = 1.0
    overcommit_memory: float = 1.0
    overcommit_storage: float = 1.0
    pods: int = 0
    max_pods: int = 110
    labels: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    taints: tuple[Taint, ...] = ()
    arch: str = ""
    runtime_kind: str = ""
    isolates: bool = True
    port_first: int = 1
    port_last: int = 65535
    ports_taken: frozenset[tuple[str, int]] = frozenset()

    @property
    def free_cpus(self) -> float:
        return self.cpu_cores * self.overcommit_cpu - self.allocated_cpus

    @property
    def free_memory_bytes(self) -> float:
        return self.memory_bytes * self.overcommit_memory - self.allocated_memory_bytes

    @property
    def free_storage_bytes(self) -> float:
        return self.storage_bytes * self.overcommit_storage - self.allocated_storage_bytes


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why one node can't take it. `rule` is stable for programs, `reason` is a sentence."""

    node_id: UUID
    node_name: str
    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class Ranking:
    """Nodes that fit, best first, and the others with their reasons."""

    candidates: tuple[NodeView, ...]
    rejected: tuple[Rejection, ...]


def _size(number: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(number) < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "armv7l": "arm"}


def _arch(name: str) -> str:
    return _ARCHITECTURES.get(name.lower(), name.lower())


def _chosen(demand: Demand, node: NodeView) -> str | None:
    return None if demand.node_id in (None, node.id) else "Another node was asked for."


def _cluster(demand: Demand, node: NodeView) -> str | None:
    return None if demand.cluster_id in (None, node.cluster_id) else "It is not in the cluster that was asked for."


def _status(demand: Demand, node: NodeView) -> str | None:
    return None if node.status == "ACTIVE" else f"It is {node.status}: {node.status_reason or 'no reason known'}"


def _schedulable(demand: Demand, node: NodeView) -> str | None:
    return None if node.is_schedulable else "It takes no new containers (not schedulable)."


def _architecture(demand: Demand, node: NodeView) -> str | None:
    if not demand.image_arch or not node.arch or _arch(demand.image_arch) == _arch(node.arch):
        return None
    return f"The image is for {demand.image_arch}, the node is {node.arch}."


def _isolation(demand: Demand, node: NodeView) -> str | None:
    return "Its runtime does not keep containers apart from the machine." if demand.needs_isolation and not node.isolates else None


def _images(demand: Demand, node: NodeView) -> str | None:
    return "Its runtime runs plain processes, not images." if demand.needs_images and node.runtime_kind == "process" else None


def _labels(demand: Demand, node: NodeView) -> str | None:
    missing = [f"{key}={value}" for key, value in demand.labels.items() if node.labels.get(key) != value]
    return f"It lacks the label {', '.join(missing)}." if missing else None


def _taints(demand: Demand, node: NodeView) -> str | None:
    hard = [t for t in node.taints if t.effect != "PreferNoSchedule" and not any(tol.covers(t) for tol in demand.tolerations)]
    return f"It has the taint {', '.join(f'{t.key}={t.value}:{t.effect}' for t in hard)}." if hard else None


def _pods(demand: Demand, node: NodeView) -> str | None:
    return f"It holds {node.pods} of at most {node.max_pods} containers." if node.pods >= node.max_pods else None


def _cpu(demand: Demand, node: NodeView) -> str | None:
    return None if demand.cpus <= node.free_cpus + 1e-9 else f"{demand.cpus:g} cores wanted, {max(0.0, node.free_cpus):g} free."


def _memory(demand: Demand, node: NodeView) -> str | None:
    if demand.memory_bytes <= node.free_memory_bytes:
        return None
    return f"{_size(demand.memory_bytes)} of memory wanted, {_size(max(0.0, node.free_memory_bytes))} free."


def _storage(demand: Demand, node: NodeView) -> str | None:
    if demand.disk_bytes <= node.free_storage_bytes:
        return None
    return f"{_size(demand.disk_bytes)} of storage wanted, {_size(max(0.0, node.free_storage_bytes))} free."


def _ports(demand: Demand, node: NodeView) -> str | None:
    for protocol, port in demand.ports:
        if not node.port_first <= port <= node.port_last:
            return f"Port {port} is outside its range {node.port_first}-{node.port_last}."
        if (protocol, port) in node.ports_taken:
            return f"Port {port}/{protocol} is taken."
    if demand.port_count:
        taken = len({port for _, port in node.ports_taken if node.port_first <= port <= node.port_last})
        free = node.port_last - node.port_first + 1 - taken - len(demand.ports)
        if demand.port_count > free:
            return f"{demand.port_count} ports wanted, {max(0, free)} free in its range."
    return None


RULES: tuple[tuple[str, Callable[[Demand, NodeView], str | None]], ...] = (
    ("node", _chosen),
    ("cluster", _cluster),
    ("status", _status),
    ("schedulable", _schedulable),
    ("architecture", _architecture),
    ("isolation", _isolation),
    ("images", _images),
    ("labels", _labels),
    ("taints", _taints),
    ("max_pods", _pods),
    ("cpu", _cpu),
    ("memory", _memory),
    ("storage", _storage),
    ("ports", _ports),
)


def _fullness(demand: Demand, node: NodeView) -> float:
    """Mean share in use after this container, over the dimensions that the node has."""
    shares = [
        used / total
        for used, total in (
            (node.allocated_cpus + demand.cpus, node.cpu_cores * node.overcommit_cpu),
            (node.allocated_memory_bytes + demand.memory_bytes, node.memory_bytes * node.overcommit_memory),
            (node.pods + 1, node.max_pods),
        )
        if total > 0
    ]
    return sum(shares) / len(shares) if shares else 1.0


def rank(demand: Demand, views: Iterable[NodeView], *, strategy: str = "spread") -> Ranking:
    """Order the nodes that fit: emptiest first for `spread`, fullest first for `binpack`; untolerated PreferNoSchedule taints go last.

    A schedulable node that breaks several rules is told the first one in the order of `RULES`.
    """
    candidates: list[NodeView] = []
    rejected: list[Rejection] = []
    for node in views:
        for rule, check in RULES:
            reason = check(demand, node)
            if reason is not None:
                rejected.append(Rejection(node.id, node.name, rule, reason))
                break
        else:
            candidates.append(node)

    def order(node: NodeView) -> tuple[int, float, str]:
        soft = sum(1 for t in node.taints if t.effect == "PreferNoSchedule" and not any(tol.covers(t) for tol in demand.tolerations))
        fullness = _fullness(demand, node)
        return soft, -fullness if strategy == "binpack" else fullness, node.name

    return Ranking(tuple(sorted(candidates, key=order)), tuple(rejected))
