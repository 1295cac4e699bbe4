"""Commands: written once, sent until acknowledged, settled once (SECURITY R01, R18, R19, R54)."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest

from agent.protocol.commands import CreatePayload, EmptyPayload, StartPayload
from agent.protocol.messages import ContainerSpec, RegistryAuth
from lormas.common import clock
from nodes import commands, operations
from nodes.models import Command
from nodes.states import CommandState, OperationStatus

pytestmark = pytest.mark.django_db


@pytest.fixture
def settled_with(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    seen: list[Any] = []
    monkeypatch.setattr(commands, "wired", lambda table: {"container.start": "x"} if table == "SETTLED" else {})
    monkeypatch.setattr(commands, "resolve", lambda dotted: seen.append)
    return seen


def start(node: Any, **kwargs: Any) -> Command:
    return commands.enqueue(node, "container.start", payload=StartPayload(), subject_id=uuid.uuid4(), **kwargs)


def test_sequence_grows_within_a_node_and_payload_is_checked(make_node: Any) -> None:
    one, two = make_node("one"), make_node("two")
    assert [start(one).sequence, start(one).sequence, start(two).sequence] == [1, 2, 1]
    with pytest.raises(KeyError):
        commands.enqueue(one, "container.selfdestruct", payload=EmptyPayload())
    with pytest.raises(TypeError):
        commands.enqueue(one, "container.start", payload=EmptyPayload())


def test_secrets_rest_encrypted_and_are_wiped_at_the_end(make_node: Any) -> None:
    payload = CreatePayload(
        spec=ContainerSpec(container_id=str(uuid.uuid4()), name="x", image="x", env={"KEY": "canary-env"}),
        registry_auth=RegistryAuth(server="s", username="u", password="canary-password"),
    )
    command = commands.enqueue(make_node(), "container.create", payload=payload)
    stored = Command.objects.get(pk=command.pk)
    assert "canary" not in str(stored.payload)
    assert commands.payload_of(stored)["registry_auth"]["password"] == "canary-password"
    commands.settle(command.pk, ok=True)
    assert Command.objects.get(pk=command.pk).payload == {}


def test_settled_once_and_a_late_result_is_kept_but_changes_nothing(make_node: Any, settled_with: list[Any]) -> None:
    command = start(make_node())
    assert commands.settle(command.pk, ok=False, error=commands.failure("expired", "too late")) is True
    assert commands.settle(command.pk, ok=True, data={"runtime_ref": "abc"}) is False
    assert commands.settle(command.pk, ok=True, data={"runtime_ref": "other"}) is False
    command.refresh_from_db()
    assert command.state == CommandState.EXPIRED
    assert command.result["late"]["data"] == {"runtime_ref": "abc"}
    assert [c.pk for c in settled_with] == [command.pk]


def test_a_repeat_of_the_same_result_is_no_news(make_node: Any, settled_with: list[Any]) -> None:
    command = start(make_node())
    for _ in range(3):
        commands.settle(command.pk, ok=True, data={"a": 1})
    command.refresh_from_db()
    assert command.result == {"a": 1}
    assert len(settled_with) == 1


def test_due_again_after_ten_seconds_without_an_ack_and_never_after_the_ack(make_node: Any) -> None:
    node = make_node()
    command = start(node, deadline_seconds=300)
    assert [c.pk for c in commands.due(node.pk)] == [command.pk]
    commands.mark_sent([command.pk])
    assert commands.due(node.pk) == []
    Command.objects.filter(pk=command.pk).update(sent_at=clock.now() - timedelta(seconds=11))
    assert [c.pk for c in commands.due(node.pk)] == [command.pk]
    assert commands.mark_acked(command.pk, node_id=uuid.uuid4()) is False
    assert commands.mark_acked(command.pk, node_id=node.pk) is True
    assert commands.due(node.pk) == []
    assert commands.due(node.pk, known_to_agent=[str(command.pk)]) == []
    assert [c.pk for c in commands.due(node.pk, known_to_agent=[])] == [command.pk]


def test_overdue_commands_end_by_the_sweep(make_node: Any, settled_with: list[Any]) -> None:
    node = make_node()
    never, taken, fresh = start(node), start(node), start(node)
    commands.mark_sent([taken.pk])
    commands.mark_acked(taken.pk, node_id=node.pk)
    Command.objects.filter(pk__in=[never.pk, taken.pk]).update(deadline=clock.now() - timedelta(seconds=20))
    assert commands.sweep_overdue() == 1
    never.refresh_from_db()
    taken.refresh_from_db()
    assert (never.state, taken.state) == (CommandState.EXPIRED, CommandState.ACKED)
    Command.objects.filter(pk=taken.pk).update(deadline=clock.now() - commands.ACKED_GRACE - timedelta(seconds=1))
    assert commands.sweep_overdue() == 1
    taken.refresh_from_db()
    fresh.refresh_from_db()
    assert (taken.state, taken.error_code, fresh.state) == (CommandState.FAILED, "timeout", CommandState.QUEUED)


def test_cancel_open_settles_only_what_is_asked(make_node: Any, settled_with: list[Any]) -> None:
    node, subject = make_node(), uuid.uuid4()
    first = commands.enqueue(node, "container.start", payload=StartPayload(), subject_id=subject)
    other = start(node)
    assert commands.cancel_open(subject_id=subject, kinds=["container.stop"], reason="x") == 0
    assert commands.cancel_open(subject_id=subject, reason="overtaken") == 1
    first.refresh_from_db()
    other.refresh_from_db()
    assert (first.state, first.error_detail, other.state) == (CommandState.CANCELLED, "overtaken", CommandState.QUEUED)


def test_ack_marks_the_operation_running_and_progress_reaches_it(make_node: Any, alice: Any) -> None:
    node = make_node()
    operation = operations.open_operation("container.start", user=alice, deadline_seconds=60)
    command = start(node, operation=operation)
    commands.mark_acked(command.pk, node_id=node.pk)
    commands.note_progress(command.pk, node_id=node.pk, percent=40, message="pulling")
    commands.note_progress(command.pk, node_id=uuid.uuid4(), percent=90, message="foreign")
    operation.refresh_from_db()
    assert (operation.status, operation.progress, operation.message) == (OperationStatus.RUNNING, 40, "pulling")


def test_operation_settles_once(alice: Any) -> None:
    operation = operations.open_operation("container.start", user=alice)
    assert operations.settle_operation(operation.pk, status="succeeded", result={"a": 1}) is True
    assert operations.settle_operation(operation.pk, status="failed", error_code="x") is False
    operations.set_progress(operation.pk, 10)
    found = operations.wait_for(operation.pk, 5)
    assert (found.status, found.progress, found.result, found.error_code) == ("succeeded", 100, {"a": 1}, "")


def test_overdue_operations_end_and_wait_for_an_accepted_command_a_minute_more(make_node: Any, alice: Any) -> None:
    node = make_node()
    lone = operations.open_operation("x", user=alice, deadline_seconds=-1)
    busy = operations.open_operation("x", user=alice, deadline_seconds=-1)
    start(node, operation=busy)
    assert operations.sweep_overdue() == 1
    lone.refresh_from_db()
    busy.refresh_from_db()
    assert (lone.status, busy.status) == ("timed_out", "queued")
