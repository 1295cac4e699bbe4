"""Ranking 1,000 nodes that hold 10,000 containers: the pure part, for demands from plain to picky."""

from __future__ import annotations

import random
import time
import uuid

from bench.figures import Figure, median
from nodes.placement import Affinity, Demand, NodeView, Taint, Toleration, rank

GIB = 1024**3
NODES, CONTAINERS = 1_000, 10_000
AIM_MS = 50.0


def fleet(nodes: int, containers: int) -> list[NodeView]:
    """Nodes of mixed sizes, zones and taints; the containers lie on them at random."""
    dice = random.Random(6)
    there: list[dict[tuple[str, str], int]] = [{} for _ in range(nodes)]
    pods, cpus, memory = [0] * nodes, [0.0] * nodes, [0] * nodes
    for _ in range(containers):
        at = dice.randrange(nodes)
        label = ("app", f"app-{dice.randrange(50)}")
        there[at][label] = there[at].get(label, 0) + 1
        pods[at], cpus[at], memory[at] = pods[at] + 1, cpus[at] + 0.5, memory[at] + GIB // 2
    return [
        NodeView(
            id=uuid.UUID(int=n + 1),
            name=f"node-{n:04}",
            status="ACTIVE" if n % 50 else "INACTIVE",
            cpu_cores=dice.choice((8, 16, 32)),
            memory_bytes=dice.choice((16, 32, 64)) * GIB,
            storage_bytes=500 * GIB,
            allocated_cpus=cpus[n],
            allocated_memory_bytes=memory[n],
            pods=pods[n],
            labels={"zone": f"z{n % 3}", "disk": "ssd" if n % 2 else "hdd"},
            taints=(Taint("gpu", "NoSchedule"),) if n % 10 == 0 else (Taint("old", "PreferNoSchedule"),) if n % 7 == 0 else (),
            arch="x86_64",
            runtime_kind="docker",
            running=there[n],
        )
        for n in range(nodes)
    ]


DEMANDS = {
    "plain": Demand(cpus=1, memory_bytes=GIB),
    "picky": Demand(
        cpus=1,
        memory_bytes=GIB,
        disk_bytes=GIB,
        ports=(("tcp", 25565),),
        labels={"zone": "z1"},
        tolerations=(Toleration("gpu"),),
        affinity=(
            Affinity("app", "app-1", apart=True, containers=True),
            Affinity("app", "app-2", containers=True, required=False),
            Affinity("disk", "ssd", required=False),
        ),
        image_arch="amd64",
        needs_images=True,
    ),
}


def measure(*, quick: bool) -> list[Figure]:
    """Median of some rounds, in this process."""
    views = fleet(NODES, CONTAINERS)
    figures = []
    for name, demand in DEMANDS.items():
        took = []
        for _ in range(5 if quick else 40):
            begun = time.perf_counter()
            ranking = rank(demand, views)
            took.append(1000 * (time.perf_counter() - begun))
            if len(ranking.candidates) + len(ranking.rejected) != NODES:
                raise RuntimeError("a node was left out")
        ms = median(took)
        figures.append(
            Figure(f"rank {NODES:,} nodes with {CONTAINERS:,} containers, {name} demand", ms, "ms", "aim", AIM_MS, "<= 50 ms", ms <= AIM_MS)
        )
    return figures
