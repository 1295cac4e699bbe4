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
