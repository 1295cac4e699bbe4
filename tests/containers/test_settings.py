"""Settings: each change says when it counts, limits reach what runs, ports keep what stays."""

from __future__ import annotations

from typing import Any

import pytest

from containers.models import Container, Port, Revision
from containers.services import PortWish, act, edit, revisions
from containers.services.manners import settings_of
from lormas.common.errors import Conflict, Invalid, Refused
from nodes.commands import payload_of
from nodes.models import Command, Node

pytestmark = pytest.mark.django_db
MIB = 1024**2


def change(container: Container, person: Any, changes: dict[str, Any] | None = None, ports: list[PortWish] | None = None, **more: Any) -> Any:
    return edit.change(container, user=person, actor=person.as_actor(), changes=changes or {}, wishes=ports, **more)


@pytest.fixture
def updating(node: Node) -> Node:
    """The node can change limits under what runs."""
    Node.objects.filter(pk=node.pk).update(capabilities=["update", "pause"])
    return node


@pytest.mark.usefixtures("updating")
def test_limits_reach_a_running_container_without_a_restart(running: Container, alice: Any, agent: Any, node: Node) -> None:
    outcome = change(running, alice, {"memory_bytes": 1024 * MIB, "cpus": 1.5})
    assert (outcome.effects, outcome.needs_restart) == ({"memory_bytes": "in_place", "cpus": "in_place"}, False)
    node.refresh_from_db()
    assert (node.allocated_cpus, node.allocated_memory_bytes) == (1.5, 1024 * MIB)
    command = agent.open_command(running, "container.update")
    assert payload_of(command)["spec"]["limits"]["memory_bytes"] == 1024 * MIB
    agent.done(running, "running", data={"limits": payload_of(command)["spec"]["limits"]})
    assert (running.status, running.spec_changed, running.spec["limits"]["cpus"]) == ("running", False, 1.5)
    act(running, "restart", user=alice, actor=alice.as_actor())
    assert agent.open_command(running).kind == "container.restart"  # nothing is left to be made anew


@pytest.mark.usefixtures("updating")
def test_limits_that_the_engine_refuses_now_come_with_the_next_start(running: Container, alice: Any, agent: Any) -> None:
    change(running, alice, {"memory_bytes": 64 * MIB})
    agent.failed(running, "invalid_spec", "It uses more.")
    running.refresh_from_db()
    assert (running.status, running.spec_changed, running.memory_bytes) == ("running", True, 64 * MIB)


def test_a_node_that_cant_change_limits_gets_them_with_a_new_container(running: Container, alice: Any, agent: Any) -> None:
    outcome = change(running, alice, {"cpus": 2})
    assert (outcome.effects, outcome.needs_restart) == ({"cpus": "recreate"}, True)
    assert not Command.objects.filter(kind="container.update").exists()
    act(outcome.container, "restart", user=alice, actor=alice.as_actor())
    command = agent.open_command(running)
    assert (command.kind, payload_of(command)["replace"], payload_of(command)["spec"]["limits"]["cpus"]) == ("container.create", True, 2)


def test_more_than_the_node_has_is_refused_and_changes_nothing(running: Container, alice: Any, node: Node) -> None:
    """J01"""
    with pytest.raises(Refused) as refusal:
        change(running, alice, {"memory_bytes": 9 * 1024**3, "image": "busybox:other"})
    assert (refusal.value.code, refusal.value.errors[0].field) == ("no_room", "limits.memory_bytes")
    before = running.memory_bytes
    running.refresh_from_db()
    node.refresh_from_db()
    assert (running.memory_bytes, running.image, node.allocated_memory_bytes) == (before, "busybox:stable", before)


def test_a_preview_tells_what_restarts_and_keeps_nothing(running: Container, alice: Any) -> None:
    wanted = {"image": "busybox:2", "startup_script": "echo hi", "description": "x", "auto_start": False}
    tried = edit.preview(running, user=alice, actor=alice.as_actor(), changes=wanted)
    assert tried.effects == {"image": "recreate", "startup_script": "next_start", "description": "now", "auto_start": "now"}
    assert tried.needs_restart
    running.refresh_from_db()
    assert (running.image, running.spec_changed, settings_of(running).startup_script) == ("busybox:stable", False, "")
    assert not Revision.objects.exists()


def test_a_startup_script_goes_with_the_next_start_and_needs_no_new_container(running: Container, alice: Any, agent: Any) -> None:
    outcome = change(running, alice, {"startup_script": "echo hi", "readiness": {"done": ["ready"], "timeout_seconds": 60}})
    assert (outcome.container.spec_changed, outcome.needs_restart) == (False, True)
    act(running, "restart", user=alice, actor=alice.as_actor())
    command = agent.open_command(running)
    assert command.kind == "container.restart"
    assert payload_of(command)["spec"]["startup_script"] == "echo hi"
    assert payload_of(command)["spec"]["readiness"] == {"done": ["ready"], "strip_ansi": True, "timeout_seconds": 60.0}


def test_ports_keep_their_numbers_change_their_order_and_come_from_the_range(make: Any, agent: Any, alice: Any) -> None:
    container, _ = make("web", ports=[PortWish(80), PortWish(443)])
    agent.done(container, "running")
    first = {p.container_port: p.host_port for p in container.ports.all()}
    change(container, alice, ports=[PortWish(443), PortWish(8080), PortWish(53, 30009, "udp")])
    rows = [(p.container_port, p.host_port, p.protocol, p.is_primary) for p in container.ports.order_by("-is_primary", "id")]
    assert rows[0] == (443, first[443], "tcp", True)
    assert {(inside, protocol) for inside, _, protocol, _ in rows[1:]} == {(8080, "tcp"), (53, "udp")}
    assert (53, 30009, "udp", False) in rows
    with pytest.raises(Refused):
        change(container, alice, ports=[PortWish(443), PortWish(1, 40000)])
    with pytest.raises(Invalid):
        change(container, alice, ports=[PortWish(1, 30005), PortWish(2, 30005)])
    assert Port.objects.filter(container=container).count() == 3


def test_a_port_of_somebody_else_is_refused(make: Any, agent: Any, alice: Any) -> None:
    one, _ = make("one", ports=[PortWish(80, 30001)])
    two, _ = make("two", ports=[PortWish(80, 30002)])
    agent.done(one, "running")
    agent.done(two, "running")
    with pytest.raises(Conflict) as refusal:
        change(two, alice, ports=[PortWish(80, 30001)])
    assert refusal.value.code == "port_taken"
    assert [p.host_port for p in two.ports.all()] == [30002]


def test_each_change_is_a_revision_with_its_author_and_diff(running: Container, alice: Any, root: Any) -> None:
    change(running, alice, {"env": {"A": "1", "B": "2"}})
    change(running, root, {"env": {"A": "1", "B": "3"}, "image": "busybox:2"}, note="for the release")
    change(running, root, {"description": "only words"})  # makes no difference to what runs
    kept = revisions.changes_of(running, list(running.revisions.all()), to_editor=True)
    told = [(r.number, r.author_label, r.note, [(d.field, d.before, d.after) for d in found]) for r, found in kept]
    assert told == [
        (3, root.as_actor().label, "for the release", [("env.B", "2", "3"), ("image", "busybox:stable", "busybox:2")]),
        (2, alice.as_actor().label, "", [("env.A", None, "1"), ("env.B", None, "2")]),
        (1, alice.label, "Created", []),
    ]


def test_one_step_brings_a_revision_back_ports_and_all(make: Any, agent: Any, alice: Any) -> None:
    container, _ = make("web", ports=[PortWish(80, 30001)], env={"A": "1"})
    agent.done(container, "running")
    change(container, alice, {"env": {"A": "2"}, "startup_script": "true"}, ports=[PortWish(81, 30003)])
    outcome = edit.roll_back(container, 1, user=alice, actor=alice.as_actor())
    assert (outcome.revision, outcome.container.env, settings_of(container).startup_script) == (3, {"A": "1"}, "")
    assert [(p.container_port, p.host_port) for p in container.ports.all()] == [(80, 30001)]
    assert container.revisions.first().note == "Rolled back to revision 1"
    assert edit.roll_back(container, 1, user=alice, actor=alice.as_actor()).revision is None  # it is that already
