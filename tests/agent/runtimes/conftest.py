"""One bench for the contract suite: the same acts on docker, process and fake."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from agent.protocol.messages import ContainerReport, ContainerSpec
from agent.runtimes.base import Output, ResumePoint, Runtime
from agent.runtimes.docker import DockerRuntime
from agent.runtimes.fake import FakeRuntime
from agent.runtimes.process import ProcessRuntime

IMAGE = "lormas-test/busybox:1"

PROGRAMS: dict[str, tuple[str, list[str]]] = {
    "forever": ("exec sleep 3600", []),
    "hello": ("echo hello; echo oops >&2; exec sleep 3600", ["print hello", "err oops"]),
    "hello-exit-3": ("echo hello; exit 3", ["print hello", "exit 3"]),
    "unfinished": ("printf 'no newline'; exit 0", ["part no newline", "exit 0"]),
    "stubborn": ("trap '' TERM; echo ready; while :; do sleep 0.1; done", ["ignore-term", "print ready"]),
    "polite": ("trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.05; done", ["print ready"]),
    "console": ('echo ready; while read line; do echo "got $line"; [ "$line" = stop ] && exit 0; done', ["print ready", "echo"]),
    "count": ("i=0; while [ $i -lt 5000 ]; do i=$((i+1)); echo line $i; done; exit 0", ["count 5000", "exit 0"]),
    "no-such-command": ("", []),
}


class Bench:
    """A runtime of one kind, and what a test needs around it."""

    def __init__(self, kind: str, runtime: Runtime, fresh: Callable[[], Runtime]) -> None:
        self.kind = kind
        self.runtime = runtime
        self.fresh = fresh
        """A second runtime object on the same engine, as after a restart of the agent."""
        self.instance = f"test-{uuid.uuid4().hex[:8]}"
        self.made: list[str] = []
        self.others: list[Runtime] = []

    def argv(self, program: str) -> list[str]:
        script, steps = PROGRAMS[program]
        if program == "no-such-command":
            return ["/no/such/command"]
        return steps if self.kind == "fake" else ["sh", "-c", script]

    def spec(self, program: str = "forever", **more: Any) -> ContainerSpec:
        container_id = str(uuid.uuid4())
        self.made.append(container_id)
        return ContainerSpec(container_id=container_id, **{"name": "A test", "image": IMAGE, "command": self.argv(program), **more})

    async def create(self, program: str = "forever", **more: Any) -> str:
        spec = self.spec(program, **more)
        await self.runtime.create(spec, epoch=1, operation_id="op-1")
        return spec.container_id

    async def started(self, program: str = "forever", **more: Any) -> str:
        container_id = await self.create(program, **more)
        await self.runtime.start(container_id)
        return container_id

    async def state(self, container_id: str) -> str:
        report = await self.runtime.inspect(container_id)
        return report.state if report else "removed"

    async def ended(self, container_id: str) -> ContainerReport:
        async def look() -> ContainerReport | None:
            report = await self.runtime.inspect(container_id)
            return report if report and report.state == "exited" else None

        return await until(look)

    async def text(self, container_id: str, *, resume: ResumePoint = ResumePoint(), until_text: bytes = b"") -> dict[str, bytes]:
        """What comes out until the end of the run, or until `until_text` was seen."""
        reader = await self.runtime.output(container_id, resume)
        return await read_all(reader, until_text=until_text)

    def outside(self, *words: str) -> None:
        """Somebody's hand on the engine."""
        subprocess.run(["docker", *words], check=True, capture_output=True, timeout=60)

    async def close(self) -> None:
        for container_id in self.made:
            with contextlib.suppress(Exception):
                await self.runtime.remove(container_id)
        for runtime in [*self.others, self.runtime]:
            await runtime.close()


async def read_all(reader: Any, *, until_text: bytes = b"", seconds: float = 60) -> dict[str, bytes]:
    found = {"stdout": b"", "stderr": b""}
    try:
        async with asyncio.timeout(seconds):
            async for item in reader:
                assert isinstance(item, Output), item
                found[item.stream] += item.data
                if until_text and until_text in found["stdout"] + found["stderr"]:
                    break
    finally:
        if hasattr(reader, "close"):
            await reader.close()
    return found


async def until(check: Any, *, seconds: float = 60, what: str = "") -> Any:
    """Poll an async check until it gives something true."""
    deadline = time.monotonic() + seconds
    while True:
        found = await check()
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {what or check}"
        await asyncio.sleep(0.03)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _fresh(kind: str, folder: Path) -> Callable[[], Runtime]:
    if kind == "docker":
        return DockerRuntime
    if kind == "process":
        return lambda: ProcessRuntime(root=folder / "process")
    return lambda: FakeRuntime(state_file=folder / "fake.json")


async def _bench(kind: str, folder: Path) -> AsyncIterator[Bench]:
    fresh = _fresh(kind, folder)
    made = Bench(kind, fresh(), fresh)
    await made.runtime.info()
    await made.runtime.open(instance=made.instance)
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture(params=[pytest.param("docker", marks=pytest.mark.docker), "process", "fake"])
async def bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    """On every runtime."""
    async for made in _bench(request.param, tmp_path):
        yield made


@pytest.fixture(params=[pytest.param("docker", marks=pytest.mark.docker), "process"])
async def real_bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    """On those that run real processes."""
    async for made in _bench(request.param, tmp_path):
        yield made


@pytest.fixture(params=[pytest.param("docker", marks=pytest.mark.docker)])
async def docker_bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    async for made in _bench(request.param, tmp_path):
        yield made


@pytest.fixture
async def process_bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async for made in _bench("process", tmp_path):
        yield made


@pytest.fixture
def poll() -> Any:
    return until


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def collect() -> Any:
    return read_all
