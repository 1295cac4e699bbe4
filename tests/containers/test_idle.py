"""R52: what nobody uses is stopped by itself, after a warning; whatever people or their work do with it counts as a use."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from agent.protocol.messages import ContainerStats, NodeUsage, StatsReport
from audit.models import Entry
from audit.services import SYSTEM
from containers import files, logs, stats, uses
from containers.models import Backup, BackupDestination, BackupWork, Container, ContainerSettings, ExecRecord, Idleness, Port, Schedule, ScheduleRun
from containers.services import act, edit, execs, idle
from lormas.common import clock, live
from lormas.common.errors import Conflict
from nodes import jobs, operations
from nodes.models import Command, Lease, Node

pytestmark = pytest.mark.django_db
HALF_HOUR = 1800


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], datetime]:
    """`later(60)`: it is a minute later now, for all that asks `lormas.common.clock`."""
    real, ahead = clock.now, timedelta()

    def move(seconds: float) -> datetime:
        nonlocal ahead
        ahead += timedelta(seconds=seconds)
        return real() + ahead

    monkeypatch.setattr(clock, "now", lambda: real() + ahead)
    return move


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any]]]:
    """What nodes are asked; they answer with nothing."""
    asked: list[tuple[str, dict[str, Any]]] = []

    def ask(_node: Any, kind: str, *, payload: dict[str, Any] | None = None, **_rest: Any) -> dict[str, Any]:
        asked.append((kind, payload or {}))
        return {}

    monkeypatch.setattr(live, "ask_node", ask)
    return asked


@pytest.fixture
def limited(running: Container, alice: Any) -> Container:
    """`web`, running, to stop after half an hour; its clock has begun."""
    edit.change(running, user=alice, actor=alice.as_actor(), changes={"idle_timeout_seconds": HALF_HOUR})
    Port.objects.filter(container=running).delete()
    assert idle.look()["begun"] == 1
    uses._told.clear()
    return running


def stop_of(container: Container) -> Command | None:
    return Command.objects.filter(subject_id=container.pk, kind="container.stop").first()


def traffic(container: Container, node: Node, received: int) -> None:
    sample = ContainerStats(container_id=str(container.pk), network_rx_bytes=received)
    stats.take_in(node.pk, StatsReport(sampled_at_unix=0, node=NodeUsage(), containers=[sample]))


def test_it_is_warned_then_stopped_once_and_says_why(
    limited: Container, later: Any, told: list[Any], agent: Any, alice_api: Any, alice: Any, client: Any
) -> None:
    """R52: the warning, the stop as its egg says, and what people read. Neither a second clock nor one that comes at once does more."""
    assert idle.look() == {"begun": 0, "ended": 0, "warned": 0, "stopped": 0, "used": 0}
    later(HALF_HOUR - 299)
    assert (idle.look()["warned"], idle.look()["warned"]) == (1, 0)
    told_of = Entry.objects.get(action="containers.idle_warned")
    assert told_of.message.startswith("Nobody has used it for 2") and "it stops in" in told_of.message
    assert told[-1][0] == "logs.append" and "[WARNING] Nobody has used it" in told[-1][1]["text"]
    seen = alice_api.get(f"/api/containers/{limited.pk}/idle").json()
    assert (seen["timeout_seconds"], seen["is_warned"], seen["used_by"]) == (HALF_HOUR, True, "start")
    client.force_login(alice)
    assert "Keep running" in client.get(f"/containers/{limited.pk}/head").content.decode()
    assert stop_of(limited) is None
    later(300)
    assert (idle.look()["stopped"], idle.look()["stopped"]) == (1, 0)
    command = stop_of(limited)
    assert command is not None
    assert Entry.objects.get(action="containers.stop").message == "Nobody used it for 30 min; its idle timeout is 30 min."
    agent.done(limited, "exited", exit_code=143)
    assert (limited.status, limited.desired, limited.restart_at) == ("stopped", "stopped", None)
    assert "because nobody used it" in client.get(f"/containers/{limited.pk}/head").content.decode()
    act(limited, "start", user=alice, actor=alice.as_actor())
    agent.done(limited, "running", started_at="2026-01-01T00:00:00Z")
    assert idle.look()["begun"] == 1 and idle.standing(limited).stopped_at is None


def test_whatever_people_do_with_it_is_a_use(limited: Container, later: Any, told: list[Any], alice: Any, bob_api: Any, alice_api: Any) -> None:
    """R52: console, command, file, upload, power and the button of the warning; each after the warning, each takes it back."""
    actor = alice.as_actor()

    def upload() -> None:
        from containers import transfers

        transfers.payload_of(limited, "files.upload", id="u" * 32, offset=0, length=1)

    ways: dict[str, Callable[[], Any]] = {
        "console": lambda: logs.write_stdin(limited, text="say hello", actor=actor),
        "command": lambda: execs.end_exec(execs.begin_exec(limited, user=alice, actor=actor, command="ls"), exit_code=0),
        "terminal": lambda: uses.used(limited.pk, "terminal"),
        "files": lambda: files.create(limited, path="/a", kind="file", actor=actor),
        "files ": upload,
        "wish": lambda: alice_api.post(f"/api/containers/{limited.pk}/idle"),
    }
    for how, use in ways.items():
        later(HALF_HOUR - 60)
        assert idle.look()["warned"] == 1, how
        uses._told.clear()
        use()
        stands = idle.standing(limited)
        assert (stands.used_by, stands.is_warned) == (how.strip(), False)
        assert stands.seconds_left > HALF_HOUR - 60
        later(120)
        assert idle.look()["stopped"] == 0, how
    assert bob_api.post(f"/api/containers/{limited.pk}/idle").status_code == 404
    act(limited, "restart", user=alice, actor=actor)
    assert idle.standing(limited).used_by == "power"


def test_work_that_goes_on_is_a_use(limited: Container, later: Any, told: list[Any], alice: Any) -> None:
    """R52: never while a backup, an operation (install, move), a command or a schedule's run goes on."""
    destination = BackupDestination.objects.create(name="d", kind="local", config={"folder": "/nowhere"})
    backup = Backup.objects.create(container=limited, container_name="web", destination=destination, key="k")
    operation = operations.open_operation("container.backup", user=alice, target_type="container", target_id=limited.pk, deadline_seconds=9999)
    schedule = Schedule.objects.create(container=limited, name="s", trigger="crash")
    work = {
        "backup": BackupWork.objects.create(kind="create", backup=backup, container=limited, operation=operation),
        "command": ExecRecord.objects.create(container=limited, user=alice, command="sleep 9999"),
        "schedule": ScheduleRun.objects.create(schedule=schedule, key="k", cause="c"),
    }
    for how, row in work.items():
        ExecRecord.objects.update(started_at=clock.now())
        later(HALF_HOUR + 1)
        assert idle.look()["used"] == 1, how
        assert idle.standing(limited).used_by == how
        row.delete()
    Container.objects.filter(pk=limited.pk).update(operation=operation)
    later(HALF_HOUR + 1)
    idle.look()
    assert idle.standing(limited).used_by == "operation"
    operation.delete()
    later(HALF_HOUR + 1)
    assert idle.look()["warned"] == 1


def test_traffic_is_a_use_and_chatter_is_none(limited: Container, later: Any, told: list[Any], node: Node) -> None:
    """R52: players and visitors come through ports, which no door of the panel sees. A counter that began anew is no traffic."""
    received = 10**9
    for minute in range(29):
        received = 0 if minute == 10 else received + 500
        later(60)
        traffic(limited, node, received)
    assert idle.look()["warned"] == 1
    later(60)
    traffic(limited, node, received + 100_000)
    assert idle.look()["used"] == 1
    assert (idle.standing(limited).used_by, idle.standing(limited).is_warned) == ("network", False)


def test_with_a_port_and_no_word_of_its_node_nobody_knows(limited: Container, later: Any, told: list[Any], node: Node) -> None:
    Port.objects.create(container=limited, node=node, host_port=30009, container_port=80)
    later(HALF_HOUR + 1)
    assert idle.look()["used"] == 1
    assert idle.standing(limited).used_by == "unknown"


def test_a_panel_that_was_down_past_the_deadline_warns_first(limited: Container, later: Any, told: list[Any]) -> None:
    later(5 * HALF_HOUR)
    assert idle.look()["warned"] == 1
    later(299)
    assert idle.look()["stopped"] == 0
    later(2)
    assert idle.look()["stopped"] == 1


def test_a_use_between_the_look_and_the_stop_wins(limited: Container, later: Any, told: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """R52: the rival is injected where it hurts."""
    later(HALF_HOUR)
    idle.look()
    later(301)
    real = idle.last_use

    def and_then_a_key(container: Container, since: datetime, *, now: datetime) -> Any:
        found = real(container, since, now=now)
        uses.used(limited.pk, "terminal", at_once=True)
        return found

    monkeypatch.setattr(idle, "last_use", and_then_a_key)
    assert idle.look()["stopped"] == 0
    assert stop_of(limited) is None and idle.standing(limited).used_by == "terminal"


def test_a_node_that_is_away_puts_it_off(limited: Container, later: Any, told: list[Any], node: Node) -> None:
    later(HALF_HOUR)
    idle.look()
    later(301)
    Node.objects.filter(pk=node.pk).update(gateway="", status="INACTIVE")
    assert idle.look()["stopped"] == 0
    assert Idleness.objects.get(pk=limited.pk).warned_at is not None
    Node.objects.filter(pk=node.pk).update(gateway="test", status="ACTIVE")
    assert idle.look()["stopped"] == 1


def test_the_setting_by_page_and_by_api(running: Container, alice_api: Any, alice: Any, client: Any) -> None:
    address = f"/api/containers/{running.pk}/settings"
    refused = alice_api.patch(address, {"idle_timeout_seconds": 59}, format="json")
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "idle_timeout_seconds")
    done = alice_api.patch(address, {"idle_timeout_seconds": 90}, format="json").json()
    assert (done["idle_timeout_seconds"], done["effects"]) == (90, {"idle_timeout_seconds": "now"})
    assert Entry.objects.filter(action="containers.update").latest("id").after == {"idle_timeout_seconds": 90}
    assert idle.look()["begun"] == 1
    client.force_login(alice)
    page = f"/containers/{running.pk}/settings"
    assert 'value="1.5"' in client.get(page).content.decode()
    assert client.post(page, {"section": "care", "auto_start": "on", "idle_minutes": "0.5"}).status_code == 400
    client.post(page, {"section": "care", "auto_start": "on", "done": "", "timeout_seconds": "900"})
    assert ContainerSettings.objects.get(pk=running.pk).idle_timeout_seconds == 90
    client.post(page, {"section": "care", "auto_start": "on", "idle_minutes": "0"})
    assert idle.standing(running).stops_at is None
    assert alice_api.post(f"/api/containers/{running.pk}/idle").json()["code"] == "not_idle_limited"
    with pytest.raises(Conflict):
        idle.keep_running(running, actor=SYSTEM)


def test_a_session_has_one_from_the_start_and_the_job_runs(make: Any, agent: Any, settings: Any) -> None:
    settings.SESSION_IDLE_TIMEOUT = 120
    session, _ = make("s", is_session=True)
    agent.done(session, "running", started_at="2026-01-01T00:00:00Z")
    run = jobs.run("containers.idle", trigger="person")
    assert run is not None and (run.status, run.result["begun"]) == ("succeeded", 1)
    assert Lease.objects.filter(pk="job:containers.idle").exists()
    assert 60 < idle.standing(session).seconds_left <= 120
