"""Samples from /proc, and events from looking."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from typing import Any

from agent.protocol.messages import Limits, StopSpec
from agent.runtimes.base import ResumePoint, RuntimeEvent
from agent.runtimes.process import ProcessRuntime
from tests.agent.runtimes.process.rig import created, ended, processes, python, shell, started, take_until, until


async def test_a_busy_container_shows_its_whole_tree(runtime: ProcessRuntime) -> None:
    busy = await started(runtime, shell("sh -c 'while :; do :; done' & wait"), limits=Limits(memory_bytes=512 << 20))
    idle = await started(runtime, python("b=bytearray(30<<20)\nprint('ready')\nimport time;time.sleep(600)"))
    await take_until(await runtime.output(idle, ResumePoint()), lambda taken: b"ready" in taken.stdout)
    gone = await created(runtime, shell("true"))
    await runtime.stats([busy, idle, gone])
    found: dict[str, Any] = {}

    async def seen_working() -> bool:
        await asyncio.sleep(1)
        found.update({sample.container_id: sample for sample in await runtime.stats([busy, idle, gone, "unknown"])})
        return bool(found[busy].cpu_percent > 8)

    await until(seen_working, what="a twelfth of a core at least, on whatever machine this is")
    assert set(found) == {busy, idle}
    assert found[busy].cpu_percent < 150
    assert found[busy].pids == 2
    assert found[busy].memory_limit_bytes == 512 << 20
    assert found[idle].cpu_percent < 5
    assert found[idle].memory_bytes > 30 << 20


async def test_cpu_of_children_that_have_ended_is_counted(runtime: ProcessRuntime) -> None:
    container_id = await started(runtime, shell("while :; do sh -c 'i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done'; done"))
    before = (await runtime.stats([container_id]))[0].cpu_percent
    assert before == 0

    async def busy() -> bool:
        await asyncio.sleep(0.5)
        return (await runtime.stats([container_id]))[0].cpu_percent > 15

    await until(busy, seconds=30, what="a sixth of a core at least, on whatever machine this is")


async def test_disk_is_the_data_folders(runtime: ProcessRuntime) -> None:
    container_id = await started(runtime, shell("dd if=/dev/zero of=big bs=1M count=3 2>/dev/null; echo done; sleep 600"))
    await take_until(await runtime.output(container_id, ResumePoint()), lambda taken: b"done" in taken.stdout)
    (sample,) = await runtime.stats([container_id])
    assert sample.disk_bytes is not None and 3 << 20 <= sample.disk_bytes < 4 << 20


async def test_the_machines_load_and_how_many_run(runtime: ProcessRuntime) -> None:
    await started(runtime, shell("sleep 600"))
    await created(runtime, shell("sleep 600"))
    usage = await runtime.node_usage()
    assert usage.containers_running == 1
    assert usage.memory_used_bytes > 0


@contextlib.asynccontextmanager
async def watched(runtime: ProcessRuntime) -> AsyncIterator[list[RuntimeEvent]]:
    seen: list[RuntimeEvent] = []

    async def watch() -> None:
        async for event in runtime.events():
            seen.append(event)  # noqa: PERF401 - it never ends: the list is looked at meanwhile

    task = asyncio.ensure_future(watch())
    try:
        while not seen:  # it watches when it tells of a container that nobody cares about
            probe = await created(runtime, shell("true"))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1):
                    while not actions(seen, probe):
                        await asyncio.sleep(0.02)
            await runtime.remove(probe)
        await until(lambda: "destroy" in actions(seen, probe))
        seen.clear()
        yield seen
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def actions(seen: list[RuntimeEvent], container_id: str) -> list[str]:
    return [event.action for event in seen if event.container_id == container_id]


async def test_a_life_is_told(runtime: ProcessRuntime) -> None:
    async with watched(runtime) as seen:
        container_id = await created(runtime, shell("sleep 600"))
        await until(lambda: "create" in actions(seen, container_id))
        await runtime.start(container_id)
        await until(lambda: "start" in actions(seen, container_id))
        await runtime.pause(container_id)
        await until(lambda: "pause" in actions(seen, container_id))
        await runtime.unpause(container_id)
        await until(lambda: "unpause" in actions(seen, container_id))
        await runtime.stop(container_id, StopSpec(grace_seconds=5))
        await until(lambda: "die" in actions(seen, container_id))
        assert [event.exit_code for event in seen if event.action == "die"] == [143]
        await runtime.remove(container_id)
        await until(lambda: "destroy" in actions(seen, container_id))
    assert [action for action in actions(seen, container_id) if action != "kill"] == ["create", "start", "pause", "unpause", "die", "destroy"]


async def test_somebodys_kill_is_told_as_one_and_an_own_end_is_not(runtime: ProcessRuntime) -> None:
    """SECURITY R15: the reconciler takes a `kill` that no command asked for as somebody's hand."""
    async with watched(runtime) as seen:
        killed = await started(runtime, shell("sleep 600"))
        by_itself = await started(runtime, shell("exit 3"))
        crashed = await started(runtime, shell("kill -SEGV $$"))
        os.kill(min(processes(killed)), signal.SIGKILL)
        for container_id in (killed, by_itself, crashed):
            await ended(runtime, container_id)
            await until(lambda name=container_id: "die" in actions(seen, name))
    assert actions(seen, killed)[-2:] == ["kill", "die"]
    assert "kill" not in actions(seen, by_itself) + actions(seen, crashed)
    codes = {event.container_id: event.exit_code for event in seen if event.action == "die"}
    assert codes == {killed: 137, by_itself: 3, crashed: 139}


async def test_a_restart_between_two_looks_is_seen(runtime: ProcessRuntime) -> None:
    container_id = await started(runtime, shell("sleep 600"))
    async with watched(runtime) as seen:
        await runtime.kill(container_id)
        await runtime.start(container_id)
        await until(lambda: "start" in actions(seen, container_id))
    assert "die" in actions(seen, container_id)
