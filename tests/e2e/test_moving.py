"""Containers move with their files between two real engines, while panel, agents and links die (SECURITY R38), and are made anew elsewhere when their
node is lost (R39)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import docker as sdk
import pytest
from rest_framework.test import APIClient
from websockets.asyncio.client import connect

from accounts.services import sign_in
from agent import crash
from audit.services import SYSTEM
from containers.models import Container, Migration
from containers.models.moving import HELD
from containers.services import NewContainer, PortWish, create_container, migrate
from lormas.common import clock
from nodes.models import Command, Drain, Node, Operation
from nodes.services import register_node
from tests.e2e.conftest import Stack, in_thread, machine_engine, running_stack, until
from tests.e2e.second_engine import SecondEngine, second_engine
from tests.e2e.stack import IMAGE, AgentProcess, Link
from tests.e2e.test_engine_restart import engine_or_skip

pytestmark = [pytest.mark.docker, pytest.mark.redis, pytest.mark.slow, pytest.mark.django_db(transaction=True), pytest.mark.timeout(900)]

PROGRAM = """
[ -e /data/made ] || {
  echo made > /data/made; mkdir -p /data/a/b /data/empty; ln -s ../made /data/a/link; ln /data/made /data/again
  head -c 20000000 /dev/urandom > /data/big; i=0; while [ $i -lt 200 ]; do echo $i > /data/a/b/$i; i=$((i+1)); done
  chown -R 1234:5678 /data/a; chmod 4750 /data/a/b/7
}
echo run >> /data/runs
trap 'exit 0' TERM
while :; do sleep 0.1; done
"""
SUM = """cd $1 && find . ! -name runs \\( -type d -printf '%p %y %m %U %G\\n' -o -printf '%p %y %m %U %G %s %l\\n' \\) | sort | md5sum
find . -type f ! -name runs -exec md5sum {} + | sort | md5sum"""
"""Of files the size, too; that of a folder is its file system's business."""


def docker(host: str, *words: str) -> str:
    return subprocess.run(["docker", *(["-H", host] if host else []), *words], capture_output=True, text=True, timeout=60, check=True).stdout.strip()


class Pair:
    """Two nodes: `here` on the machine's engine, `there` on the second one; one panel."""

    def __init__(self, here: Stack, there: Stack, engine: SecondEngine) -> None:
        self.panel = here.panel
        self.stacks = {here.node.pk: here, there.node.pk: there}
        self.here, self.there = here, there
        self.hosts = {here.node.pk: "", there.node.pk: engine.host}
        # Asked again and again until something is so: a program of its own for each question would take more of the machine than the moving.
        self.engines = {here.node.pk: machine_engine(), there.node.pk: sdk.APIClient(base_url=engine.host, timeout=60)}

    def close(self) -> None:
        self.engines[self.there.node.pk].close()

    def other(self, node_id: Any) -> Stack:
        return next(stack for pk, stack in self.stacks.items() if pk != node_id)

    def running(self, container: Container) -> dict[str, list[str]]:
        """Engine containers that run, by node."""
        only = {"label": f"lormas.container={container.pk}"}
        return {self.stacks[pk].node.name: [one["Id"] for one in client.containers(filters=only)] for pk, client in self.engines.items()}

    def present(self, container: Container) -> dict[str, bool]:
        """Where its volume is."""
        name = f"lormas-{container.pk}"
        found = {pk: client.volumes(filters={"name": name})["Volumes"] or [] for pk, client in self.engines.items()}
        return {self.stacks[pk].node.name: name in (one["Name"] for one in volumes) for pk, volumes in found.items()}

    def checksum(self, container: Container) -> str:
        """Of all its files as its node has them, but for the count of its starts."""
        host = self.hosts[Container.objects.get(pk=container.pk).node_id]
        place = docker(host, "volume", "inspect", "-f", "{{.Mountpoint}}", f"lormas-{container.pk}")
        return subprocess.run(["sh", "-c", SUM, "sum", place], capture_output=True, text=True, timeout=60, check=True).stdout

    def starts(self, container: Container) -> int:
        host = self.hosts[Container.objects.get(pk=container.pk).node_id]
        place = docker(host, "volume", "inspect", "-f", "{{.Mountpoint}}", f"lormas-{container.pk}")
        file = Path(place) / "runs"
        return len(file.read_text().splitlines()) if file.exists() else 0


@pytest.fixture(scope="module")
def engine() -> Iterator[SecondEngine]:
    engine_or_skip()
    with second_engine() as made:
        yield made


@contextlib.asynccontextmanager
async def two_nodes(tmp_path: Path, engine: SecondEngine, **panel_environment: str) -> AsyncIterator[Pair]:
    """One panel, an agent on each engine."""
    async with running_stack(tmp_path, panel_environment=panel_environment) as here:
        node, token = await in_thread(register_node, name="there", actor=SYSTEM)
        first = random.randrange(20_000, 25_000, 20)
        await in_thread(lambda: Node.objects.filter(pk=node.pk).update(port_first=first, port_last=first + 19))
        link = Link(here.panel.port)
        await link.start()
        folder = tmp_path / "there"
        folder.mkdir()
        agent = AgentProcess(data=folder / "agent", panel_url=f"http://127.0.0.1:{link.port}", token=token, DOCKER_HOST=engine.host).start()
        there = Stack(panel=here.panel, link=link, agent=agent, node=node)
        try:
            await there.active()
            with contextlib.closing(Pair(here, there, engine)) as pair:
                yield pair
        finally:
            await asyncio.to_thread(agent.stop)
            await link.stop()


@pytest.fixture
async def pair(transactional_db: None, engine: SecondEngine, tmp_path: Path) -> AsyncIterator[Pair]:
    async with two_nodes(tmp_path, engine) as made:
        yield made


async def made(user: Any, node: Node, name: str = "web", **fields: Any) -> Container:
    wish = NewContainer(
        name=name,
        node=await in_thread(Node.objects.get, pk=node.pk),
        **{"image": IMAGE, "command": ["sh", "-c", PROGRAM], "mounts": [{"kind": "data", "target": "/data"}], "ports": [PortWish(8080)], **fields},
    )
    container, operation = await in_thread(create_container, user=user, actor=user.as_actor(), data=wish)
    await until(lambda: Operation.objects.get(pk=operation.pk).status == "succeeded", seconds=60, what=f"{name} made")
    await until(lambda: Container.objects.get(pk=container.pk).status == "running", what=f"{name} running")
    return container  # type: ignore[no-any-return]


async def go(pair: Pair, container: Container, user: Any) -> Operation:
    def begin() -> Operation:
        fresh = Container.objects.select_related("node", "operation").get(pk=container.pk)
        to = Node.objects.get(pk=pair.other(fresh.node_id).node.pk)
        return migrate.migrate(fresh, user=user, actor=user.as_actor(), to=to)

    found: Operation = await in_thread(begin)
    return found


async def ended(operation: Operation, seconds: float = 60) -> Operation:
    def over() -> Operation | None:
        row = Operation.objects.get(pk=operation.pk)
        return None if row.is_open else row

    try:
        found: Operation = await until(over, seconds=seconds, what=f"the move's end ({operation.pk})")
    except AssertionError as late:
        raise AssertionError(f"{late}; {await in_thread(standing, operation)}") from late
    return found


def standing(operation: Operation) -> str:
    """Where an act is, for whoever has to find out why it does not go on."""
    moves = Migration.objects.filter(operation=operation)
    begun = operation.created_at
    lines = [f"{m.phase} since {m.phase_since:%X}, deadline {m.deadline:%X}, waits for {m.commands}" for m in moves]
    lines += [f"{n.name}: {n.status} {n.status_reason} epoch {n.session_epoch}" for n in Node.objects.all()]
    made_since = Command.objects.filter(created_at__gte=begun).order_by("created_at")
    lines += [f"{c.created_at:%X} {c.pk} {c.kind} {c.state} tried {c.attempts} for {c.node.name}, until {c.deadline:%X}" for c in made_since]
    return "\n".join([f"begun {begun:%X}, now {clock.now():%X}", *lines])


async def settled(pair: Pair, container: Container) -> Container:
    """Runs in one place, and only there; nothing is on its way."""
    await until(
        lambda: (
            Container.objects.filter(pk=container.pk, status="running", operation=None).exists()
            and not Migration.objects.filter(container=container, phase__in=HELD).exists()
        ),
        seconds=60,
        what="it runs",
    )
    row: Container = await in_thread(lambda: Container.objects.select_related("node").get(pk=container.pk))
    found = await asyncio.to_thread(pair.running, container)
    assert row.node is not None
    assert {name: len(ids) for name, ids in found.items()} == {name: int(name == row.node.name) for name in found}, "one runs, where the panel says"
    return row


class Twins:
    """Looks all the time whether two run."""

    def __init__(self, pair: Pair, container: Container) -> None:
        self._pair, self._container = pair, container
        self.seen: list[str] = []
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Twins:
        self._task = asyncio.create_task(self._look())
        return self

    async def _look(self) -> None:
        while True:
            found = await asyncio.to_thread(self._pair.running, self._container)
            if sum(map(len, found.values())) > 1:
                self.seen.append(str(found))
            there = await asyncio.to_thread(self._pair.present, self._container)
            if not any(there.values()):
                self.seen.append("no copy of its files anywhere")
            await asyncio.sleep(0.3)

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


@contextlib.asynccontextmanager
async def hears(pair: Pair, user: Any) -> AsyncIterator[list[str]]:
    """Phases of moves as a browser of this person is told them."""
    token, phases = (await in_thread(sign_in, user, address=None, user_agent="test")).access, []
    headers = {"Authorization": f"Bearer {token}"}
    async with connect(f"{pair.panel.url.replace('http', 'ws', 1)}/ws", additional_headers=headers, proxy=None) as socket:
        await socket.send(json.dumps({"type": "subscribe", "topics": ["containers"], "id": 1}))

        async def listen() -> None:
            async for text in socket:
                message = json.loads(text)
                if message["type"] == "migration":
                    phases.append(message["phase"])
                elif message["type"] == "ping":
                    await socket.send(json.dumps({"type": "pong", "reply_to": message["id"]}))

        while json.loads(await socket.recv()).get("reply_to") != 1:  # from here on all is heard
            pass
        task = asyncio.create_task(listen())
        try:
            yield phases
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


VICTIMS = ("source agent", "target agent", "panel", "source link", "target link")
PHASES = ("prepare", "snapshot", "copy", "verify", "cut_over", "release")


POINTS = [point for point in crash.POINTS if point.startswith("move_")]
"""Of an agent that takes a container in: between its note and the copy, in the middle of the copy, before it reads what it has."""


def rounds() -> list[tuple[str, str]]:
    """Four of them. LORMAS_MOVES=all (or names of phases and points): each pair of phase and victim, and each point in the agent's code."""
    asked = os.environ.get("LORMAS_MOVES", "")
    if not asked:
        return [("move_taking", "target agent"), ("copy", "panel"), ("cut_over", "target agent"), ("verify", "source link")]
    pairs = [(phase, victim) for phase in PHASES for victim in VICTIMS if asked == "all" or phase in asked.split(",")]
    return [*pairs, *((point, "target agent") for point in POINTS if asked == "all" or point in asked.split(","))]


async def armed(stack: Stack, point: str) -> None:
    """Its agent anew, which will die at this point."""
    before = await in_thread(lambda: Node.objects.get(pk=stack.node.pk).session_epoch)
    await asyncio.to_thread(stack.agent.stop)
    stack.agent.start(LORMAS_TESTING="1", LORMAS_AGENT_CRASH_AT=point)
    there = Node.objects.filter(pk=stack.node.pk, status="ACTIVE", session_epoch__gt=before).exclude(gateway="")
    await until(there.exists, seconds=60, what="the agent is back")


async def kill(pair: Pair, victim: str, source: Stack, target: Stack) -> None:
    if not victim:
        return
    what, _, part = victim.rpartition(" ")
    stack = source if what == "source" else target
    if part == "panel":
        await asyncio.to_thread(pair.panel.kill)
        await asyncio.to_thread(pair.panel.start)
    elif part == "agent":
        await asyncio.to_thread(stack.agent.kill)
        stack.agent.start()
    else:
        stack.link.blocked = True
        stack.link.cut()
        await asyncio.sleep(1.5)
        stack.link.blocked = False


STUBBORN = "trap '' TERM; while :; do sleep 0.1; done"
"""Goes for nobody who asks."""


async def check_a_drain_gives_what_can_go_to_another_node_with_its_files_and_force_ends_the_rest(
    pair: Pair, goes: Container, alice: Any, bob: Any, root: Any
) -> None:
    """The plan tells before, the operation and its items while it goes; without force the deadline leaves what does not go, and names it; undrain
    starts again what was stopped, and leaves what has moved where it is."""
    api = APIClient()
    api.force_authenticate(root)
    here, there = pair.here.node, pair.there.node

    async def ask(method: str, act: str, body: Any = None) -> Any:
        answer = await in_thread(getattr(api, method), f"/api/nodes/{here.pk}/{act}", body, format="json")
        assert answer.status_code in (200, 202), answer.content
        return answer.json()

    stays = await made(alice, here, name="stays", command=["sh", "-c", STUBBORN], placement={"movable": False}, ports=[])
    patience = {"grace_seconds": 3600}
    await in_thread(lambda: Container.objects.filter(pk=stays.pk).update(spec={**Container.objects.get(pk=stays.pk).spec, "stop": patience}))
    files = await asyncio.to_thread(pair.checksum, goes)
    plan = {row["name"]: (row["act"], row["goes_to"]) for row in (await ask("get", "drain"))["containers"]}
    assert plan == {"web": ("move", there.name), "stays": ("stop", "")}

    async with Twins(pair, goes) as twins, hears(pair, alice) as told, hears(pair, bob) as told_bob:
        first = (await ask("post", "drain", {"deadline_seconds": 3600, "message": "New disks"}))["operation"]["id"]
        row = await settled_there(pair, goes, there)
        await until(lambda: "done" in told, what="the sockets tell the end")
        seen = await in_thread(Drain.objects.get, operation_id=first)
        assert {item["name"]: item["state"] for item in seen.items}["stays"] == "busy" and seen.message == "New disks"
        monitored = await in_thread(Operation.objects.get, pk=first)
        assert (monitored.status, monitored.message) == ("running", "1 of 2 containers gone")
    assert twins.seen == [] and told_bob == []
    assert {"snapshot", "copy", "verify", "cut_over", "done"} <= set(told)
    assert row.node_id == there.pk and await asyncio.to_thread(pair.checksum, goes) == files
    assert await in_thread(lambda: Migration.objects.get(container=goes).reason) == "New disks"

    await in_thread(lambda: Drain.objects.filter(pk=seen.pk).update(deadline=clock.now()))
    failed = await ended(await in_thread(Operation.objects.get, pk=first))
    assert (failed.status, failed.error_code) == ("failed", "deadline") and "stays" in failed.error_detail and "web" not in failed.error_detail
    assert len(pair.running(stays)[here.name]) == 1, "it is left alone"

    forced = (await ask("post", "drain", {"deadline_seconds": 1, "force": True}))["operation"]["id"]
    done = await ended(await in_thread(Operation.objects.get, pk=forced))
    assert (done.status, done.result) == ("succeeded", {"moved": 0, "stopped": 1}), done.error_detail
    assert pair.running(stays) == {here.name: [], there.name: []}
    assert not await in_thread(lambda: Node.objects.get(pk=here.pk).is_schedulable)

    await ask("post", "undrain")
    await until(lambda: len(pair.running(stays)[here.name]) == 1, what="started again")
    assert await in_thread(lambda: Node.objects.get(pk=here.pk).is_schedulable)
    assert [len(ids) for ids in pair.running(goes).values()] == [0, 1]


async def settled_there(pair: Pair, container: Container, node: Node) -> Container:
    """Runs on this node, and the drain of the other has seen that."""
    here = [stack.node for stack in pair.stacks.values() if stack.node.pk != node.pk]
    await until(lambda: Container.objects.filter(pk=container.pk, node=node, status="running").exists(), seconds=120, what="moved")
    row = await settled(pair, container)
    await until(
        lambda: {"done"} == {item["state"] for one in Drain.objects.filter(node__in=here) for item in one.items if item["id"] == str(container.pk)},
        what="the drain tells that it is gone",
    )
    return row


async def test_it_moves_with_all_its_files_and_whoever_dies_it_ends_there_or_where_it_was(
    pair: Pair, alice: Any, bob: Any, root: Any, measured: Any
) -> None:
    """R38: kill -9 of agents and panel, cuts of links; never two, never no copy; the files are whole, the old copy goes."""
    container = await made(alice, pair.here.node)
    await until(lambda: pair.starts(container) == 1, what="its files")
    before = await asyncio.to_thread(pair.checksum, container)
    await check_a_drain_gives_what_can_go_to_another_node_with_its_files_and_force_ends_the_rest(pair, container, alice, bob, root)
    for phase, victim in rounds():
        began = time.monotonic()
        row = await in_thread(Container.objects.get, pk=container.pk)
        starts = await asyncio.to_thread(pair.starts, container)
        source, target = pair.stacks[row.node_id], pair.other(row.node_id)
        if phase in POINTS:
            await armed(target, phase)
        async with Twins(pair, container) as twins:
            operation = await go(pair, container, alice)
            order = [*PHASES, "done", "returned", "going_back"]

            def reached(operation: Operation = operation, order: list[str] = order, phase: str = phase) -> bool:
                return order.index(Migration.objects.get(operation=operation).phase) >= order.index(phase)

            if phase in POINTS:
                assert target.agent.process is not None
                assert await asyncio.to_thread(target.agent.process.wait, 60) == -signal.SIGKILL, f"it died at {phase}"
                target.agent.start()
            else:
                while not await in_thread(reached):
                    await asyncio.sleep(0.01)
                await kill(pair, victim, source, target)
            done = await ended(operation, 90)
            row = await settled(pair, container)
        measured(f"{phase}, {victim}", (done.status, done.error_code, round(time.monotonic() - began, 1)))
        assert twins.seen == [], (phase, victim)
        assert victim or done.status == "succeeded", done.error_detail
        await until(lambda starts=starts: pair.starts(container) == starts + 1, what="started once more, on the same files")
        assert await in_thread(lambda: {port.node_id for port in container.ports.all()}) == {row.node_id}
        wanted = target if done.status == "succeeded" else source
        assert row.node_id == wanted.node.pk, (phase, victim, done.error_detail)
        assert await asyncio.to_thread(pair.checksum, container) == before, (phase, victim)
        # The next round begins when this one has left nothing behind.
        await until(
            lambda row=row: pair.present(container) == {stack.node.name: pk == row.node_id for pk, stack in pair.stacks.items()},
            seconds=60,
            what=f"one copy after {phase}, {victim}",
        )
