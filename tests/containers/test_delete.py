"""Deleting: to the trash and back, and for good."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings

from agent.protocol.commands import StopPayload
from agent.protocol.messages import StopSpec
from containers.access import visible_containers
from containers.models import Container, Port
from containers.services import PortWish, delete_container, restore_container, sweep
from lormas.common import clock, jobs
from lormas.common.errors import Conflict
from nodes import commands
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


def test_what_a_node_could_not_delete_it_is_told_again_with_growing_pauses(
    running: Container, alice: Any, agent: Any, node: Node, monkeypatch: Any
) -> None:
    """R12, R54: its engine had no memory left. In the trash it would run on; deleted for good it would stay on the node for ever."""
    assert sweep.delete_again() == 0, "nothing is deleted"
    soon: list[float] = []
    real = clock.now
    monkeypatch.setattr(jobs, "enqueue_on_commit", lambda name, **how: soon.append(how["countdown_seconds"]))
    for _ in range(3):  # a person's own stops are no failures of deleting it
        commands.settle(commands.enqueue(node, "container.stop", payload=StopPayload(stop=StopSpec()), subject_id=running.pk).pk, ok=True)
    for force, kind in ((False, "container.stop"), (True, "container.remove")):
        delete_container(running, user=alice, actor=alice.as_actor(), force=force)
        agent.failed(running, "engine_error")
        assert sweep.delete_again() == 1, "at once after the first failure"
        running.refresh_from_db()
        assert agent.open_command(running).kind == kind
        assert sweep.delete_again() == 0, "it is under way"
        agent.failed(running, "engine_error")
        assert sweep.delete_again() == 0, "not so soon again"
        monkeypatch.setattr(clock, "now", lambda now=clock.now() + timedelta(seconds=61): now)
        assert sweep.delete_again() == 1
        agent.failed(running, "engine_error")
        monkeypatch.setattr(clock, "now", lambda now=clock.now() + timedelta(seconds=61): now)
        assert sweep.delete_again() == 0, "later each time"
        assert [wait for wait in soon if wait > 2] == [31, 61, 121], "told when the pause is over, whoever else looks around when"
        Node.objects.filter(pk=node.pk).update(status_since=clock.now())
        assert sweep.delete_again() == 1, "its node came back meanwhile: at once"
        agent.failed(running, "engine_error")
        soon.clear()
        monkeypatch.setattr(clock, "now", real)
        Node.objects.filter(pk=node.pk).update(status_since=clock.now())
    Node.objects.filter(pk=node.pk).update(gateway="", status="INACTIVE")
    monkeypatch.setattr(clock, "now", lambda now=clock.now() + timedelta(days=1): now)
    assert sweep.delete_again() == 0, "nobody hears it"
    Node.objects.filter(pk=node.pk).update(gateway="test", status="ACTIVE")
    assert sweep.delete_again() == 1
    commands.settle(agent.open_command(running).pk, ok=True)
    assert not Container.objects.filter(pk=running.pk).exists()


def test_an_engine_that_was_away_between_two_heartbeats_is_told_again_soon(running: Container, alice: Any, agent: Any, monkeypatch: Any) -> None:
    """R12: restarted twice in a row, so that nobody saw its node away. What it could not do meanwhile lengthens no pause, for a while."""
    soon: list[float] = []
    monkeypatch.setattr(jobs, "enqueue_on_commit", lambda name, **how: soon.append(how["countdown_seconds"]))
    delete_container(running, user=alice, actor=alice.as_actor(), force=True)
    for code in ("engine_down", "timeout") * 4:
        agent.failed(running, code)
        monkeypatch.setattr(clock, "now", lambda now=clock.now() + timedelta(seconds=16): now)
        assert sweep.delete_again() == 1
    assert [wait for wait in soon if wait > 2] == [16] * 8
    agent.failed(running, "engine_down")
    assert soon[-1] == 31, "an engine that stays so is no restart: the pauses grow"
    monkeypatch.setattr(clock, "now", lambda now=clock.now() + timedelta(seconds=16): now)
    assert sweep.delete_again() == 0


def test_a_creation_that_a_kill_overtakes_leaves_what_can_be_started(make: Any, alice: Any, agent: Any) -> None:
    """It never came to be on its node: `missing` and not `unknown`, which nobody could start (R21)."""
    from containers.services import power

    container, _ = make("web")
    power.act(container, "kill", user=alice, actor=alice.as_actor())
    commands.settle(agent.open_command(container, "container.kill").pk, ok=True)
    container.refresh_from_db()
    assert (container.status, container.desired) == ("missing", "stopped")
    power.act(container, "start", user=alice, actor=alice.as_actor())
    agent.done(container, "running")
    assert container.status == "running"
