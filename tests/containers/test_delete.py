"""Deleting: to the trash and back, and for good."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings

from containers.access import visible_containers
from containers.models import Container, Port
from containers.services import PortWish, delete_container, restore_container, sweep
from lormas.common import clock
from lormas.common.errors import Conflict
from nodes.models import Node

pytestmark = pytest.mark.django_db


def test_the_trash_stops_hides_and_gives_back(running: Container, alice: Any, agent: Any, make: Any) -> None:
    delete_container(running, user=alice, actor=alice.as_actor())
    agent.done(running, "exited", exit_code=0)
    assert not visible_containers(alice).filter(pk=running.pk).exists()
    assert visible_containers(alice, trash=True).filter(pk=running.pk).exists()
    restored = restore_container(running, actor=alice.as_actor())
    assert (restored.deleted_at, restored.status) == (None, "stopped")
    assert visible_containers(alice).filter(pk=running.pk).exists()


def test_a_name_in_use_again_blocks_the_way_back(running: Container, alice: Any, agent: Any, make: Any) -> None:
    delete_container(running, user=alice, actor=alice.as_actor())
    agent.done(running, "exited")
    make("web")
    with pytest.raises(Conflict):
        restore_container(running, actor=alice.as_actor())


def test_force_removes_row_ports_and_promise_once_the_node_has_confirmed(make: Any, alice: Any, agent: Any, node: Node) -> None:
    container, _ = make("web", ports=[PortWish(80)])
    agent.done(container, "running")
    operation = delete_container(container, user=alice, actor=alice.as_actor(), force=True)
    assert Container.objects.filter(pk=container.pk).exists(), "not before the node has confirmed"
    command = agent.open_command(container, "container.remove")
    from nodes import commands

    commands.settle(command.pk, ok=True)
    operation.refresh_from_db()
    node.refresh_from_db()
    assert operation.status == "succeeded"
    assert not Container.objects.filter(pk=container.pk).exists()
    assert Port.objects.count() == 0
    assert (node.current_pods, node.allocated_cpus, node.allocated_memory_bytes) == (0, 0, 0)


def test_the_trash_empties_itself(running: Container, alice: Any, agent: Any) -> None:
    delete_container(running, user=alice, actor=alice.as_actor())
    agent.done(running, "exited")
    assert sweep.empty_trash() == 0
    Container.objects.filter(pk=running.pk).update(deleted_at=clock.now() - timedelta(seconds=settings.TRASH_SECONDS + 1))
    assert sweep.empty_trash() == 1
    assert agent.open_command(running).kind == "container.remove"
