"""Programs that end by themselves: what is a crash, when it comes back, and how a person ends the loop."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from containers.models import Container
from containers.services import act, observe, sweep
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
    for restarts, ran, least, most, after in ((0, 1, 0, 1, 1), (3, 1, 7, 8, 4), (50, 1, 59, 60, 51), (50, 3600, 0, 1, 1)):
        Container.objects.filter(pk=running.pk).update(restarts=restarts, started_at=now - timedelta(seconds=ran), finished_at=now)
        running.refresh_from_db()
        plan_restart(running)
        assert least <= planned(running) <= most
        assert running.restarts == after


def test_a_person_can_end_a_crash_loop_between_two_starts(running: Container, agent: Any, alice: Any, node: Node) -> None:
    observe.observe(node.pk, agent.report(running, "exited", exit_code=3, cause="exit"))
    running.refresh_from_db()
    act(running, "stop", user=alice, actor=alice.as_actor())
    agent.done(running, "exited", exit_code=3)
    assert (running.status, running.desired, running.restart_at) == ("stopped", "stopped", None)
    assert sweep.restart_due() == 0
    with pytest.raises(Conflict):
        act(running, "stop", user=alice, actor=alice.as_actor())
