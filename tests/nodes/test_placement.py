"""Placement: pure, an order and a reason for each rejected node."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.placement import RULES, Demand, NodeView, Taint, Toleration, rank

GIB = 1024**3
NODE = NodeView(
    id=uuid.UUID(int=1),
    name="a",
    status="ACTIVE",
    cpu_cores=4,
    memory_bytes=8 * GIB,
    storage_bytes=100 * GIB,
    arch="x86_64",
    runtime_kind="docker",
    port_first=30000,
    port_last=30009,
)
OTHER = uuid.UUID(int=99)


@pytest.mark.parametrize(
    ("demand", "node", "rule"),
    [
        (Demand(node_id=OTHER), {}, "node"),
        (Demand(cluster_id=OTHER), {}, "cluster"),
        (Demand(), {"status": "NOT_READY", "status_reason": "Silent."}, "status"),
        (Demand(), {"status": "MAINTENANCE"}, "status"),
        (Demand(), {"is_schedulable": False}, "schedulable"),
        (Demand(image_arch="arm64"), {}, "architecture"),
        (Demand(needs_isolation=True), {"isolates": False}, "isolation"),
        (Demand(needs_images=True), {"runtime_kind": "process"}, "images"),
        (Demand(labels={"zone": "b"}), {"labels": {"zone": "a"}}, "labels"),
        (Demand(), {"taints": (Taint("gpu", "NoSchedule"),)}, "taints"),
        (Demand(), {"taints": (Taint("gpu", "NoExecute"),)}, "taints"),
        (Demand(tolerations=(Toleration("gpu", "x"),)), {"taints": (Taint("gpu", "NoSchedule", "y"),)}, "taints"),
        (Demand(), {"pods": 110}, "max_pods"),
        (Demand(cpus=4.5), {}, "cpu"),
        (Demand(cpus=2), {"allocated_cpus": 3}, "cpu"),
        (Demand(memory_bytes=9 * GIB), {}, "memory"),
        (Demand(disk_bytes=101 * GIB), {}, "storage"),
        (Demand(ports=(("tcp", 80),)), {}, "ports"),
        (Demand(ports=(("tcp", 30001),)), {"ports_taken": frozenset({("tcp", 30001)})}, "ports"),
        (Demand(port_count=11), {}, "ports"),
    ],
)
def test_each_rule_refuses_with_a_sentence(demand: Demand, node: dict[str, Any], rule: str) -> None:
    ranking = rank(demand, [replace(NODE, **node)])
    assert ranking.candidates == ()
    (rejection,) = ranking.rejected
    assert (rejection.rule, rejection.node_name) == (rule, "a")
    assert rejection.reason.endswith(".") or ":" in rejection.reason


@pytest.mark.parametrize(
    ("demand", "node"),
    [
        (Demand(image_arch="amd64"), {}),
        (Demand(cpus=8), {"overcommit_cpu": 2.0}),
        (Demand(tolerations=(Toleration("gpu"),)), {"taints": (Taint("gpu", "NoSchedule", "y"),)}),
        (Demand(tolerations=(Toleration(),)), {"taints": (Taint("gpu", "NoExecute"), Taint("x", "NoSchedule"))}),
        (Demand(ports=(("udp", 30001),)), {"ports_taken": frozenset({("tcp", 30001)})}),
        (Demand(node_id=NODE.id), {}),
        (Demand(labels={"zone": "a"}), {"labels": {"zone": "a", "x": "y"}}),
    ],
)
def test_what_fits_is_a_candidate(demand: Demand, node: dict[str, Any]) -> None:
    assert len(rank(demand, [replace(NODE, **node)]).candidates) == 1


def test_spread_takes_the_emptiest_binpack_the_fullest_and_soft_taints_go_last() -> None:
    empty = replace(NODE, id=uuid.UUID(int=2), name="empty")
    full = replace(NODE, id=uuid.UUID(int=3), name="full", allocated_cpus=3.0, allocated_memory_bytes=4 * GIB, pods=20)
    soft = replace(NODE, id=uuid.UUID(int=4), name="soft", taints=(Taint("old", "PreferNoSchedule"),))
    views = [full, soft, empty]
    assert [n.name for n in rank(Demand(cpus=0.5), views).candidates] == ["empty", "full", "soft"]
    assert [n.name for n in rank(Demand(cpus=0.5), views, strategy="binpack").candidates] == ["full", "empty", "soft"]
    tolerant = Demand(cpus=0.5, tolerations=(Toleration("old"),))
    assert {n.name for n in rank(tolerant, views).candidates[:2]} == {"empty", "soft"}


@given(
    cpus=st.floats(0, 64),
    memory=st.integers(0, 64 * GIB),
    nodes=st.lists(st.tuples(st.floats(0, 64), st.integers(0, 64 * GIB), st.floats(0, 64), st.integers(0, 120)), max_size=12),
    strategy=st.sampled_from(["spread", "binpack"]),
)
def test_every_node_is_either_a_candidate_that_fits_or_rejected_by_a_known_rule(cpus: float, memory: int, nodes: Any, strategy: str) -> None:
    views = [
        replace(NODE, id=uuid.UUID(int=i + 1), name=f"n{i}", cpu_cores=c, memory_bytes=m, allocated_cpus=a, pods=p)
        for i, (c, m, a, p) in enumerate(nodes)
    ]
    ranking = rank(Demand(cpus=cpus, memory_bytes=memory), views, strategy=strategy)
    assert {v.id for v in ranking.candidates} | {r.node_id for r in ranking.rejected} == {v.id for v in views}
    assert len(ranking.candidates) + len(ranking.rejected) == len(views)
    for view in ranking.candidates:
        assert cpus <= view.free_cpus + 1e-9 and memory <= view.free_memory_bytes and view.pods < view.max_pods
    assert {r.rule for r in ranking.rejected} <= {rule for rule, _ in RULES}
