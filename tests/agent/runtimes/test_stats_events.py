"""stats, node_usage, events."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
import uuid
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from agent import facts
from agent.protocol.messages import ContainerSpec, Limits
from tests.agent.runtimes.conftest import until


async def test_samples_of_those_that_run(bench: Any) -> None:
    running = await bench.started("forever")
    created = await bench.create("forever")

    async def measured() -> Any:
        samples = await bench.runtime.stats([running, created, "5b6ae3c1-0000-4000-8000-000000000000"])
        assert [sample.container_id for sample in samples] == [running]
        return samples[0] if samples[0].memory_bytes else None  # one that is just becoming another program has none

    assert (await until(measured)).pids >= 1


async def test_cpu_is_measured(real_bench: Any) -> None:
    container_id = await real_bench.started("forever", command=["sh", "-c", "while :; do :; done"], limits=Limits(memory_bytes=64 * 1024 * 1024))
    await real_bench.runtime.stats([container_id])

    async def busy() -> Any:
        await asyncio.sleep(0.7)
        (sample,) = await real_bench.runtime.stats([container_id])
        return sample if sample.cpu_percent > 10 else None

    sample = await until(busy, what="a tenth of a core at least, on whatever machine this is")
    assert sample.memory_limit_bytes == 64 * 1024 * 1024
    # started anew: its counters begin again and nothing breaks
    await real_bench.runtime.kill(container_id)
    assert await real_bench.runtime.stats([container_id]) == []
    await real_bench.runtime.start(container_id)
    assert len(await real_bench.runtime.stats([container_id])) == 1


async def test_cpu_totals_grow_with_a_run_and_begin_anew_with_the_next(bench: Any) -> None:
    """R51: what usage is metered from; which run a total is of is told with it."""
    container_id = await bench.started("forever")

    async def one() -> Any:
        return next(iter(await bench.runtime.stats([container_id])), None)

    first = await until(one)
    second = await until(one)
    assert first.cpu_seconds_total is not None and second.cpu_seconds_total >= first.cpu_seconds_total >= 0
    assert first.started_at == second.started_at
    begun = datetime.fromisoformat(first.started_at).timestamp()
    assert abs(time.time() - begun) < 60
    await bench.runtime.kill(container_id)
    await bench.ended(container_id)
    await bench.runtime.start(container_id)
    anew = await until(one)
    assert datetime.fromisoformat(anew.started_at).timestamp() > begun


async def test_the_engines_own_stream_is_the_second_way(docker_bench: Any) -> None:
    """Where the agent can't see the kernel's files (in a container of its own)."""
    docker_bench.runtime._stats._use_files = False
    container_id = await docker_bench.started("forever")

    async def sampled() -> Any:
        return await docker_bench.runtime.stats([container_id])

    deadline = time.monotonic() + 60
    while not (found := await sampled()):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    assert found[0].memory_bytes > 0
    assert found[0].pids == 1
    assert found[0].cpu_seconds_total > 0 and datetime.fromisoformat(found[0].started_at)


async def test_the_nodes_own_load(bench: Any) -> None:
    await bench.started("forever")
    usage = await bench.runtime.node_usage()
    assert usage.containers_running == 1
    assert usage.memory_used_bytes > 0


async def test_its_disk_is_the_one_that_the_facts_tell_the_size_of(real_bench: Any) -> None:
    """Where the engine's folder has a disk of its own (as in `.ci/run`, where it is in memory), the system's is none of its business."""
    engine = await real_bench.runtime.info()
    told = facts.collect(data_dir=Path("/proc"), engine=engine, kind="process").total_storage_bytes
    disk = shutil.disk_usage(engine.storage_root)
    used = (await real_bench.runtime.node_usage()).storage_used_bytes
    assert told == disk.total
    assert abs(used - disk.used) < 500_000_000 and used < told, "others write there at the same time"


class Listener:
    def __init__(self, runtime: Any) -> None:
        self.seen: list[tuple[str, str, int | None]] = []
        self.task = asyncio.ensure_future(self._run(runtime))

    async def _run(self, runtime: Any) -> None:
        async for event in runtime.events(since_unix=0):
            self.seen.append((event.action, event.container_id, event.exit_code))

    async def sees(self, action: str, container_id: str, code: int | None = None) -> None:
        deadline = time.monotonic() + 60
        while not any(seen[:2] == (action, container_id) and (code is None or seen[2] == code) for seen in self.seen):
            assert time.monotonic() < deadline, (action, self.seen)
            await asyncio.sleep(0.02)


@pytest.fixture
async def listen() -> Any:
    made: list[Listener] = []

    async def begin(runtime: Any) -> Listener:
        listener = Listener(runtime)
        made.append(listener)
        while True:  # it listens when it hears of a container that nobody cares about
            probe = ContainerSpec(container_id=str(uuid.uuid4()), name="probe", image="lormas-test/busybox:1", command=["true"])
            await runtime.create(probe, epoch=1, operation_id="probe")
            heard = False
            for _ in range(50):
                if heard := ("create", probe.container_id, None) in listener.seen:
                    break
                await asyncio.sleep(0.02)
            await runtime.remove(probe.container_id)
            if heard:
                await listener.sees("destroy", probe.container_id)
                listener.seen.clear()
                return listener

    yield begin
    for listener in made:
        listener.task.cancel()
        await asyncio.gather(listener.task, return_exceptions=True)


async def test_start_and_end_are_told_with_the_exit_code(bench: Any, listen: Any) -> None:
    listener = await listen(bench.runtime)
    container_id = await bench.started("hello-exit-3")
    await listener.sees("start", container_id)
    await listener.sees("die", container_id, 3)
    await bench.runtime.remove(container_id)
    await listener.sees("destroy", container_id)


async def test_a_hand_on_the_engine_is_seen(docker_bench: Any, listen: Any) -> None:
    """R15: docker kill, rename, rm behind our back."""
    container_id = await docker_bench.started("forever")
    listener = await listen(docker_bench.runtime)
    ref = (await docker_bench.runtime.inspect(container_id)).runtime_ref
    docker_bench.outside("rename", ref, f"renamed-{container_id}")
    await listener.sees("rename", container_id)
    assert (await docker_bench.runtime.inspect(container_id)).state == "running"
    docker_bench.outside("kill", ref)
    await listener.sees("die", container_id, 137)
    docker_bench.outside("rm", ref)
    await listener.sees("destroy", container_id)
    assert await docker_bench.runtime.inspect(container_id) is None


async def test_a_process_killed_from_outside_is_seen(process_bench: Any, listen: Any) -> None:
    container_id = await process_bench.started("forever")
    listener = await listen(process_bench.runtime)
    os.kill(process_bench.runtime._folders.run(container_id).pid, signal.SIGKILL)
    await listener.sees("die", container_id, 137)


async def test_foreign_containers_make_no_event(docker_bench: Any, listen: Any) -> None:
    listener = await listen(docker_bench.runtime)
    docker_bench.outside("run", "--rm", "--network", "none", "lormas-test/busybox:1", "true")
    container_id = await docker_bench.started("forever")
    await listener.sees("start", container_id)
    assert {seen[1] for seen in listener.seen} == {container_id}
