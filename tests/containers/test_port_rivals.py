"""Many containers that want one host port at once (SECURITY A12)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections

from containers import whereabouts
from containers.models import Container, Port
from containers.services import NewContainer, create_container
from containers.services.create import PortWish
from lormas.common.errors import Conflict, Problem
from nodes.models import Command, Node, Operation

RIVALS = 30


@pytest.mark.redis
@pytest.mark.django_db(transaction=True)
def test_of_30_who_ask_for_one_port_at_once_one_gets_it_and_the_others_leave_nothing(alice: Any, node: Node) -> None:
    """A12: the database decides; who loses is told so, and holds no row, no promise of capacity and no command."""
    Node.objects.filter(pk=node.pk).update(cpu_cores=64, total_memory_bytes=512 * 1024**3)
    node.refresh_from_db()
    gate, actor = threading.Barrier(RIVALS), alice.as_actor()

    def ask(number: int) -> Any:
        gate.wait(60)
        try:
            data = NewContainer(name=f"rival-{number}", image="busybox:stable", ports=[PortWish(80, 30005)], node=node)
            return create_container(user=alice, actor=actor, data=data)[0]
        except Problem as problem:
            return problem
        finally:
            connections.close_all()

    with ThreadPoolExecutor(RIVALS) as pool:
        found = list(pool.map(ask, range(RIVALS)))
    won = [one for one in found if isinstance(one, Container)]
    lost = [one for one in found if isinstance(one, Conflict)]
    assert (len(won), len(lost)) == (1, RIVALS - 1), found
    assert {problem.code for problem in lost} == {"port_taken"}
    assert Port.objects.get().container_id == won[0].pk
    assert Container.objects.count() == Command.objects.count() == Operation.objects.count() == 1
    node.refresh_from_db()
    assert node.allocated_memory_bytes == won[0].memory_bytes


@pytest.mark.redis
@pytest.mark.django_db
def test_who_looked_before_a_rival_took_the_port_is_told_of_the_port(alice: Any, make: Any, node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A12: the rival comes between the look at the port and the ranking of nodes, which finds the node without it."""
    held = whereabouts.ports_held

    def late(wanted: Any) -> Any:
        monkeypatch.undo()
        make("rival", ports=[PortWish(80, 30005)], node=node)
        return held(wanted)

    monkeypatch.setattr(whereabouts, "ports_held", late)
    with pytest.raises(Conflict) as lost:
        create_container(
            user=alice, actor=alice.as_actor(), data=NewContainer(name="web", image="busybox:stable", ports=[PortWish(80, 30005)], node=node)
        )
    assert lost.value.code == "port_taken"
    assert not Container.objects.filter(name="web").exists()
