"""Power: one action at a time, states say what is allowed, kill overtakes."""

from __future__ import annotations

from typing import Any

import pytest

from containers.models import Container
from containers.services import act
from lormas.common.errors import Conflict, Locked, NodeUnavailable
from nodes.models import Command, Node

pytestmark = pytest.mark.django_db


def power(container: Container, action: str, person: Any) -> Any:
    return act(container, action, user=person, actor=person.as_actor())


def test_stop_and_start_go_through_passing_states_to_what_the_node_saw(running: Container, alice: Any, agent: Any) -> None:
    operation = power(running, "stop", alice)
    running.refresh_from_db()
    assert (running.status, running.desired) == ("stopping", "stopped")
    assert running.status_deadline is not None
    agent.done(running, "exited", exit_code=143)
    operation.refresh_from_db()
    assert (running.status, operation.status, running.status_deadline) == ("stopped", "succeeded", None)

    power(running, "start", alice)
    agent.done(running, "running")
    assert (running.status, running.desired) == ("running", "running")


def test_a_second_action_is_refused_with_the_running_operation(running: Container, alice: Any) -> None:
    """R21"""
    first = power(running, "stop", alice)
    with pytest.raises(Locked) as refusal:
        power(running, "restart", alice)
    assert refusal.value.extra["operation"] == str(first.pk)
    assert Command.objects.filter(subject_id=running.pk, kind="container.restart").count() == 0


def test_kill_overtakes_what_runs(running: Container, alice: Any, agent: Any) -> None:
    stop = power(running, "stop", alice)
    kill = power(running, "kill", alice)
    stop.refresh_from_db()
    assert stop.status == "cancelled"
    agent.done(running, "exited", exit_code=137)
    kill.refresh_from_db()
    assert (kill.status, running.status) == ("succeeded", "stopped")


def test_what_the_state_does_not_allow_is_refused_and_names_what_it_does(running: Container, alice: Any) -> None:
    with pytest.raises(Conflict) as refusal:
        power(running, "start", alice)
    assert refusal.value.extra == {"state": "running", "allowed": ["delete", "kill", "pause", "restart", "stop"]}
    with pytest.raises(Conflict):
        power(running, "unpause", alice)


def test_an_offline_node_refuses_at_once(running: Container, alice: Any, node: Node) -> None:
    Node.objects.filter(pk=node.pk).update(status="INACTIVE", gateway="")
    running.refresh_from_db()
    with pytest.raises(NodeUnavailable):
        power(Container.objects.select_related("node").get(pk=running.pk), "stop", alice)


def test_a_failed_stop_tells_the_truth_about_what_still_runs(running: Container, alice: Any, agent: Any) -> None:
    operation = power(running, "stop", alice)
    agent.failed(running, "engine_error", "The engine refused.")
    running.refresh_from_db()
    operation.refresh_from_db()
    assert (running.status, operation.status, operation.error_detail) == ("running", "failed", "The engine refused.")
