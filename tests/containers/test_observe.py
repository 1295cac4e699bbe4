"""Facts from nodes: newer ones only, own containers only, and what they mean for the word on the page."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from audit.services import SYSTEM
from containers.models import Container
from containers.services import delete_container, observe, power, reinstall, sweep
from containers.states import PASSING
from lormas.common import clock
from nodes import commands, operations
from nodes.models import Command, Node
from nodes.services import register_node
from tests.containers.test_install_and_prompts import egg_of

pytestmark = pytest.mark.django_db


def test_an_older_fact_never_overwrites_a_newer_one(running: Container, agent: Any, node: Node) -> None:
    """R19, R20"""
    old = agent.report(running, "exited", exit_code=1, cause="exit")
    new = agent.report(running, "running")
    assert observe.observe(node.pk, new)
    assert not observe.observe(node.pk, old)
    assert not observe.observe(node.pk, new), "a repeat changes nothing either"
    running.refresh_from_db()
    assert running.status == "running"


def test_a_node_speaks_only_of_its_own_containers(running: Container, agent: Any) -> None:
    """D04: facts are checked against the row's node."""
    other, _ = register_node(name="node-2", actor=SYSTEM)
    assert not observe.observe(other.pk, agent.report(running, "exited", exit_code=1))
    observe.take_snapshot(other.pk, [], complete=True)
    running.refresh_from_db()
    assert running.status == "running"


def test_a_fact_of_an_older_placement_is_ignored(running: Container, agent: Any, node: Node) -> None:
    Container.objects.filter(pk=running.pk).update(epoch=2)
    assert not observe.observe(node.pk, agent.report(running, "exited"))


def test_an_exit_by_itself_is_a_crash_and_comes_back_by_policy(running: Container, agent: Any, node: Node) -> None:
    observe.observe(node.pk, agent.report(running, "exited", exit_code=3, cause="exit"))
    running.refresh_from_db()
    assert (running.status, running.status_reason) == ("crashed", "Ended by itself with exit code 3.")
    assert running.restart_at is not None
    assert sweep.restart_due() == 0, "not before its delay is over"
    Container.objects.filter(pk=running.pk).update(restart_at=clock.now() - timedelta(seconds=1))
    assert sweep.restart_due() == 1
    assert sweep.restart_due() == 0, "claimed once"
    running.refresh_from_db()
    assert (running.status, running.restarts) == ("starting", 1)


def test_a_clean_end_is_no_crash_and_is_left_alone(running: Container, agent: Any, node: Node) -> None:
    observe.observe(node.pk, agent.report(running, "exited", exit_code=0, cause="exit"))
    running.refresh_from_db()
    assert (running.status, running.desired, running.restart_at) == ("stopped", "stopped", None)


@pytest.mark.parametrize(("policy", "comes_back"), [("unless-stopped", True), ("on-failure", True), ("no", False)])
@pytest.mark.parametrize("exit_code", [0, 137, 143])
def test_the_end_of_its_engine_is_no_crash_and_counts_for_nothing(
    running: Container, agent: Any, node: Node, policy: str, comes_back: bool, exit_code: int
) -> None:
    """R12"""
    Container.objects.filter(pk=running.pk).update(restart_policy=policy, restarts=5)
    observe.observe(node.pk, agent.report(running, "exited", exit_code=exit_code, cause="engine"))
    running.refresh_from_db()
    assert (running.status, running.status_reason, running.restarts) == ("stopped", "Stopped with its engine.", 5)
    assert (running.restart_at is not None) is comes_back
    if comes_back:
        assert running.restart_at is not None and running.restart_at < clock.now() + timedelta(seconds=2), "at once, whatever crashed before"


def test_a_restart_that_was_put_off_is_due_when_the_node_is_back(running: Container, agent: Any, node: Node) -> None:
    observe.observe(node.pk, agent.report(running, "exited", exit_code=3, cause="exit"))
    Container.objects.filter(pk=running.pk).update(restart_at=clock.now() - timedelta(seconds=1))
    Node.objects.filter(pk=node.pk).update(status="INACTIVE", gateway="")
    assert sweep.restart_due() == 0
    running.refresh_from_db()
    assert running.restart_at is not None and running.restart_at > clock.now() + timedelta(seconds=30)
    observe.node_back(node)
    running.refresh_from_db()
    assert running.restart_at is not None and running.restart_at < clock.now() + timedelta(seconds=5)


def test_what_somebody_did_with_the_docker_command_shows_as_such(running: Container, agent: Any, node: Node) -> None:
    """R15"""
    observe.observe(node.pk, agent.report(running, "exited", exit_code=137, cause="external"))
    running.refresh_from_db()
    assert (running.status, running.status_reason, running.restart_at) == ("stopped", "Stopped on the node, not through Lormas.", None)
    observe.observe(node.pk, agent.report(running, "running", cause="external"))
    running.refresh_from_db()
    assert (running.status, running.desired) == ("running", "running")


def test_a_failed_or_partial_listing_changes_nothing_and_a_complete_one_does(running: Container, node: Node) -> None:
    """R11"""
    observe.take_snapshot(node.pk, [], complete=False)
    running.refresh_from_db()
    assert running.status == "running"
    observe.take_snapshot(node.pk, [], complete=True)
    running.refresh_from_db()
    assert running.status == "missing"


def test_what_one_listing_did_not_name_the_next_one_brings_back(running: Container, agent: Any, node: Node) -> None:
    """R15: it has no news of it, and so no higher number. What its node itself told as removed stays that."""
    again = agent.report(running, "running")
    observe.observe(node.pk, again)
    observe.take_snapshot(node.pk, [], complete=True)
    assert not observe.observe(node.pk, again), "a fact that comes twice is no news"
    observe.take_snapshot(node.pk, [again], complete=True)
    running.refresh_from_db()
    assert (running.status, running.desired) == ("running", "running")
    observe.observe(node.pk, agent.report(running, "removed", cause="external"))
    observe.take_snapshot(node.pk, [again], complete=True)
    running.refresh_from_db()
    assert running.status == "missing"


def test_a_lost_node_makes_its_containers_unknown_and_a_found_one_gives_them_back(running: Container, node: Node) -> None:
    """R05: unknown, never stopped."""
    observe.node_lost(node)
    running.refresh_from_db()
    assert (running.status, running.desired, running.observed) == ("unknown", "running", "running")
    observe.node_back(node)
    running.refresh_from_db()
    assert running.status == "running"


def test_a_hello_is_told_what_lives_elsewhere_by_now(running: Container, agent: Any, node: Node) -> None:
    """R39: the fence."""
    other, _ = register_node(name="node-2", actor=SYSTEM)
    report = agent.report(running, "running")
    assert observe.welcome_back(node, [report], complete=True) == []
    assert observe.welcome_back(other, [report], complete=True) == [str(running.pk)]


def test_a_passing_state_past_its_deadline_is_settled(running: Container, alice: Any) -> None:
    """R54"""
    Container.objects.filter(pk=running.pk).update(status="stopping", status_deadline=clock.now() - timedelta(seconds=1), operation=None)
    assert sweep.settle_stuck() == 1
    running.refresh_from_db()
    assert running.status == "running"


@pytest.mark.parametrize("action", ["create", "start", "stop", "restart", "kill", "delete", "reinstall"])
@pytest.mark.parametrize("accepted", [False, True])
def test_no_action_passes_for_ever_on_a_node_that_never_answers(
    make: Any, agent: Any, alice: Any, monkeypatch: pytest.MonkeyPatch, action: str, accepted: bool
) -> None:
    """R54: each has a deadline from the moment it is asked for; the sweeps alone bring it to an end, with its lock and its operation."""
    game = {"image": "", "egg": egg_of()} if action == "reinstall" else {}
    container, operation = make("web", **game)
    if action != "create":
        agent.done(container, "running", readiness="ready", started_at="2026-01-01T00:00:00Z")
    if action == "start":
        power.act(container, "stop", user=alice, actor=alice.as_actor())
        agent.done(container, "exited", exit_code=0)
    if action == "delete":
        operation = delete_container(container, user=alice, actor=alice.as_actor())
    elif action == "reinstall":
        operation = reinstall(container, user=alice, actor=alice.as_actor())
    elif action != "create":
        operation = power.act(container, action, user=alice, actor=alice.as_actor())
    assert operation is not None
    container.refresh_from_db()
    assert container.status in PASSING and container.status_deadline is not None
    assert container.status_deadline <= operation.deadline + timedelta(seconds=1)
    if accepted:
        commands.mark_sent([agent.open_command(container).pk])
        Command.objects.filter(pk=agent.open_command(container).pk).update(state="acked")
    real, ahead = clock.now, operation.deadline - clock.now() + commands.ACKED_GRACE + operations.COMMAND_GRACE + timedelta(seconds=1)
    monkeypatch.setattr(clock, "now", lambda: real() + ahead)
    commands.sweep_overdue()
    operations.sweep_overdue()
    sweep.settle_stuck()
    operation.refresh_from_db()
    assert not operation.is_open
    container.refresh_from_db()
    assert container.operation_id is None
    assert container.status not in PASSING, container.status


def test_a_listing_without_news_begins_no_write(running: Container, agent: Any, node: Node, django_assert_num_queries: Any) -> None:
    """R20: all nodes send theirs every five minutes, and nearly all of it is known; what is news among it is still taken in."""
    known = agent.report(running, "running")
    observe.observe(node.pk, known)
    late = msgspec.structs.replace(agent.report(running, "exited"), epoch=running.epoch + 1)
    for listing in ([known], [late], [known, known]):
        with django_assert_num_queries(1):
            observe.take_snapshot(node.pk, listing, complete=True)
    running.refresh_from_db()
    assert running.observed == "running"
    observe.take_snapshot(node.pk, [known, agent.report(running, "exited", exit_code=1, cause="exit")], complete=True)
    running.refresh_from_db()
    assert running.observed == "exited"
