"""Many at a time on one database, and clients that don't wait."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import DatabaseError, connection

from audit.services import SYSTEM
from nodes import drains, events, services
from nodes.models import Node, NodeEvent

WRITERS, ROUNDS = 20, 5


@pytest.mark.django_db(transaction=True)
@pytest.mark.redis
def test_twenty_writers_lose_nothing_and_none_is_told_that_the_database_is_locked(make_node: Any) -> None:
    """R29: on SQLite as on PostgreSQL."""
    node = make_node(cpu_cores=1000.0, max_pods=1000)
    barrier, faults = threading.Barrier(WRITERS), []

    def write(number: int) -> None:
        try:
            barrier.wait(30)
            for round_ in range(ROUNDS):
                assert services.claim(node.pk, cpus=1, memory_bytes=1, disk_bytes=1)
                events.note(node, "test", f"{number} {round_}")
                services.update_node(node, actor=SYSTEM, description=f"{number} {round_}")
        except (DatabaseError, AssertionError, threading.BrokenBarrierError) as fault:
            faults.append(f"{type(fault).__name__}: {fault}")
        finally:
            connection.close()

    threads = [threading.Thread(target=write, args=(number,)) for number in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert faults == []
    row = Node.objects.get(pk=node.pk)
    assert (row.current_pods, row.allocated_cpus) == (WRITERS * ROUNDS, float(WRITERS * ROUNDS))
    assert NodeEvent.objects.filter(kind="test").count() == WRITERS * ROUNDS


@pytest.mark.django_db
@pytest.mark.redis
def test_who_does_not_wait_for_the_end_finds_the_operation_by_its_address(make_node: Any, api: Any, olga: Any) -> None:
    """R37: 202 with the operation and where it is; it goes on without the client."""
    node = make_node()
    answer = api(olga).post(f"/api/nodes/{node.pk}/drain?wait=0.1", {})
    assert answer.status_code == 202, answer.content
    address = answer.headers["Location"]
    assert api(olga).get(address).json()["status"] == "queued"
    drains.advance_all()
    assert api(olga).get(address).json()["status"] == "succeeded"
