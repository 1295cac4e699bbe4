"""Capacity is claimed by conditional UPDATE: the last slot has one winner."""

from __future__ import annotations

import threading
import uuid
from typing import Any

import pytest
from django.db import connection

from nodes import services
from nodes.models import Cluster, Node

GIB = 1024**3


@pytest.fixture(autouse=True)
def _cores_are_not_shared(settings: Any) -> None:
    """Each core promised once, so that cores can be the dimension that runs out."""
    settings.CPU_OVERCOMMIT = 1.0


@pytest.mark.django_db
def test_cores_of_a_node_without_a_cluster_are_shared_and_memory_is_not(make_node: Any, settings: Any) -> None:
    settings.CPU_OVERCOMMIT = 4.0
    node = make_node(cpu_cores=2.0, total_memory_bytes=4 * GIB)
    assert [services.claim(node.pk, cpus=2, memory_bytes=GIB, disk_bytes=0) for _ in range(5)] == [True, True, True, True, False]
    assert not services.claim(node.pk, cpus=0.1, memory_bytes=2 * GIB, disk_bytes=0)


@pytest.mark.django_db
def test_claim_until_full_then_release(make_node: Any) -> None:
    node = make_node(max_pods=10)
    wanted = {"cpus": 1.5, "memory_bytes": 2 * GIB, "disk_bytes": 10**9}
    assert [services.claim(node.pk, **wanted) for _ in range(4)] == [True, True, False, False]
    node.refresh_from_db()
    assert (node.current_pods, node.allocated_cpus, node.allocated_memory_bytes) == (2, 3.0, 4 * GIB)
    for _ in range(5):
        services.release(node.pk, **wanted)
    node.refresh_from_db()
    assert (node.current_pods, node.allocated_cpus, node.allocated_memory_bytes, node.allocated_storage_bytes) == (0, 0, 0, 0)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "fields",
    [
        {"status": "NOT_READY"},
        {"is_schedulable": False},
        {"max_pods": 0},
        {"cpu_cores": 0.5},
        {"total_memory_bytes": 5},
        {"total_storage_bytes": 5},
    ],
)
def test_each_dimension_refuses(make_node: Any, fields: dict[str, Any]) -> None:
    assert services.claim(make_node(**fields).pk, cpus=1, memory_bytes=10, disk_bytes=10) is False
    assert services.claim(uuid.uuid4(), cpus=1, memory_bytes=10, disk_bytes=10) is False


@pytest.mark.django_db
def test_overcommit_widens(make_node: Any) -> None:
    node = make_node(cluster=Cluster.objects.create(name="c", overcommit_cpu=2.0), cpu_cores=2)
    assert [services.claim(node.pk, cpus=1, memory_bytes=0, disk_bytes=0) for _ in range(5)] == [True] * 4 + [False]


@pytest.mark.django_db(transaction=True)
def test_last_slot_has_one_winner(make_node: Any) -> None:
    node = make_node(max_pods=1)
    barrier = threading.Barrier(6)
    won: list[bool] = []

    def rival() -> None:
        try:
            barrier.wait(10)
            won.append(services.claim(node.pk, cpus=0.1, memory_bytes=1, disk_bytes=1))
        finally:
            connection.close()

    threads = [threading.Thread(target=rival) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert sorted(won) == [False] * 5 + [True]
    assert Node.objects.get(pk=node.pk).current_pods == 1


@pytest.mark.django_db
def test_placement_sees_each_column_of_a_node_under_its_own_name(make_node: Any) -> None:
    """One look at the fleet reads columns and not rows: every one is told apart by its value."""
    from nodes.selectors import placement_views

    cluster = Cluster.objects.create(name="c1", overcommit_cpu=2.5, overcommit_memory=1.25, overcommit_storage=1.75)
    numbers: dict[str, Any] = {
        "cpu_cores": 3.5, "total_memory_bytes": 101, "total_storage_bytes": 102, "allocated_cpus": 0.25, "allocated_memory_bytes": 31,
        "allocated_storage_bytes": 32, "current_pods": 7, "max_pods": 77, "port_first": 4000, "port_last": 4100,
    }  # fmt: skip
    words: dict[str, Any] = {
        "status": "NOT_READY", "status_reason": "why", "is_schedulable": False, "cpu_architecture": "riscv", "runtime_kind": "process",
        "isolates": False, "labels": {"zone": "a"}, "taints": [{"key": "gpu", "effect": "NoSchedule"}],
        "signals": {"disk": {"level": "bad", "cause": "full", "since": 1.0, "checked": 2.0}},
    }  # fmt: skip
    node, plain = make_node("b"), make_node("a", signals={"disk": {"level": "ok", "cause": "not told", "since": 1.0, "checked": 2.0}})
    type(node).objects.filter(pk=node.pk).update(cluster=cluster, **numbers, **words)
    first, seen = placement_views(ports_taken={node.pk: frozenset({("tcp", 4001)})}, running={node.pk: {("app", "x"): 3}})
    renamed = {"memory_bytes": "total_memory_bytes", "storage_bytes": "total_storage_bytes", "pods": "current_pods", "arch": "cpu_architecture"}
    given = {**numbers, **words}
    back = {column: name for name, column in renamed.items()}
    for column in set(given) - {"taints", "signals"}:
        assert getattr(seen, back.get(column, column)) == given[column], column
    assert (seen.id, seen.name, seen.cluster_id) == (node.pk, "b", cluster.pk)
    assert (seen.overcommit_cpu, seen.overcommit_memory, seen.overcommit_storage) == (2.5, 1.25, 1.75)
    assert [(taint.key, taint.value, taint.effect) for taint in seen.taints] == [("gpu", "", "NoSchedule")]
    assert (seen.ports_taken, dict(seen.running), seen.trouble) == (frozenset({("tcp", 4001)}), {("app", "x"): 3}, "full")
    alone = (first.id, first.cluster_id, first.overcommit_cpu, first.overcommit_memory, first.trouble, first.ports_taken, dict(first.running))
    assert alone == (plain.pk, None, 1.0, 1.0, "", frozenset(), {})
    assert [view.name for view in placement_views(cluster.pk)] == ["b"]
