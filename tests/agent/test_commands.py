"""The dispatcher: accepted on disk, carried out once, answered until acknowledged (SECURITY A04, R04, R18, R19, R21, R22)."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import threading
import time
import uuid
from typing import Any

import msgspec
import pytest

from agent.protocol import commands
from agent.protocol import messages as wire
from agent.protocol.commands import CreatePayload, KillPayload
from agent.runtimes.base import RuntimeFailure
from tests.agent.conftest import command_of, spec_of
from tests.agent.tiny import TinyRuntime


async def test_create_attaches_before_start_and_the_ack_comes_first(inside: Any) -> None:
    async with inside() as i:
        command = command_of("container.create")
        order: list[str] = []
        i.runtime.on = lambda verb: order.append(f"{verb} after {len(i.logs.calls)} log calls")
        result = await i.run(command)
        assert (result.ok, result.data["runtime_ref"]) == (True, "ref-1")
        assert order == ["create after 0 log calls", "start after 1 log calls"]
        assert isinstance(i.sent[0], wire.Ack)
        assert result.report is not None
        assert (result.report.state, result.report.cause, result.report.epoch) == ("running", "command", 1)


async def test_a_repeat_is_answered_from_the_journal_and_runs_nothing_again(inside: Any) -> None:
    """R18."""
    async with inside() as i:
        command = command_of("container.create")
        first = await i.run(command)
        for _ in range(3):
            await i.dispatcher.receive(command)
        assert [r.data for r in i.of(wire.Result)] == [first.data] * 4
        assert i.runtime.calls == ["create", "start"]
        await i.dispatcher.acknowledged(command.id)
        await i.dispatcher.receive(command)
        assert i.runtime.calls == ["create", "start"]


async def test_a_repeat_while_it_runs_is_only_acknowledged(inside: Any) -> None:
    async with inside() as i:
        gate = i.runtime.gates["create"] = asyncio.Event()
        command = command_of("container.create")
        await i.dispatcher.receive(command)
        await i.until(lambda: i.runtime.calls == ["create"])
        await i.dispatcher.receive(command)
        assert len(i.of(wire.Ack)) == 2
        gate.set()
        await i.settled(command)
        assert i.runtime.calls == ["create", "start"]


async def test_what_is_being_accepted_when_the_link_is_cut_is_carried_out(inside: Any) -> None:
    """R04: it is on disk, so a repeat is only acknowledged; nobody else would give it to a lane before the agent is restarted."""
    async with inside() as i:
        writing, slow_disk = threading.Event(), threading.Event()
        i.outbox._db.set_trace_callback(lambda sql: sql.startswith("INSERT") and (writing.set() or slow_disk.wait(60)))
        command = command_of("container.create")
        carrier = asyncio.create_task(i.dispatcher.receive(command))
        await i.until(writing.is_set)
        carrier.cancel()
        await asyncio.gather(carrier, return_exceptions=True)
        slow_disk.set()
        await i.dispatcher.receive(command)  # at the next connection
        assert (await i.settled(command)).ok
        assert i.runtime.calls == ["create", "start"]


async def test_results_are_kept_over_a_restart_until_acknowledged(inside: Any) -> None:
    runtime = TinyRuntime()
    async with inside(runtime) as i:
        command = command_of("container.create")
        result = await i.run(command)
    async with inside(runtime) as again:
        assert [r.command_id for r in await again.outbox.unacknowledged_results()] == [command.id]
        assert await again.outbox.known_commands() == [command.id]
        assert (await again.outbox.unacknowledged_results())[0].data == result.data
        await again.dispatcher.acknowledged(command.id)
        assert await again.outbox.unacknowledged_results() == []


UNKNOWN = [
    *("", "container.selfdestruct", "node.sync", "logs.read", "__class__", "container.create\x00", "exec.run"),
    *(f"/v1.43{path}" for path in ("/plugins/pull", "/containers/create?name=x", "/exec/x/start", "/build", "/swarm/init", "/auth", "/system/df")),
    *(f"{verb} /plugins/{number}/enable" for verb in ("GET", "POST", "PUT", "DELETE") for number in range(10)),
    *(name for name in dir(TinyRuntime)),
    *(odd for known in commands.COMMANDS for odd in (known.upper(), f" {known}", f"{known} ", f"{known}.x", known.replace(".", "/"), f"{known}\n")),
]


async def test_unknown_commands_are_refused(inside: Any) -> None:
    """A04, CVE-2026-44848: two hundred and more that are not on the list: paths of the engine, its methods, near misses of known ones."""
    assert len(set(UNKNOWN)) > 200
    async with inside() as i:
        for kind in dict.fromkeys(UNKNOWN):
            result = await i.run(command_of(kind))
            assert result.error is not None and result.error.code == "unknown_command", kind
        assert i.runtime.calls == []


async def test_bad_payloads_are_refused(inside: Any) -> None:
    async with inside() as i:
        for payload in ({}, {"spec": 5}, {"spec": {"container_id": "x"}}):
            result = await i.run(msgspec.structs.replace(command_of("container.create"), payload=payload))
            assert result.error is not None and result.error.code == "bad_payload"
        assert i.runtime.calls == []


async def test_past_deadline_is_expired_in_the_panels_time(inside: Any) -> None:
    """R31: the deadline is told in the panel's clock."""
    async with inside() as i:
        result = await i.run(command_of("container.create", deadline_seconds=-1))
        assert result.error is not None and result.error.code == "expired"
        i.dispatcher.clock_offset = -3600.0  # the panel's clock is an hour behind
        result = await i.run(command_of("container.create", deadline_seconds=-3500))
        assert result.ok


async def test_a_lower_epoch_than_known_is_stale(inside: Any) -> None:
    """R22, also over a restart."""
    runtime = TinyRuntime()
    container_id = str(uuid.uuid4())
    async with inside(runtime) as i:
        assert (await i.run(command_of("container.create", container_id, epoch=7))).ok
    async with inside(runtime) as i:
        stale = await i.run(command_of("container.stop", container_id, epoch=6))
        assert stale.error is not None and stale.error.code == "stale_epoch"
        assert "stop" not in runtime.calls
        assert (await i.run(command_of("container.stop", container_id, epoch=8))).ok


async def test_one_at_a_time_per_container_and_four_in_all(inside: Any) -> None:
    async with inside() as i:
        gate = i.runtime.gates["create"] = asyncio.Event()
        commands = [command_of("container.create") for _ in range(9)]
        same = [command_of("container.start", commands[0].container_id), command_of("container.stop", commands[0].container_id)]
        for command in [*commands, *same]:
            await i.dispatcher.receive(command)
        await i.until(lambda: i.runtime.in_flight == 4)
        await asyncio.sleep(0.05)
        assert i.runtime.in_flight == 4
        gate.set()
        for command in [*commands, *same]:
            assert (await i.settled(command)).ok
        assert i.runtime.most_in_flight == 4
        assert i.runtime.reports[commands[0].container_id].state == "exited"


async def test_kill_overtakes_what_waits_and_what_runs(inside: Any) -> None:
    """R21."""
    async with inside() as i:
        container_id = str(uuid.uuid4())
        await i.run(command_of("container.create", container_id))
        gate = i.runtime.gates["stop"] = asyncio.Event()
        stop, start = command_of("container.stop", container_id), command_of("container.start", container_id)
        await i.dispatcher.receive(stop)
        await i.dispatcher.receive(start)
        await i.until(lambda: "stop" in i.runtime.calls)
        kill = command_of("container.kill", container_id, payload=KillPayload())
        await i.dispatcher.receive(kill)
        for overtaken in (stop, start):
            result = await i.settled(overtaken)
            assert result.error is not None and result.error.code == "cancelled"
        gate.set()
        assert (await i.settled(kill)).ok
        assert i.runtime.reports[container_id].state == "exited"
        assert (await i.run(command_of("container.start", container_id))).ok, "the lane is free again"


@pytest.mark.parametrize("failed", [False, True])
async def test_kills_that_come_while_one_ends_leave_nothing_open(inside: Any, monkeypatch: pytest.MonkeyPatch, failed: bool) -> None:
    """R18, R21: cancelled twice, or while a failure was being written, a start was open for ever, and made the removed container anew when the agent
    started the next time."""
    async with inside() as i:
        container_id = str(uuid.uuid4())
        await i.run(command_of("container.create", container_id))
        verb, look = asyncio.Event(), asyncio.Event()
        i.runtime.gates["stop"] = verb
        stop, kills = command_of("container.stop", container_id), [command_of("container.kill", container_id) for _ in range(3)]
        await i.dispatcher.receive(stop)
        await i.until(lambda: "stop" in i.runtime.calls)
        looks = []
        inspect = i.runtime.inspect

        async def slow(asked: str) -> Any:
            looks.append(asked)
            await look.wait()
            return await inspect(asked)

        monkeypatch.setattr(i.runtime, "inspect", slow)
        if failed:
            i.runtime.broken = "the engine is away"
            verb.set()
            await i.until(lambda: looks)
            i.runtime.broken = ""
        for kill in kills:
            await i.dispatcher.receive(kill)
            await i.until(lambda: looks)
            for _ in range(20):
                await asyncio.sleep(0)
        verb.set()
        look.set()
        for command in (stop, *kills):
            await i.settled(command)
        assert await i.outbox.open_commands() == []


async def test_a_start_in_flight_that_lands_after_the_kill_is_killed_too(inside: Any) -> None:
    async with inside() as i:
        container_id = str(uuid.uuid4())
        await i.run(command_of("container.create", container_id))
        await i.run(command_of("container.stop", container_id))
        gate = i.runtime.gates["start"] = asyncio.Event()
        start = command_of("container.start", container_id)
        await i.dispatcher.receive(start)
        await i.until(lambda: i.runtime.calls[-1] == "start")
        kill = command_of("container.kill", container_id)
        await i.dispatcher.receive(kill)
        await i.until(lambda: i.runtime.calls[-1] == "kill")
        gate.set()
        assert (await i.settled(kill)).ok
        assert i.runtime.reports[container_id].state == "exited"


async def test_failures_carry_their_code_and_leave_the_lane_free(inside: Any) -> None:
    async with inside() as i:
        missing = await i.run(command_of("container.start"))
        assert missing.error is not None and missing.error.code == "no_such_container"
        assert missing.report is None, "nothing is said of what never was here"

        def explode(verb: str) -> None:
            raise RuntimeFailure("port_taken", "Port 80 is in use.") if verb == "start" else ValueError("bug")

        i.runtime.on = explode
        broken = await i.run(command_of("container.create"))
        assert broken.error is not None and broken.error.code == "internal"


async def test_pull_only_if_missing_and_the_old_one_stays_if_the_new_image_fails(inside: Any) -> None:
    """R57."""
    async with inside() as i:
        container_id = str(uuid.uuid4())
        pulled = CreatePayload(spec=spec_of(container_id, "fresh:1"))
        assert (await i.run(command_of("container.create", container_id, payload=pulled))).ok
        assert [image for image, _ in i.runtime.pulled] == ["fresh:1"]

        def no_pull(verb: str) -> None:
            if verb == "pull":
                raise RuntimeFailure("no_such_image", "There is no such image.")

        i.runtime.on = no_pull
        bad = CreatePayload(spec=spec_of(container_id, "gone:1"), replace=True)
        result = await i.run(command_of("container.create", container_id, payload=bad))
        assert result.error is not None and result.error.code == "no_such_image"
        assert i.runtime.reports[container_id].state == "running"
        assert "remove" not in i.runtime.calls


async def test_registry_credentials_never_rest_on_disk(inside: Any) -> None:
    """I01; and a command that had them and did not reach the engine is forgotten, so that the panel sends it again."""
    runtime = TinyRuntime()
    runtime.gates["pull"] = asyncio.Event()
    container_id = str(uuid.uuid4())
    auth = wire.RegistryAuth(server="r", username="u", password="canary-password")
    payload = CreatePayload(spec=spec_of(container_id, "private:1"), registry_auth=auth)
    command = command_of("container.create", container_id, payload=payload)
    async with inside(runtime) as i:
        await i.dispatcher.receive(command)
        await i.until(lambda: "pull" in runtime.calls)
        for file in i.folder.iterdir():
            assert b"canary-password" not in file.read_bytes()
            assert not file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO) or file.suffix != ".sqlite3"
    async with inside(runtime) as again:
        await again.dispatcher.recover()
        assert await again.outbox.known_commands() == []
        runtime.gates["pull"].set()
        assert (await again.run(command)).ok
        assert runtime.pulled[-1][1].password == "canary-password"
    with sqlite3.connect(again.folder / "journal.sqlite3") as db:
        assert db.execute("SELECT frame FROM commands").fetchall() == [(None,)], "payloads are wiped at the end"


async def interrupted(inside: Any, runtime: TinyRuntime, command: wire.Command, *, at: str) -> None:
    """An agent that dies in the engine verb `at`: what it had begun stays as it is."""
    runtime.gates[at] = asyncio.Event()
    async with inside(runtime) as i:
        await i.dispatcher.receive(command)
        await i.until(lambda: runtime.calls and runtime.calls[-1] == at)
    runtime.gates.clear()


@pytest.mark.parametrize("at", ["create", "start"])
async def test_a_create_that_died_goes_on_without_a_twin(inside: Any, at: str) -> None:
    """R04."""
    runtime = TinyRuntime()
    command = command_of("container.create")
    await interrupted(inside, runtime, command, at=at)
    async with inside(runtime) as i:
        await i.dispatcher.recover()
        result = await i.settled(command)
        assert result.ok
        assert len(runtime.reports) == 1
        assert runtime.reports[command.container_id].operation_id == command.id
        assert runtime.reports[command.container_id].state == "running"


async def test_a_create_whose_container_already_ran_and_ended_is_not_started_twice(inside: Any) -> None:
    runtime = TinyRuntime()
    command = command_of("container.create")
    await interrupted(inside, runtime, command, at="start")
    now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() + 1)) + "Z"
    runtime.reports[command.container_id] = msgspec.structs.replace(
        runtime.reports[command.container_id], state="exited", exit_code=0, started_at=now, finished_at=now
    )
    before = runtime.calls.count("start")
    async with inside(runtime) as i:
        await i.dispatcher.recover()
        assert (await i.settled(command)).ok
        assert runtime.calls.count("start") == before


@pytest.mark.parametrize(("kind", "at"), [("container.stop", "stop"), ("container.remove", "remove"), ("container.restart", "stop")])
async def test_other_acts_that_died_go_on(inside: Any, kind: str, at: str) -> None:
    runtime = TinyRuntime()
    container_id = str(uuid.uuid4())
    async with inside(runtime) as i:
        await i.run(command_of("container.create", container_id))
    old_start = msgspec.structs.replace(runtime.reports[container_id], started_at="2020-01-01T00:00:00Z")
    runtime.reports[container_id] = old_start
    command = command_of(kind, container_id)
    await interrupted(inside, runtime, command, at=at)
    async with inside(runtime) as i:
        await i.dispatcher.recover()
        assert (await i.settled(command)).ok
    expected = {"container.stop": "exited", "container.remove": None, "container.restart": "running"}[kind]
    assert getattr(runtime.reports.get(container_id), "state", None) == expected


async def test_a_signal_that_may_have_been_sent_is_interrupted_not_sent_twice(inside: Any) -> None:
    runtime = TinyRuntime()
    container_id = str(uuid.uuid4())
    async with inside(runtime) as i:
        await i.run(command_of("container.create", container_id))
    command = command_of("container.kill", container_id, payload=KillPayload(signal="SIGHUP"))
    await interrupted(inside, runtime, command, at="kill")
    async with inside(runtime) as i:
        await i.dispatcher.recover()
        result = await i.settled(command)
        assert result.error is not None and result.error.code == "interrupted"
        assert runtime.calls.count("kill") == 1


async def test_settled_ids_are_kept_a_day_for_late_repeats(inside: Any) -> None:
    async with inside() as i:
        command = command_of("container.create")
        await i.run(command)
        await i.dispatcher.acknowledged(command.id)
        await i.outbox.purge()
        assert await i.outbox.accept(command, deadline_unix=0) is not None
        with sqlite3.connect(i.folder / "journal.sqlite3") as db:
            db.execute("UPDATE commands SET settled = settled - 90000")
        await i.outbox.purge()
        assert await i.outbox.accept(command, deadline_unix=0) is None


async def test_any_order_of_duplicates_settles_each_command_once(inside: Any) -> None:
    """R18, R19: every command delivered three times in random order; one engine act each, one distinct result each."""
    import random

    shuffled = random.Random(7)
    async with inside() as i:
        commands = [command_of("container.create") for _ in range(12)]
        deliveries = commands * 3
        shuffled.shuffle(deliveries)
        for command in deliveries:
            await i.dispatcher.receive(command)
        for command in commands:
            await i.settled(command)
        assert (i.runtime.calls.count("create"), i.runtime.calls.count("start")) == (12, 12)
        seen: dict[str, set[bytes]] = {}
        for result in i.of(wire.Result):
            seen.setdefault(result.command_id, set()).add(msgspec.json.encode(result))
        assert all(len(variants) == 1 for variants in seen.values())


async def test_a_pull_that_goes_on_is_given_up_when_a_person_cancels_it(inside: Any) -> None:
    """J07: what touches a container is never torn so."""
    async with inside() as i:
        i.runtime.capabilities = i.runtime.capabilities | {"pull"}
        i.runtime.gates["pull"] = i.runtime.gates["create"] = asyncio.Event()
        pull = msgspec.structs.replace(command_of("node.image_pull"), container_id="", payload={"image": "big:1"})
        create = command_of("container.create")
        for command in (pull, create):
            await i.dispatcher.receive(command)
        await i.until(lambda: sorted(i.runtime.calls) == ["create", "pull"])
        assert not i.dispatcher.cancel(create.id) and not i.dispatcher.cancel(create.container_id) and not i.dispatcher.cancel("none")
        assert i.dispatcher.cancel(pull.id)
        ended = await i.settled(pull)
        assert (ended.ok, ended.error.code) == (False, "cancelled")
        assert not i.dispatcher.cancel(pull.id) and "big:1" not in i.runtime.images
