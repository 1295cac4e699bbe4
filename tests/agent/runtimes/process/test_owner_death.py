"""The agent dies (kill -9, Ctrl-C of its whole process group): containers go on, and the next agent has everything, once."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from agent.logs import LogService
from agent.protocol.commands import LogsQuery
from agent.protocol.messages import ContainerSpec, StopSpec
from agent.runtimes.process import ProcessRuntime
from tests.agent.runtimes.process.rig import ROOT, ended, processes, python, shell, shims, spec_of, until


class Owner:
    def __init__(self, data_dir: Path, spec: ContainerSpec) -> None:
        data_dir.mkdir(parents=True, exist_ok=True)
        file = data_dir / "wanted.json"
        file.write_bytes(msgspec.json.encode(spec))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.agent.runtimes.process.owner", str(data_dir), str(file)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )

    async def up(self) -> None:
        assert self.process.stdout is not None
        assert await asyncio.wait_for(asyncio.to_thread(self.process.stdout.readline), 30) == b"up\n"

    def end(self, how: int = signal.SIGKILL) -> None:
        os.killpg(self.process.pid, how)
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


@pytest.fixture
def owners() -> Iterator[list[Owner]]:
    made: list[Owner] = []
    yield made
    for owner in made:
        if owner.process.poll() is None:
            owner.end()


async def stored(logs: LogService, container_id: str) -> list[str]:
    found: list[str] = []
    after = 0
    while True:
        page = await logs.read(container_id, LogsQuery(after=after, limit=1000))
        found += [line[3] for line in page["lines"]]
        if not page["lines"]:
            assert page["gaps"] == []
            return found
        after = page["lines"][-1][0]


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
async def test_the_container_outlives_its_owner_and_its_exit_code_is_known(
    runtime: ProcessRuntime, data_dir: Path, owners: list[Owner], how: int
) -> None:
    """SECURITY R14: containers keep running when the agent dies; its end while nobody looked is told afterwards."""
    spec = spec_of(shell("echo up; while [ ! -e go ]; do sleep 0.05; done; echo last words; exit 42"))
    owner = Owner(data_dir, spec)
    owners.append(owner)
    await owner.up()
    pids = processes(spec.container_id)
    owner.end(how)
    assert pids
    assert set(pids) <= set(processes(spec.container_id)) | set(pids)
    report = await runtime.inspect(spec.container_id)
    assert report is not None
    assert (report.state, report.operation_id, report.epoch) == ("running", "op-1", 1)

    (runtime.data_dir(spec.container_id) / "go").touch()
    await until(lambda: not processes(spec.container_id), what="its end, seen by nobody")
    report = await ended(runtime, spec.container_id)
    assert report.exit_code == 42

    logs = LogService(data_dir / "logs", runtime=runtime)
    await logs.attach(spec.container_id)
    found: list[str] = []

    async def complete() -> bool:
        nonlocal found
        found = await stored(logs, spec.container_id)
        return "last words" in found

    await until(complete)
    assert found == ["up", "last words"]
    await logs.close()


async def test_every_line_is_stored_once_whenever_the_owner_was_killed(runtime: ProcessRuntime, data_dir: Path, owners: list[Owner]) -> None:
    """Ten owners in a row, each killed in the middle of a flood."""
    count = 60000
    code = f"import time\nfor i in range({count}):\n    print('line', i)\n    if i % 200 == 0: time.sleep(0.01)\nprint('the end')\n"
    spec = spec_of(python(code).__class__([sys.executable, "-c", code]))
    rng = random.Random(3)
    for _ in range(10):
        owner = Owner(data_dir, spec)
        owners.append(owner)
        await owner.up()
        await asyncio.sleep(rng.uniform(0, 0.3))
        owner.end()
    assert len(processes(spec.container_id)) <= 1
    logs = LogService(data_dir / "logs", runtime=runtime)
    await logs.attach(spec.container_id)

    async def complete() -> bool:
        page = await logs.read(spec.container_id, LogsQuery(tail=1))
        return bool(page["lines"]) and page["lines"][-1][3] == "the end"

    await until(complete, seconds=60)
    found = await stored(logs, spec.container_id)
    await logs.close()
    assert found == [*(f"line {number}" for number in range(count)), "the end"]


async def test_killed_at_any_moment_of_the_start_there_is_never_a_twin(runtime: ProcessRuntime, data_dir: Path, owners: list[Owner]) -> None:
    """Rivals: owners killed somewhere between create and the answer of start; then the next one starts what is not running."""
    rng = random.Random(11)
    for _ in range(12):
        spec = spec_of(shell("echo $$ >> births; exec sleep 600"))
        owner = Owner(data_dir, spec)
        owners.append(owner)
        containers = data_dir / "process" / "containers" / spec.container_id
        await until(lambda folder=containers: folder.exists(), what="its folder")
        await asyncio.sleep(rng.uniform(0, 0.12))
        owner.end()
        report = await runtime.inspect(spec.container_id)
        if report is not None:
            report = await runtime.start(spec.container_id)
            assert report.state == "running"
            await asyncio.sleep(0.3)
            await until(lambda name=spec.container_id: len(processes(name)) == 1, what="one, and not two")
            assert len([pid for pid in shims(data_dir) if Path("/proc", str(pid), "cwd").readlink() == containers]) == 1
            await runtime.stop(spec.container_id, StopSpec(grace_seconds=5))


async def test_two_runtimes_that_start_the_same_container_make_one(runtime: ProcessRuntime, data_dir: Path) -> None:
    """Two agents on one folder by mistake."""
    other = ProcessRuntime.from_config(data_dir=data_dir)
    await other.open(instance="panel-1")
    for _ in range(5):
        spec = spec_of(shell("exec sleep 600"))
        await runtime.create(spec, epoch=1, operation_id="op")
        results = await asyncio.gather(
            *(one.start(spec.container_id) for one in (runtime, other, runtime, other)),
            return_exceptions=True,
        )
        assert any(getattr(result, "state", "") == "running" for result in results), results
        await asyncio.sleep(0.2)
        await until(lambda name=spec.container_id: len(processes(name)) == 1, what="one, and not two")
        report = await runtime.inspect(spec.container_id)
        assert report is not None
        assert report.state == "running"
        assert processes(spec.container_id)
        await runtime.kill(spec.container_id)
        assert not processes(spec.container_id)
