"""Programs that end by themselves: what is a crash, when it comes back, and how a person ends the loop."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from audit.models import Entry
from containers.models import Container, ContainerSettings
from containers.services import act, edit, heal, observe, sweep
from containers.services.clear import clear_state
from containers.services.power import plan_restart
from lormas.common import clock
from lormas.common.errors import Conflict
from nodes.models import Node

pytestmark = pytest.mark.django_db


def planned(container: Container) -> float:
    """Seconds until it is started again."""
    container.refresh_from_db()
    assert container.restart_at is not None
    return (container.restart_at - clock.now()).total_seconds()


def test_a_program_that_dies_a_moment_after_our_start_has_crashed_and_comes_back(make: Any, agent: Any, node: Node) -> None:
    """The agent sees such an exit together with its own command and says so; nobody asked for the exit all the same."""
    container, _ = make("web")
    agent.done(container, "running", started_at="2026-01-01T00:00:00Z")
    observe.observe(node.pk, agent.report(container, "exited", exit_code=3, cause="command"))
    container.refresh_from_db()
    assert (container.status, container.status_reason) == ("crashed", "Ended by itself with exit code 3.")
    assert 0 < planned(container) <= 1


def test_a_program_that_is_dead_before_its_start_is_settled_has_crashed(make: Any, agent: Any) -> None:
    container, _ = make("web")
    agent.done(container, "exited", exit_code=3)
    assert container.status == "crashed"
    assert planned(container) <= 1


def test_one_that_did_its_work_at_once_is_left_alone(make: Any, agent: Any) -> None:
    container, _ = make("web")
    agent.done(container, "exited", exit_code=0)
    assert (container.status, container.desired, container.restart_at) == ("stopped", "stopped", None)


def test_a_stop_that_ends_with_a_signals_exit_code_is_no_crash(running: Container, agent: Any, alice: Any) -> None:
    act(running, "stop", user=alice, actor=alice.as_actor())
    agent.done(running, "exited", exit_code=143)
    assert (running.status, running.restart_at) == ("stopped", None)


def test_delays_grow_and_begin_anew_after_a_steady_run(running: Container) -> None:
    now = clock.now()
    for restarts, ran, least, most, after in ((0, 1, 0, 1, 1), (3, 1, 7, 8, 4), (6, 1, 59, 60, 7), (50, 1, 599, 600, 51), (50, 3600, 0, 1, 1)):
        Container.objects.filter(pk=running.pk).update(restarts=restarts, started_at=now - timedelta(seconds=ran), finished_at=now)
        running.refresh_from_db()
        plan_restart(running)
        assert least <= planned(running) <= most
        assert running.restarts == after


def test_a_person_can_end_a_crash_loop_between_two_starts(running: Container, agent: Any, alice: Any, node: Node) -> None:
    """R56."""
    observe.observe(node.pk, agent.report(running, "exited", exit_code=3, cause="exit"))
    running.refresh_from_db()
    act(running, "stop", user=alice, actor=alice.as_actor())
    agent.done(running, "exited", exit_code=3)
    assert (running.status, running.desired, running.restart_at) == ("stopped", "stopped", None)
    assert sweep.restart_due() == 0
    with pytest.raises(Conflict):
        act(running, "stop", user=alice, actor=alice.as_actor())


def crash(container: Container, agent: Any, node: Node, *, seconds: int = 2, started: bool = True) -> None:
    """It is started by policy and dies again after so long."""
    if started:
        Container.objects.filter(pk=container.pk).update(restart_at=clock.now() - timedelta(seconds=1))
        assert sweep.restart_due() == 1
        agent.done(container, "running", started_at="2026-01-01T00:00:00Z")
    ended = f"2026-01-01T{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}Z"
    observe.observe(node.pk, agent.report(container, "exited", exit_code=3, cause="exit", started_at="2026-01-01T00:00:00Z", finished_at=ended))
    container.refresh_from_db()


def test_a_crash_says_its_exit_code_and_how_long_it_lived(running: Container, agent: Any, node: Node) -> None:
    crash(running, agent, node, seconds=42, started=False)
    assert running.status_reason == "Ended by itself with exit code 3 after 42 s."
    entry = Entry.objects.get(action="containers.crashed")
    assert entry.after == {"exit_code": 3, "oom_killed": False, "lived_seconds": 42.0, "in_a_row": 1}


def test_eight_crashes_in_a_row_are_a_loop_that_is_told_once_tried_rarely_and_ends_by_a_steady_run(
    running: Container, agent: Any, node: Node, monkeypatch: pytest.MonkeyPatch, django_capture_on_commit_callbacks: Any
) -> None:
    """R56."""
    told: list[str] = []
    monkeypatch.setattr("lormas.wiring.SINKS", {"containers.crash_loop": "tests.containers.test_crash.hear"})
    monkeypatch.setattr("tests.containers.test_crash.hear", lambda entry: told.append(entry.target_label))
    crash(running, agent, node, started=False)
    with django_capture_on_commit_callbacks(execute=True):
        for _ in range(9):
            crash(running, agent, node)
    assert (running.status, running.restarts) == ("crash_loop", 10)
    assert running.status_reason.startswith("10 crashes in a row; tried again every 10 minutes. Ended by itself with exit code 3")
    assert 590 < planned(running) <= 600
    assert told == ["web"]  # the hook of notices hears of it once
    observe.settle_status(running, cause="")  # seen again: no second count
    assert running.status == "crash_loop"
    crash(running, agent, node, seconds=3600)
    assert (running.status, running.restarts) == ("crashed", 1)


def hear(entry: Any) -> None:
    """Stands where notices hook in; replaced in the test."""


def test_a_state_is_cleared_by_hand_and_nothing_starts_it_again(running: Container, agent: Any, alice: Any, node: Node) -> None:
    crash(running, agent, node, started=False)
    for _ in range(8):
        crash(running, agent, node)
    cleared = clear_state(running, actor=alice.as_actor())
    assert (cleared.status, cleared.desired, cleared.restarts, cleared.restart_at) == ("stopped", "stopped", 0, None)
    assert sweep.restart_due() == 0


def test_clearing_ends_an_operation_that_hangs_and_believes_the_node(running: Container, alice: Any) -> None:
    hanging = act(running, "stop", user=alice, actor=alice.as_actor())
    assert clear_state(running, actor=alice.as_actor()).status == "running"
    hanging.refresh_from_db()
    assert hanging.status == "cancelled"


def test_what_goes_with_its_engine_stays_down_where_its_owner_said_so(running: Container, agent: Any, alice: Any, node: Node) -> None:
    edit.change(running, user=alice, actor=alice.as_actor(), changes={"auto_start": False})
    observe.observe(node.pk, agent.report(running, "exited", exit_code=137, cause="engine"))
    running.refresh_from_db()
    assert (running.status, running.desired, running.restart_at) == ("stopped", "stopped", None)


def test_unhealthy_ones_are_restarted_if_wanted_and_no_more_than_five_times_in_half_an_hour(
    running: Container, agent: Any, alice: Any, node: Node
) -> None:
    observe.observe(node.pk, agent.report(running, "running", health="unhealthy"))
    assert heal.heal() == 0  # nobody asked for it
    edit.change(running, user=alice, actor=alice.as_actor(), changes={"auto_heal": True})
    for _ in range(heal.MOST):
        assert heal.heal() == 1
        assert heal.heal() == 0  # it is at work
        agent.done(running, "running", health="unhealthy")
    assert [heal.heal(), heal.heal()] == [0, 0]
    assert Entry.objects.filter(action="containers.heal").count() == heal.MOST
    assert Entry.objects.filter(action="containers.heal_given_up").count() == 1
    old = [clock.rfc3339(clock.now() - timedelta(minutes=31))] * 6
    ContainerSettings.objects.filter(container=running).update(healed_at=old)
    assert heal.heal() == 1
