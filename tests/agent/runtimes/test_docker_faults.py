"""An engine that hangs, breaks, lies about its length, or goes quiet."""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.logs import LogService
from agent.protocol.commands import LogsQuery
from agent.protocol.messages import ContainerSpec, StopSpec
from agent.runtimes.base import RuntimeFailure
from agent.runtimes.docker import DockerRuntime, events
from tests.agent.runtimes.chaos import Chaos

pytestmark = pytest.mark.docker

IMAGE = "lormas-test/busybox:1"


@pytest.fixture
async def chaos(tmp_path: Path) -> AsyncIterator[Chaos]:
    made = Chaos(tmp_path)
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def runtime(chaos: Chaos) -> AsyncIterator[DockerRuntime]:
    made = DockerRuntime(host=chaos.url, call_timeout_seconds=0.8, start_timeout_seconds=3, threads=4)
    await made.info()
    await made.open(instance=f"chaos-{uuid.uuid4().hex[:8]}")
    yield made
    chaos.thaw()
    chaos.refusing, chaos.truncate_at = False, 0
    for report in await made.list_owned():
        await made.remove(report.container_id)
    await made.close()


async def create(runtime: DockerRuntime, *command: str) -> str:
    spec = ContainerSpec(container_id=str(uuid.uuid4()), name="x", image=IMAGE, command=list(command) or ["sleep", "3600"])
    await runtime.create(spec, epoch=1, operation_id="o")
    return spec.container_id


async def test_every_call_to_a_hung_engine_ends_and_no_thread_is_lost(runtime: DockerRuntime, chaos: Chaos) -> None:
    """R13: bounded calls, a plain answer, and all is well again when the engine is."""
    container_id = await create(runtime)
    await runtime.start(container_id)
    chaos.freeze()
    acts: list[Any] = [
        runtime.info(),
        runtime.list_owned(),
        runtime.inspect(container_id),
        runtime.start(container_id),
        runtime.stop(container_id, StopSpec(grace_seconds=0.1)),
        runtime.kill(container_id),
        runtime.pause(container_id),
        runtime.remove(container_id),
        runtime.stats([container_id]),
        runtime.node_usage(),
        runtime.exec(container_id, ["true"]),
        runtime.write_stdin(container_id, b"x"),
        runtime.has_image(IMAGE),
        runtime.pull(IMAGE, timeout_seconds=0.5),
        *(runtime._lifecycle.run("kill", lambda api: api.kill(container_id, "SIGKILL"), timeout=0.5) for _ in range(20)),
    ]
    begun = time.monotonic()
    answers = await asyncio.wait_for(asyncio.gather(*acts, return_exceptions=True), 60)
    assert time.monotonic() - begun < 15
    assert {answer.code for answer in answers if isinstance(answer, RuntimeFailure)} == {"timeout"}, answers
    assert all(isinstance(answer, RuntimeFailure) for answer in answers)
    await asyncio.sleep(1.0)
    chaos.thaw()

    def hands() -> int:
        return len([thread for thread in threading.enumerate() if thread.name.startswith("lormas-docker")])

    deadline = time.monotonic() + 60
    while hands() > 4:
        assert time.monotonic() < deadline, hands()
        await asyncio.sleep(0.05)
    # What was asked while it hung may still be carried out when it wakes up (the kill, the removal): never more than that.
    assert (await runtime.kill(container_id)).state in ("exited", "removed")


async def test_an_engine_that_is_not_there_is_told(runtime: DockerRuntime, chaos: Chaos, tmp_path: Path) -> None:
    chaos.refusing = True
    for act in (runtime.info(), runtime.list_owned(), runtime._lifecycle.run("kill", lambda api: api.kill("x"), timeout=1)):
        with pytest.raises(RuntimeFailure) as caught:
            await act
        assert (caught.value.code, caught.value.retryable) == ("engine_down", True)
    with pytest.raises(RuntimeFailure) as caught:
        await DockerRuntime(host=f"unix://{tmp_path}/nothing.sock").info()
    assert caught.value.code == "engine_down"


@pytest.mark.parametrize("size", [1, 150, 400, 1200])
async def test_a_truncated_listing_is_an_error_and_never_a_short_list(runtime: DockerRuntime, chaos: Chaos, size: int) -> None:
    """R11."""
    for _ in range(3):
        await create(runtime)
    chaos.truncate_at = size
    with pytest.raises(RuntimeFailure):
        await runtime.list_owned()
    chaos.truncate_at = 0
    assert len(await runtime.list_owned()) == 3


async def test_a_create_whose_answer_was_lost_is_found_again(runtime: DockerRuntime, chaos: Chaos, monkeypatch: pytest.MonkeyPatch) -> None:
    """R04: the engine made it, nobody heard of it."""
    true_run = runtime._lifecycle.run

    async def run(verb: str, work: Any, *, timeout: float) -> Any:
        answer = await true_run(verb, work, timeout=timeout)
        if verb == "create":
            raise RuntimeFailure("timeout", "lost")
        return answer

    monkeypatch.setattr(runtime._lifecycle, "run", run)
    spec = ContainerSpec(container_id=str(uuid.uuid4()), name="x", image=IMAGE, command=["true"])
    report = await runtime.create(spec, epoch=1, operation_id="op-9")
    assert (report.state, report.operation_id) == ("created", "op-9")
    assert len(await runtime.list_owned()) == 1


class Seen:
    def __init__(self, runtime: DockerRuntime) -> None:
        self.events: list[Any] = []
        self.task = asyncio.ensure_future(self._run(runtime))

    async def _run(self, runtime: DockerRuntime) -> None:
        async for event in runtime.events():
            self.events.append(event)

    async def until(self, *wanted: str) -> None:
        deadline = time.monotonic() + 60
        while [event.action for event in self.events if event.action in wanted] != list(wanted):
            assert time.monotonic() < deadline, [event.action for event in self.events]
            await asyncio.sleep(0.02)


@pytest.fixture
async def seen(runtime: DockerRuntime) -> AsyncIterator[Seen]:
    made = Seen(runtime)
    await asyncio.sleep(0.3)
    yield made
    made.task.cancel()
    await asyncio.gather(made.task, return_exceptions=True)


async def test_broken_events_come_back_with_a_resync_and_lose_nothing(runtime: DockerRuntime, chaos: Chaos, seen: Seen) -> None:
    container_id = await create(runtime)
    await seen.until("create")
    chaos.refusing = True
    chaos.cut()
    await asyncio.sleep(0.2)
    elsewhere = DockerRuntime()
    await elsewhere.open(instance=runtime._instance)
    await elsewhere.start(container_id)
    chaos.refusing = False
    await seen.until("create", "resync", "start")
    await elsewhere.close()


async def test_events_that_went_quiet_without_a_word_are_noticed(runtime: DockerRuntime, chaos: Chaos, monkeypatch: pytest.MonkeyPatch) -> None:
    """R16: the connection is open and dead; what happened meanwhile is told once."""
    monkeypatch.setattr(events, "QUIET_SECONDS", 0.8)
    seen = Seen(runtime)
    await asyncio.sleep(0.2)
    container_id = await create(runtime)
    await seen.until("create")
    chaos.mute()
    await runtime.start(container_id)
    await seen.until("create", "start")
    await asyncio.sleep(2)
    await seen.until("create", "start")
    seen.task.cancel()
    await asyncio.gather(seen.task, return_exceptions=True)


async def test_output_whose_connection_breaks_is_read_on_exactly(runtime: DockerRuntime, chaos: Chaos, tmp_path: Path) -> None:
    """R12: the engine's socket goes away and comes back while the container prints."""
    container_id = await create(
        runtime, "sh", "-c", 'n=0; while [ $n -lt 300 ]; do n=$((n+1)); echo "line $n"; sleep 0.01; done; echo end; exec sleep 100'
    )
    logs = LogService(tmp_path / "logs", runtime=runtime)
    await logs.attach(container_id)
    await runtime.start(container_id)
    for _ in range(3):
        await asyncio.sleep(0.4)
        chaos.refusing = True
        chaos.cut()
        await asyncio.sleep(0.3)
        chaos.refusing = False
    deadline = time.monotonic() + 60
    while (found := await logs.read(container_id, LogsQuery(after=0)))["lines"][-1][3] != "end":
        assert time.monotonic() < deadline, found["lines"][-3:]
        await asyncio.sleep(0.05)
    assert [line[3] for line in found["lines"]] == [*(f"line {number}" for number in range(1, 301)), "end"]
    await logs.close()
