"""Cordon, drain, undrain; taints that evict; maintenance windows. The agent is played by settling commands."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from containers.models import Container
from containers.services.create import Asked
from lormas.common import clock
from nodes import drains, services, windows
from nodes.models import Command, Drain, MaintenanceWindow, Node, NodeEvent, Operation
from tests.containers import conftest as played

pytestmark = [pytest.mark.django_db, pytest.mark.redis]
agent, make, running = played.agent, played.make, played.running


@pytest.fixture
def node(make_node: Any) -> Node:
    return make_node(  # type: ignore[no-any-return]
        "node-1", port_first=30000, port_last=30009, last_heartbeat=clock.now(), gateway="test", runtime_kind="docker", ip_address="127.0.0.1"
    )


@pytest.fixture
def other(node: Node, make_node: Any) -> Node:
    return make_node(  # type: ignore[no-any-return]
        "node-2", port_first=30000, port_last=30009, last_heartbeat=clock.now(), gateway="test", runtime_kind="docker", ip_address="127.0.0.1"
    )


def up(make: Any, agent: Any, name: str, **fields: Any) -> Container:
    container, _ = make(name, **fields)
    agent.done(container, "running", started_at="2026-01-01T00:00:00Z")
    return container  # type: ignore[no-any-return]


def step(operation_id: Any) -> Operation:
    drains.advance_all()
    found: Operation = Operation.objects.get(pk=operation_id)
    return found


def test_a_plan_says_where_each_goes_and_what_is_lost_and_changes_nothing(
    api: Any, olga: Any, alice: Any, node: Node, other: Node, make: Any, agent: Any
) -> None:
    moves = up(make, agent, "moves", node=node)
    stays = up(make, agent, "stays", node=node, placement={"movable": False})
    before = Command.objects.count()
    answer = api(olga).get(f"/api/nodes/{node.pk}/drain")
    assert answer.status_code == 200, answer.content
    plan = {row["name"]: row for row in answer.json()["containers"]}
    assert (plan["moves"]["act"], plan["moves"]["goes_to"]) == ("move", "node-2")
    assert any("log" in line for line in plan["moves"]["loses"])
    assert (plan["stays"]["act"], plan["stays"]["why_not"]) == ("stop", "It is set not to move.")
    assert Command.objects.count() == before and Node.objects.get(pk=node.pk).is_schedulable
    assert api(alice).get(f"/api/nodes/{node.pk}/drain").status_code == 404
    assert {moves.node_id, stays.node_id} == {node.pk}


def test_a_drain_moves_what_may_move_stops_the_rest_and_undrain_starts_that_again(
    api: Any, olga: Any, node: Node, other: Node, make: Any, agent: Any
) -> None:
    moves, stays = up(make, agent, "moves", node=node), up(make, agent, "stays", node=node, placement={"movable": False})
    answer = api(olga).post(f"/api/nodes/{node.pk}/drain", {"deadline_seconds": 600, "message": "New disks"})
    assert answer.status_code == 202, answer.content
    operation = answer.json()["operation"]["id"]
    assert not Node.objects.get(pk=node.pk).is_schedulable
    again = api(olga).post(f"/api/nodes/{node.pk}/drain", {})
    assert (again.status_code, again.json()["code"], again.json()["operation"]) == (409, "already_draining", operation)
    assert step(operation).status == "running"
    for container in (moves, stays):
        assert agent.open_command(container).kind == "container.stop"
        agent.done(container, "exited", exit_code=0)
    step(operation)
    moves.refresh_from_db()
    assert (moves.node_id, moves.epoch, moves.ports.get().node_id if moves.ports.count() else other.pk) == (other.pk, 2, other.pk)
    assert Command.objects.filter(node=node, kind="container.remove", subject_id=moves.pk).count() == 1
    agent.done(moves, "running", started_at="2026-01-01T00:00:00Z") if agent.open_command(moves).node_id == other.pk else None
    done = step(operation)
    assert (done.status, done.result, done.progress) == ("succeeded", {"moved": 1, "stopped": 1}, 100)
    back = api(olga).post(f"/api/nodes/{node.pk}/undrain", {})
    assert back.status_code == 200 or back.json()["operation"]["status"] == "succeeded", back.content
    assert Node.objects.get(pk=node.pk).is_schedulable
    stays.refresh_from_db()
    assert (stays.desired, agent.open_command(stays).kind) == ("running", "container.start")
    assert NodeEvent.objects.filter(node=node, kind="drain").count() >= 3


def test_capacity_follows_the_move(node: Node, other: Node, make: Any, agent: Any, olga: Any) -> None:
    moves = up(make, agent, "moves", node=node, asked=Asked(cpus=1.5, memory_bytes=2 * 1024**3))
    operation = drains.drain(node, user=olga, actor=olga.as_actor())
    step(operation.pk)
    agent.done(moves, "exited", exit_code=0)
    step(operation.pk)
    rows = {n.name: n for n in Node.objects.all()}
    assert (rows["node-1"].allocated_cpus, rows["node-1"].current_pods) == (0, 0)
    assert (rows["node-2"].allocated_cpus, rows["node-2"].allocated_memory_bytes, rows["node-2"].current_pods) == (1.5, 2 * 1024**3, 1)


def test_without_force_a_drain_fails_at_its_deadline_and_leaves_what_runs(node: Node, make: Any, agent: Any, olga: Any, clock_at: Any) -> None:
    stays = up(make, agent, "stays", node=node)
    operation = drains.drain(node, user=olga, actor=olga.as_actor(), deadline_seconds=60)
    step(operation.pk)
    clock_at(seconds=61)
    ended = step(operation.pk)
    assert (ended.status, ended.error_code) == ("failed", "deadline") and "stays" in ended.error_detail and "force" in ended.error_detail
    assert not Command.objects.filter(kind="container.kill").exists()
    assert not Node.objects.get(pk=node.pk).is_schedulable, "it stays cordoned until somebody says otherwise"
    assert Container.objects.get(pk=stays.pk).node_id == node.pk


def test_with_force_what_still_runs_at_the_deadline_is_killed(node: Node, make: Any, agent: Any, olga: Any, clock_at: Any) -> None:
    stays = up(make, agent, "stays", node=node)
    operation = drains.drain(node, user=olga, actor=olga.as_actor(), deadline_seconds=60, force=True)
    step(operation.pk)
    clock_at(seconds=61)
    step(operation.pk)
    command = agent.open_command(stays, "container.kill")
    assert command.kind == "container.kill"
    clock_at(seconds=62)
    agent.done(stays, "exited", exit_code=137)
    assert step(operation.pk).status == "succeeded"


def test_undrain_ends_a_drain_that_goes_on_and_can_keep_the_node_closed(api: Any, olga: Any, node: Node, make: Any, agent: Any) -> None:
    up(make, agent, "stays", node=node)
    operation = drains.drain(node, user=olga, actor=olga.as_actor())
    answer = api(olga).post(f"/api/nodes/{node.pk}/undrain?wait=1", {"keep_ineligible": True})
    assert answer.status_code == 200
    assert not Node.objects.get(pk=node.pk).is_schedulable
    assert Operation.objects.get(pk=operation.pk).status == "cancelled"
    assert Drain.objects.get().state == "cancelled"


def test_cancelling_the_operation_ends_the_drain(api: Any, olga: Any, node: Node, make: Any, agent: Any) -> None:
    up(make, agent, "stays", node=node)
    operation = drains.drain(node, user=olga, actor=olga.as_actor())
    answer = api(olga).post(f"/api/operations/{operation.pk}/cancel")
    assert answer.status_code in (200, 202), answer.content
    drains.advance_all()
    assert Drain.objects.get().state == "cancelled"
    assert not Command.objects.filter(kind="container.stop").exists()


def test_what_came_after_the_cordon_has_to_go_too(node: Node, make: Any, agent: Any, olga: Any) -> None:
    up(make, agent, "first", node=node)
    operation = drains.drain(node, user=olga, actor=olga.as_actor())
    Node.objects.filter(pk=node.pk).update(is_schedulable=True)
    late = up(make, agent, "late", node=node)
    Node.objects.filter(pk=node.pk).update(is_schedulable=False)
    step(operation.pk)
    assert agent.open_command(late).kind == "container.stop"


def test_an_empty_node_is_drained_at_once(node: Node, olga: Any) -> None:
    operation = drains.drain(node, user=olga, actor=olga.as_actor())
    assert step(operation.pk).status == "succeeded"


def test_noexecute_evicts_after_the_tolerated_time_and_never_what_tolerates_it_for_ever(
    node: Node, make: Any, agent: Any, olga: Any, clock_at: Any
) -> None:
    forever = up(make, agent, "forever", node=node, placement={"tolerations": [{"key": "bad-disk", "effect": "NoExecute"}]})
    a_while = up(make, agent, "a-while", node=node, placement={"tolerations": [{"key": "bad-disk", "seconds": 300}]})
    at_once = up(make, agent, "at-once", node=node)
    services.update_node(node, actor=olga.as_actor(), taints=[{"key": "bad-disk", "value": "", "effect": "NoExecute"}])

    def asked() -> set[str]:
        ids = Command.objects.filter(kind="container.stop").values_list("subject_id", flat=True)
        return set(Container.objects.filter(pk__in=list(ids)).values_list("name", flat=True))

    assert drains.evict_tainted() == {"asked": 1, "failed": 0}
    assert asked() == {"at-once"}
    since = Node.objects.get(pk=node.pk).taint_times["bad-disk=:NoExecute"]
    clock_at(seconds=200)
    services.update_node(node, actor=olga.as_actor(), taints=[*Node.objects.get(pk=node.pk).taints, {"key": "x", "effect": "PreferNoSchedule"}])
    assert Node.objects.get(pk=node.pk).taint_times["bad-disk=:NoExecute"] == since, "another taint is no new start"
    drains.evict_tainted()
    assert asked() == {"at-once"}
    clock_at(seconds=301)
    drains.evict_tainted()
    assert asked() == {"at-once", "a-while"}
    assert {c.node_id for c in (forever, a_while, at_once)} == {node.pk}


def test_a_window_holds_its_nodes_and_lets_go_only_what_it_held(
    api: Any, olga: Any, root: Any, node: Node, other: Node, clock_at: Any, make: Any, agent: Any
) -> None:
    from nodes.models import Cluster

    cluster = Cluster.objects.create(name="eu")
    Node.objects.update(cluster=cluster)
    services.set_status(other, actor=olga.as_actor(), status="MAINTENANCE", reason="By hand")
    now = clock.now()
    body = {"starts_at": clock.rfc3339(now + timedelta(minutes=5)), "ends_at": clock.rfc3339(now + timedelta(hours=1)), "reason": "Kernel"}
    made = api(root).post(f"/api/clusters/{cluster.pk}/maintenance", body)
    assert made.status_code == 201, made.content
    overlapping = api(root).post(f"/api/clusters/{cluster.pk}/maintenance", body)
    assert (overlapping.status_code, overlapping.json()["code"]) == (409, "overlaps")
    wrong = api(root).post(f"/api/clusters/{cluster.pk}/maintenance", {**body, "ends_at": body["starts_at"]})
    assert wrong.status_code == 400 and wrong.json()["errors"][0]["field"] == "ends_at"
    assert windows.advance() == {"begun": 0, "ended": 0}
    clock_at(minutes=6)
    assert windows.advance() == {"begun": 1, "ended": 0}
    rows = {n.name: n for n in Node.objects.all()}
    assert rows["node-1"].status == "MAINTENANCE" and "Kernel" in rows["node-1"].status_reason
    clock_at(hours=2)
    assert windows.advance() == {"begun": 0, "ended": 1}
    rows = {n.name: n for n in Node.objects.all()}
    assert (rows["node-1"].status, rows["node-2"].status) == ("ACTIVE", "MAINTENANCE")
    assert MaintenanceWindow.objects.get().state == "ended"


def test_a_window_that_drains_undrains_at_its_end_and_calling_it_off_ends_it_now(api: Any, olga: Any, node: Node, make: Any, agent: Any) -> None:
    up(make, agent, "stays", node=node)
    now = clock.now()
    body = {"starts_at": clock.rfc3339(now - timedelta(minutes=1)), "ends_at": clock.rfc3339(now + timedelta(hours=1)), "drain": True}
    made = api(olga).post(f"/api/nodes/{node.pk}/maintenance", body)
    assert made.status_code == 201, made.content
    windows.advance()
    assert Drain.objects.get().state == "running" and Node.objects.get(pk=node.pk).status == "MAINTENANCE"
    gone = api(olga).delete(f"/api/maintenance/{made.json()['id']}")
    assert (gone.status_code, gone.json()["state"]) == (200, "cancelled")
    row = Node.objects.get(pk=node.pk)
    assert (row.status, row.is_schedulable, Drain.objects.get().state) == ("ACTIVE", True, "cancelled")
    assert api(olga).delete(f"/api/maintenance/{made.json()['id']}").status_code == 409
