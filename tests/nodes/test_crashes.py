"""kill -9 of the agent at each point of a command, of the panel between command and result, with the real engine (SECURITY R01, R03, R04, R18).

Whatever dies: one container, one engine act that counts, one settled command.
"""

from __future__ import annotations

import asyncio
import random
import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent import crash
from agent.protocol import commands as kinds
from agent.protocol.messages import ContainerSpec, Limits, StopSpec
from nodes import commands
from nodes.models import Command, Node
from tests.e2e.conftest import engine_containers, machine_engine, remove_leftovers
from tests.e2e.stack import IMAGE, AgentProcess
from tests.nodes.rig import Panel

pytestmark = [pytest.mark.docker, pytest.mark.redis, pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]
QUICK = StopSpec(grace_seconds=1)


class Rig:
    """A node whose agent is a process on the real engine."""

    def __init__(self, node: Node, agent: AgentProcess, in_thread: Any, until: Any) -> None:
        self.node = node
        self.agent = agent
        self.in_thread = in_thread
        self.until = until
        self.containers: list[str] = []

    def new(self) -> str:
        self.containers.append(str(uuid.uuid4()))
        return self.containers[-1]

    def spec(self, container_id: str) -> ContainerSpec:
        return ContainerSpec(
            container_id=container_id, name="crash", image=IMAGE, command=["sleep", "3600"], limits=Limits(memory_bytes=32 * 1024**2), stop=QUICK
        )

    async def ask(self, kind: str, container_id: str) -> Command:
        payload: Any = {
            "container.create": lambda: kinds.CreatePayload(spec=self.spec(container_id), pull="never"),
            "container.start": kinds.StartPayload,
            "container.stop": lambda: kinds.StopPayload(stop=QUICK),
            "container.restart": lambda: kinds.RestartPayload(stop=QUICK),
            "container.kill": kinds.KillPayload,
            "container.remove": kinds.RemovePayload,
        }[kind]()
        made: Command = await self.in_thread(
            lambda: commands.enqueue(self.node, kind, payload=payload, subject_id=container_id, epoch=1, deadline_seconds=120)
        )
        return made

    async def ended(self, command: Command, seconds: float = 60) -> Command:
        open_states = ("queued", "sent", "acked")
        found: Command = await self.until(
            lambda: Command.objects.filter(pk=command.pk).exclude(state__in=open_states).first(), seconds=seconds, what=f"end of {command.kind}"
        )
        return found

    async def active(self) -> None:
        await self.until(lambda: Node.objects.filter(pk=self.node.pk, status="ACTIVE").exclude(gateway="").exists(), seconds=30)

    async def died(self) -> None:
        assert self.agent.process is not None
        code = await asyncio.to_thread(self.agent.process.wait, 60)
        assert code == -signal.SIGKILL


def engine(container_id: str) -> list[dict[str, Any]]:
    """What the engine has under this id."""
    return [machine_engine().inspect_container(found) for found in engine_containers(container_id)]


@pytest.fixture
async def rig(panel: Panel, registered: Any, tmp_path: Path, in_thread: Any, until: Any) -> AsyncIterator[Rig]:
    node, token = registered
    agent = AgentProcess(data=tmp_path / "agent", panel_url=panel.url, token=token, LORMAS_TESTING="1")
    made = Rig(node, agent, in_thread, until)
    yield made
    await asyncio.to_thread(agent.stop)
    await asyncio.to_thread(remove_leftovers, made.containers)


POINTS = [point for point in crash.POINTS if not point.startswith("move_")]  # those of moves: tests/e2e/test_moving.py
ALWAYS = [("container.create", point) for point in POINTS] + [("container.restart", "after_engine"), ("container.remove", "before_result")]
OTHERS = [
    (kind, point)
    for kind in ("container.start", "container.restart", "container.stop", "container.kill", "container.remove")
    for point in POINTS
    if (kind, point) not in ALWAYS and not (kind in ("container.stop", "container.kill") and "engine" in point)
]


@pytest.mark.parametrize(("kind", "point"), [*ALWAYS, *(pytest.param(*case, marks=pytest.mark.slow) for case in OTHERS)])
async def test_an_agent_killed_at_any_point_leaves_one_container_and_one_end(rig: Rig, kind: str, point: str) -> None:
    container_id = rig.new()
    if kind != "container.create":
        rig.agent.start()
        for earlier in ("container.create", "container.stop") if kind == "container.start" else ("container.create",):
            assert (await rig.ended(await rig.ask(earlier, container_id))).state == "done"
        await asyncio.to_thread(rig.agent.stop)
    before = await asyncio.to_thread(engine, container_id)
    rig.agent.start(LORMAS_AGENT_CRASH_AT=point)
    command = await rig.ask(kind, container_id)
    await rig.died()
    assert (await rig.in_thread(Command.objects.get, pk=command.pk)).is_open
    rig.agent.start()
    done = await rig.ended(command)
    assert (done.state, done.error_code) == ("done", "")
    seen = await asyncio.to_thread(engine, container_id)
    expected = {"container.create": True, "container.start": True, "container.restart": True, "container.remove": None}.get(kind, False)
    assert [one["State"]["Running"] for one in seen] == ([] if expected is None else [expected])
    if kind == "container.create":
        assert seen[0]["Config"]["Labels"]["lormas.operation"] == str(command.pk)
    elif seen:
        assert seen[0]["Id"] == before[0]["Id"], "the same one"
    if kind == "container.restart":
        assert seen[0]["State"]["StartedAt"] > before[0]["State"]["StartedAt"]


async def test_a_panel_killed_between_command_and_result_loses_and_doubles_nothing(rig: Rig, panel: Panel) -> None:
    """R01: killed before the command is sent, while it runs, and when its result is on the way."""
    rig.agent.start()
    await rig.active()
    for pause in (0.0, 0.02, 0.1, 0.4):
        container_id = rig.new()
        command = await rig.ask("container.create", container_id)
        await asyncio.sleep(pause)
        await asyncio.to_thread(panel.kill)
        await asyncio.to_thread(panel.start)
        done = await rig.ended(command)
        assert (done.state, done.error_code) == ("done", "")
        assert len(await asyncio.to_thread(engine, container_id)) == 1


@pytest.mark.slow
async def test_a_storm_of_kills_over_a_stream_of_commands(rig: Rig, panel: Panel) -> None:
    """R01, R03, R18: 40 commands over 5 containers, the agent killed eight times and the panel three times at random moments."""
    chance = random.Random(5)
    rig.agent.start()
    await rig.active()
    ids = [rig.new() for _ in range(5)]
    asked: list[Command] = [await rig.ask("container.create", container_id) for container_id in ids]
    last: dict[str, str] = {}
    over = asyncio.Event()

    async def killer() -> None:
        for count in range(11):
            await asyncio.sleep(chance.uniform(0.3, 1.5))
            if count % 4 == 3:
                await asyncio.to_thread(panel.kill)
                await asyncio.to_thread(panel.start)
            else:
                await asyncio.to_thread(rig.agent.kill)
                rig.agent.start()
        over.set()

    storm = asyncio.create_task(killer())
    while not over.is_set() or len(asked) < 40:
        container_id = chance.choice(ids)
        kind = chance.choice(["container.start", "container.stop", "container.restart", "container.start"])
        asked.append(await rig.ask(kind, container_id))
        last[container_id] = kind
        await asyncio.sleep(chance.uniform(0.05, 0.4))
    await storm
    for command in asked:
        assert (await rig.ended(command, seconds=120)).error_code == ""
    for container_id in ids:
        (one,) = await asyncio.to_thread(engine, container_id)
        assert one["State"]["Running"] is (last.get(container_id) != "container.stop")
    assert not await rig.in_thread(lambda: Command.objects.filter(state__in=("queued", "sent", "acked")).exists())
