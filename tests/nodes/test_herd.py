"""Many agents at once, and agents that are stopped (SECURITY J13, M15, R02, R07, R23)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import WebSocketException

from agent.backoff import Backoff
from agent.protocol import messages as wire
from agent.protocol.commands import StartPayload
from audit.services import SYSTEM
from lormas.common import live
from nodes import commands, tokens
from nodes.models import Command, Node
from nodes.services import register_node
from tests.e2e.stack import AgentProcess
from tests.nodes.rig import Panel, fake_agent, hello, joined

pytestmark = [pytest.mark.redis, pytest.mark.django_db(transaction=True)]


@contextlib.contextmanager
def going_first(*processes: int) -> Iterator[None]:
    """These run before whatever else the machine is made to do beside a test that measures a time. A right of root's; for others nothing changes."""

    def place(priority: int) -> None:
        for task in [task for process in processes for task in Path(f"/proc/{process}/task").glob("*")]:
            with contextlib.suppress(PermissionError, ProcessLookupError):
                os.setpriority(os.PRIO_PROCESS, int(task.name), priority)

    was = os.getpriority(os.PRIO_PROCESS, 0)
    place(-15)
    try:
        yield
    finally:
        place(was)


@pytest.fixture
def second_panel(panel: Panel, tmp_path: Path) -> Iterator[Panel]:
    """Another web process on the same database and Redis."""
    process = Panel(log=tmp_path / "second.log").start()
    yield process
    process.stop()


async def test_a_socket_on_one_process_takes_commands_and_questions_of_another(
    panel: Panel, second_panel: Panel, registered: Any, in_thread: Any, until: Any
) -> None:
    """R23: nothing is found in one process's memory only. A newer connection on the other process replaces the older at once."""
    node, token = registered
    async with joined(panel.url, token) as first:
        made = await in_thread(lambda: commands.enqueue(node, "container.start", payload=StartPayload(), subject_id=uuid.uuid4()))
        assert (await first.expect(wire.Command)).id == str(made.pk)
        question = asyncio.create_task(live.hub().ask_node(node.pk, "node.facts"))
        rpc = await first.expect(wire.Rpc)
        await first.send(wire.RpcReply(request_id=rpc.request_id, ok=True, data={"facts": {"hostname": "x"}}))
        assert await question == {"facts": {"hostname": "x"}}
        async with joined(second_panel.url, token) as second:
            assert (await first.expect(wire.Refused, 60)).code == "replaced"
            assert (await second.expect(wire.Command)).id == str(made.pk), "what was not acknowledged comes again"
            await second.send(wire.Result(command_id=str(made.pk), ok=True))
            await second.expect(wire.ResultAck)
    assert await until(lambda: Command.objects.filter(pk=made.pk, state="done").exists())


@pytest.mark.slow
@pytest.mark.timeout(240)
async def test_two_hundred_agents_are_back_within_thirty_seconds_after_a_panel_restart(panel: Panel, in_thread: Any, until: Any) -> None:
    """J13, R02: with the real agent's back-off; the panel is killed and started again."""

    def register() -> list[str]:
        return [tokens.issue(register_node(name=f"n{number}", actor=SYSTEM)[0]) for number in range(200)]

    given = await in_thread(register)
    stop = asyncio.Event()

    async def one(number: int, token: str) -> None:
        backoff = Backoff(uniform=random.Random(number).uniform)
        while not stop.is_set():
            begun = time.monotonic()
            try:
                async with fake_agent(panel.url, token, say=hello(instance_id=str(number))) as agent:
                    await agent.expect(wire.Welcome, 60)
                    while True:
                        await agent.beat()
                        try:
                            await agent.receive(10)
                        except TimeoutError:
                            continue
            except (OSError, WebSocketException, TimeoutError):
                backoff.connected_for(time.monotonic() - begun)
                await asyncio.sleep(backoff.next())

    agents = [asyncio.create_task(one(number, token)) for number, token in enumerate(given)]
    try:
        await until(lambda: Node.objects.filter(status="ACTIVE").exclude(gateway="").count() == 200, seconds=60, what="all 200 in")
        epochs = await in_thread(lambda: dict(Node.objects.values_list("pk", "session_epoch")))
        await asyncio.to_thread(panel.kill)
        await asyncio.to_thread(panel.start)
        begun = time.monotonic()
        assert panel.process is not None
        with going_first(panel.process.pid, os.getpid()):
            await until(lambda: all(epoch > epochs[pk] for pk, epoch in Node.objects.values_list("pk", "session_epoch")), seconds=40, what="all back")
            assert time.monotonic() - begun <= 30
        assert await in_thread(lambda: Node.objects.filter(status="ACTIVE").count()) == 200, "nobody was blamed"
    finally:
        stop.set()
        for task in agents:
            task.cancel()
        await asyncio.gather(*agents, return_exceptions=True)


@pytest.mark.slow
@pytest.mark.waits
@pytest.mark.docker
@pytest.mark.timeout(240)
async def test_a_stopped_agent_is_found_within_forty_seconds_and_never_before_twenty_and_comes_back(
    panel: Panel, registered: Any, tmp_path: Path, in_thread: Any, until: Any
) -> None:
    """R05, R07, R09: SIGSTOP: the socket stays open, nothing comes."""
    node, token = registered
    agent = AgentProcess(data=tmp_path / "agent", panel_url=panel.url, token=token).start()

    def status() -> str:
        return str(Node.objects.values_list("status", flat=True).get(pk=node.pk))

    try:
        await until(lambda: status() == "ACTIVE", seconds=30)
        await asyncio.sleep(36)  # past the panel's own grace at its start
        assert agent.process is not None
        agent.process.send_signal(signal.SIGSTOP)
        begun = time.monotonic()
        seen: dict[str, float] = {}
        while "INACTIVE" not in seen and time.monotonic() - begun < 60:
            seen.setdefault(await in_thread(status), time.monotonic() - begun)
            await asyncio.sleep(0.1)
        assert 15 < seen["NOT_READY"] < seen["INACTIVE"] <= 40, seen
        assert seen["INACTIVE"] >= 20, seen
        agent.process.send_signal(signal.SIGCONT)
        begun = time.monotonic()
        await until(lambda: status() == "ACTIVE", seconds=30)
        assert time.monotonic() - begun <= 15
    finally:
        if agent.process is not None:
            agent.process.send_signal(signal.SIGCONT)
        await asyncio.to_thread(agent.stop)
