"""Where a container goes: pure, from frozen data to an order of candidates and a reason for each rejected node."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal
from uuid import UUID

EMPTY: Mapping[str, str] = MappingProxyType({})
NOTHING_RUNS: Mapping[tuple[str, str], int] = MappingProxyType({})


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
    seconds: int | None = None
    """For NoExecute: how long it is tolerated; None = for ever."""

    def covers(self, taint: Taint) -> bool:
        return self.key in ("", taint.key) and self.value in ("", taint.value) and self.effect in ("", taint.effect)


@dataclass(frozen=True, slots=True)
class Affinity:
    """A wish to be near something, or apart from it: nodes with a label, or containers with one. Required ones reject, others count `weight`."""

    key: str
    value: str
    apart: bool = False
    containers: bool = False
    required: bool = True
    weight: int = 10

    def holds(self, node: NodeView) -> bool:
        """Is the wish met on this node?"""
        there = bool(node.running.get((self.key, self.value))) if self.containers else node.labels.get(self.key) == self.value
        return there != self.apart

    @property
    def words(self) -> str:
        what = f"containers labelled {self.key}={self.value}" if self.containers else f"nodes labelled {self.key}={self.value}"
        return f"{'apart from' if self.apart else 'near'} {what}"


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
    affinity: tuple[Affinity, ...] = ()
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
    running: Mapping[tuple[str, str], int] = field(default_factory=lambda: NOTHING_RUNS)
    """How many containers there carry a label: (key, value) -> count."""
    trouble: str = ""
    """A health signal that is bad enough to send nothing there, as a sentence."""

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
    why: Mapping[UUID, str] = field(default_factory=dict)
    """For each candidate, why it stands where it stands."""


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


def _trouble(demand: Demand, node: NodeView) -> str | None:
    return node.trouble or None


def _affinity(demand: Demand, node: NodeView) -> str | None:
    unmet = [wish.words for wish in demand.affinity if wish.required and not wish.holds(node)]
    return f"It must be {' and '.join(unmet)}." if unmet else None


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
    ("affinity", _affinity),
    ("health", _trouble),
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


def _soft(demand: Demand, node: NodeView) -> int:
    return sum(1 for t in node.taints if t.effect == "PreferNoSchedule" and not any(tol.covers(t) for tol in demand.tolerations))


def _wishes(demand: Demand, node: NodeView) -> int:
    return sum(wish.weight for wish in demand.affinity if not wish.required and wish.holds(node))


def _why(demand: Demand, node: NodeView, *, soft: int, wishes: int, fullness: float, strategy: str) -> str:
    parts = [f"{fullness:.0%} full with it; {'the fullest that fits comes first' if strategy == 'binpack' else 'the emptiest comes first'}"]
    if wishes:
        met = [wish.words for wish in demand.affinity if not wish.required and wish.holds(node)]
        parts.append(f"preferred {', '.join(met)}")
    if soft:
        parts.append("has a taint that would rather keep it away")
    return "; ".join(parts) + "."


def rank(demand: Demand, views: Iterable[NodeView], *, strategy: str = "spread") -> Ranking:
    """Order the nodes that fit: untolerated PreferNoSchedule taints go last, then preferred affinities count, then the emptiest comes first for
    `spread`, the fullest for `binpack`.

    A node that breaks several rules is told the first one in the order of `RULES`.
    """
    scored: list[tuple[tuple[int, int, float, str], NodeView]] = []
    why: dict[UUID, str] = {}
    rejected: list[Rejection] = []
    for node in views:
        for rule, check in RULES:
            reason = check(demand, node)
            if reason is not None:
                rejected.append(Rejection(node.id, node.name, rule, reason))
                break
        else:
            soft, wishes, fullness = _soft(demand, node), _wishes(demand, node), _fullness(demand, node)
            scored.append(((soft, -wishes, -fullness if strategy == "binpack" else fullness, node.name), node))
            why[node.id] = _why(demand, node, soft=soft, wishes=wishes, fullness=fullness, strategy=strategy)
    scored.sort(key=lambda pair: pair[0])
    return Ranking(tuple(node for _, node in scored), tuple(rejected), why)


def leaves_at(taints: Iterable[tuple[Taint, float]], tolerations: Iterable[Toleration]) -> float | None:
    """When a container must leave a node because of its NoExecute taints, each given with the time (Unix seconds) since which it is there.

    None: it may stay. Without a toleration it must leave at once; with several that cover a taint the shortest counts.
    """
    known = tuple(tolerations)
    found: float | None = None
    for taint, since in taints:
        if taint.effect != "NoExecute":
            continue
        covering = [toleration for toleration in known if toleration.covers(taint)]
        if not covering:
            leave: float | None = since
        else:
            limits = [toleration.seconds for toleration in covering if toleration.seconds is not None]
            leave = since + min(limits) if limits else None
        if leave is not None and (found is None or leave < found):
            found = leave
    return found
