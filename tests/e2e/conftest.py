"""Panel, link and agent as processes, on the test's database and the real engine."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import random
import time
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import docker as sdk
import pytest
from docker.errors import APIError

from audit.services import SYSTEM
from nodes.models import Node
from nodes.services import register_node
from tests.e2e.stack import AgentProcess, Link, WorkerProcess
from tests.nodes.rig import Panel, surroundings


def in_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Awaitable[Any]:
    """Database work from async tests."""
    from django.db import connections

    def job() -> Any:
        try:
            return function(*args, **kwargs)
        finally:
            connections.close_all()

    return asyncio.to_thread(job)


async def until(question: Callable[[], Any], *, seconds: float = 60, what: str = "") -> Any:
    """Poll a database question until it gives something true."""
    end = asyncio.get_running_loop().time() + seconds
    while True:
        found = await in_thread(question)
        if found:
            return found
        if asyncio.get_running_loop().time() > end:
            raise AssertionError(f"not within {seconds} s: {what or question}")
        await asyncio.sleep(0.1)


async def served(port: int, address: str = "127.0.0.1", *, seconds: float = 20) -> bytes:
    """What is served there: a container runs a moment before its program listens. 0 seconds: at once."""

    def look() -> bytes:
        with contextlib.suppress(OSError), urllib.request.urlopen(f"http://{address}:{port}/", timeout=5) as answer:
            return answer.read()  # type: ignore[no-any-return]
        return b""

    found: bytes = await until(look, seconds=seconds, what=f"an answer of {address}:{port}")
    return found


class Stack:
    """All of it; `say` what to kill."""

    def __init__(self, *, panel: Panel, link: Link, agent: AgentProcess, node: Node) -> None:
        self.panel = panel
        self.link = link
        self.agent = agent
        self.node = node

    @contextlib.asynccontextmanager
    async def beside(self, name: str, folder: Path) -> AsyncIterator[Stack]:
        """Another node of the same panel, with a link and an agent of its own (on the same engine)."""
        node, token = await in_thread(register_node, name=name, actor=SYSTEM)
        link = Link(self.panel.port)
        await link.start()
        folder.mkdir()
        agent = AgentProcess(data=folder / "agent", panel_url=f"http://127.0.0.1:{link.port}", token=token).start()
        built = Stack(panel=self.panel, link=link, agent=agent, node=node)
        try:
            await built.active()
            yield built
        finally:
            await asyncio.to_thread(agent.stop)
            await link.stop()

    async def active(self, seconds: float = 60) -> None:
        await until(lambda: Node.objects.filter(pk=self.node.pk, status="ACTIVE").exclude(gateway="").exists(), seconds=seconds, what="node ACTIVE")


@contextlib.asynccontextmanager
async def running_stack(
    tmp_path: Path,
    *,
    runtime: str = "docker",
    panel_kind: type[Panel] = Panel,
    agent_kind: type[AgentProcess] = AgentProcess,
    panel_environment: dict[str, str] | None = None,
    **agent_environment: str,
) -> AsyncIterator[Stack]:
    """All of it as processes; needs `transactional_db`."""
    node, token = await in_thread(register_node, name="e2e", actor=SYSTEM)
    # other tests and people use the engine, too; from 32,768 on the kernel gives ports to whoever connects somewhere
    first = random.randrange(26_000, 32_700, 20)
    await in_thread(lambda: Node.objects.filter(pk=node.pk).update(port_first=first, port_last=first + 19))
    panel = panel_kind(log=tmp_path / "panel.log", **(panel_environment or {}))
    await asyncio.to_thread(panel.start)
    link = Link(panel.port)
    await link.start()
    agent = agent_kind(data=tmp_path / "agent", panel_url=f"http://127.0.0.1:{link.port}", token=token, runtime=runtime, **agent_environment).start()
    built = Stack(panel=panel, link=link, agent=agent, node=node)
    try:
        await built.active()
        yield built
    finally:
        from containers.models import Container

        ids = [str(pk) for pk in await in_thread(lambda: list(Container.objects.values_list("pk", flat=True)))]
        await asyncio.to_thread(agent.stop)
        await link.stop()
        await asyncio.to_thread(panel.stop)
        if runtime == "docker" and "DOCKER_HOST" not in agent_environment:
            await asyncio.to_thread(remove_leftovers, ids)


@pytest.fixture
async def stack(transactional_db: None, tmp_path: Path) -> AsyncIterator[Stack]:
    async with running_stack(tmp_path) as built:
        yield built


@pytest.fixture
def worker(transactional_db: None, tmp_path: Path) -> Iterator[WorkerProcess]:
    """Celery's worker and beat: what carries out restarts."""
    process = WorkerProcess(log=tmp_path / "worker.log", environment=surroundings()).start()
    yield process
    process.stop()


@pytest.fixture
def measured(request: pytest.FixtureRequest) -> Callable[[str, Any], None]:
    """Note a bound that was seen (`--log-cli-level=info` shows them)."""
    return lambda what, value: logging.getLogger("measured").info("%s: %s = %s", request.node.name, what, value)


class Timeline:
    """What the panel said of the node and a container, and when (seconds since `mark`)."""

    def __init__(self, node: Node, container: Any = None) -> None:
        self._node = node
        self._container = container
        self._zero = time.monotonic()
        self.seen: list[tuple[float, str, str, str]] = []

    def mark(self) -> None:
        self._zero = time.monotonic()
        self.seen = self.seen[-1:]

    def now(self) -> float:
        return round(time.monotonic() - self._zero, 1)

    def _look(self) -> tuple[str, str, str]:
        from containers.models import Container

        node = Node.objects.get(pk=self._node.pk)
        status = Container.objects.get(pk=self._container.pk).status if self._container is not None else ""
        return node.status, status, node.status_reason

    async def run(self) -> None:
        while True:
            look = await in_thread(self._look)
            if not self.seen or self.seen[-1][1:3] != look[:2]:
                self.seen.append((self.now(), *look))
            await asyncio.sleep(0.1)

    def since_mark(self) -> list[tuple[float, str, str, str]]:
        """Changes after the mark."""
        return self.seen[1:]

    def statuses(self) -> set[str]:
        """Of the node, from the mark on."""
        return {status for _, status, _, _ in self.seen}

    async def node(self, status: str, *, seconds: float) -> float:
        """Wait for the node's status; when it came."""
        return await self._wait(1, status, seconds)

    async def container(self, status: str, *, seconds: float) -> float:
        """Wait for the container's status; when it came."""
        return await self._wait(2, status, seconds)

    async def _wait(self, column: int, status: str, seconds: float) -> float:
        while not self.seen or self.seen[-1][column] != status:
            if self.now() > seconds:
                raise AssertionError(f"not {status} within {seconds} s; seen: {self.seen}")
            await asyncio.sleep(0.05)
        return self.seen[-1][0] if len(self.seen) > 1 else 0.0


@contextlib.asynccontextmanager
async def watched(node: Node, container: Any = None) -> AsyncIterator[Timeline]:
    timeline = Timeline(node, container)
    task = asyncio.create_task(timeline.run())
    try:
        while not timeline.seen:
            await asyncio.sleep(0.02)
        yield timeline
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@functools.cache
def machine_engine() -> sdk.APIClient:
    """The machine's own, asked over its socket: a program of its own for each question would take more of the machine than most answers."""
    return sdk.from_env(timeout=60).api


def remove_leftovers(container_ids: list[str]) -> None:
    """Engine containers and volumes that this test made, by our label."""
    for container_id in container_ids:
        for found in engine_containers(container_id):
            with contextlib.suppress(APIError):  # it is gone, or just going
                machine_engine().remove_container(found, force=True, v=True)
        with contextlib.suppress(APIError):
            machine_engine().remove_volume(f"lormas-{container_id}", force=True)


def engine_containers(container_id: str) -> list[str]:
    """Ids of the engine's containers that carry this container's label."""
    return [one["Id"] for one in machine_engine().containers(all=True, filters={"label": f"lormas.container={container_id}"})]
