"""Odd cases of going on with a container's output after a restart of the agent, on a real engine."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.logs import LogService
from agent.protocol.commands import LogsQuery
from agent.protocol.messages import ContainerSpec, StopSpec
from agent.runtimes.docker import DockerRuntime
from agent.runtimes.policy import LimitDefaults

pytestmark = pytest.mark.docker


class House:
    """An agent's runtime and logs, restarted at will."""

    def __init__(self, folder: Path, **more: Any) -> None:
        self.folder = folder
        self.more = more
        self.instance = f"resume-{uuid.uuid4().hex[:8]}"
        self.id = str(uuid.uuid4())

    async def up(self) -> None:
        self.runtime = DockerRuntime(**self.more)
        await self.runtime.info()
        await self.runtime.open(instance=self.instance)
        self.logs = LogService(self.folder, runtime=self.runtime)

    async def down(self) -> None:
        await self.logs.close()
        await self.runtime.close()

    async def start(self, script: str, **more: Any) -> None:
        spec = ContainerSpec(container_id=self.id, name="x", image="lormas-test/busybox:1", command=["sh", "-c", script], **more)
        await self.runtime.create(spec, epoch=1, operation_id="o")
        await self.logs.attach(self.id)
        await self.runtime.start(self.id)

    async def say(self, text: str) -> None:
        await self.runtime.write_stdin(self.id, text.encode() + b"\n")

    async def engine_says(self, text: str) -> None:
        """Until this is the last line that the engine itself holds."""
        ref = (await self.runtime.inspect(self.id)).runtime_ref  # type: ignore[union-attr]
        async with asyncio.timeout(60):
            while True:
                asked = await asyncio.create_subprocess_exec("docker", "logs", "--tail", "1", ref, stdout=asyncio.subprocess.PIPE)
                if (await asked.communicate())[0].strip() == text.encode():
                    return

    async def lines(self) -> list[str]:
        return [line[3] for line in (await self.logs.read(self.id, LogsQuery(limit=10_000)))["lines"]]

    async def has(self, text: str, *, seconds: float = 60) -> list[str]:
        deadline = time.monotonic() + seconds
        while text not in (found := await self.lines()):
            assert time.monotonic() < deadline, found[-5:]
            await asyncio.sleep(0.03)
        return found


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path)
    await made.up()
    yield made
    await made.runtime.remove(made.id)
    await made.down()


CONSOLE = 'echo ready; while read -r line; do case $line in half*) printf "%s" "$line" ;; *) echo "$line" ;; esac; done'


async def test_a_line_that_was_half_written_at_the_restart_is_whole_and_once(house: House) -> None:
    await house.start(CONSOLE)
    await house.has("ready")
    await house.say("half-and-")
    await asyncio.sleep(0.2)
    await house.down()
    await house.up()
    await house.logs.resume_all([house.id])
    await house.say("the rest")
    await house.say("next")
    assert await house.has("next") == ["ready", "half-and-the rest", "next"]


async def test_a_quiet_container_gives_its_next_line_however_late(house: House) -> None:
    """R17."""
    await house.start(CONSOLE)
    await house.has("ready")
    await house.say("while dead: nothing")
    await house.has("while dead: nothing")
    for number in range(3):
        await house.down()
        await house.up()
        await house.logs.resume_all([house.id])
        await asyncio.sleep(1.3)
        await house.say(f"late {number}")
        await house.has(f"late {number}")
    assert await house.lines() == ["ready", "while dead: nothing", "late 0", "late 1", "late 2"]


async def test_lines_that_are_all_alike_are_counted_right_when_there_is_a_pause(house: House) -> None:
    await house.start(CONSOLE)
    await house.has("ready")
    for _ in range(5):
        await house.say("same")
    await asyncio.sleep(0.3)
    await house.down()
    await house.up()
    await house.logs.resume_all([house.id])
    for _ in range(4):
        await house.say("same")
    await house.say("end")
    assert Counter(await house.has("end")) == {"ready": 1, "same": 9, "end": 1}


async def test_a_flood_of_like_lines_is_right_or_says_that_it_can_not_be(house: House) -> None:
    """No content tells these apart; then it must be declared."""
    script = "n=0; while [ $n -lt 60000 ]; do n=$((n+1)); echo y; done; echo end; exec sleep 100"
    await house.start(script)
    await house.has("y")
    await house.down()
    await house.up()
    await house.logs.resume_all([house.id])
    deadline = time.monotonic() + 60
    while (await house.logs.read(house.id, LogsQuery(tail=1)))["lines"][-1][3] != "end":
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    count, gaps, after = 0, [], 0
    while True:
        found = await house.logs.read(house.id, LogsQuery(after=after, limit=10_000))
        if not found["lines"]:
            break
        count += sum(line[3] == "y" for line in found["lines"])
        gaps += found["gaps"]
        after = found["lines"][-1][0]
    assert count == 60_000 or gaps


async def test_a_terminals_output_goes_on_too(house: House) -> None:
    await house.start("echo ready; while read -r line; do :; done", tty=True)
    await house.has("ready")
    await house.down()
    for number in range(3):
        await house.up()
        await house.say(f"between {number}")
        await asyncio.sleep(0.2)
        await house.logs.resume_all([house.id])
        await house.say(f"after {number}")
        await house.has(f"after {number}")
        await house.down()
    await house.up()
    await house.logs.resume_all([house.id])
    assert await house.lines() == ["ready", *(text for number in range(3) for text in (f"between {number}", f"after {number}"))]


async def test_several_runs_while_nobody_looked_are_all_read(house: House) -> None:
    """Somebody restarts it by hand while the agent is dead; what ends without a newline does not swallow the next run's first line."""
    await house.start("echo begin; printf unfinished")
    await house.has("unfinished")
    ref = (await house.runtime.inspect(house.id)).runtime_ref  # type: ignore[union-attr]
    await house.down()
    for _ in range(2):
        for words in (("wait", ref), ("start", ref), ("wait", ref)):
            process = await asyncio.create_subprocess_exec("docker", *words, stdout=asyncio.subprocess.DEVNULL)
            assert await process.wait() == 0
    await house.up()
    await house.logs.resume_all([house.id])
    deadline = time.monotonic() + 60
    while len(found := await house.lines()) < 6:
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.3)
    assert await house.lines() == ["begin", "unfinished"] * 3


async def test_a_recreated_container_keeps_its_log_and_begins_anew(house: House) -> None:
    await house.start("echo one; exec sleep 100")
    await house.has("one")
    await house.runtime.remove(house.id)
    await house.start("echo one; echo two; exec sleep 100")
    assert await house.has("two") == ["one", "one", "two"]
    await house.down()
    await house.up()
    await house.logs.resume_all([house.id])
    await asyncio.sleep(0.5)
    assert await house.lines() == ["one", "one", "two"]


async def test_what_the_engine_rotated_away_is_declared(tmp_path: Path) -> None:
    """The engine keeps only so much: lines that it dropped before we could read them are a declared gap, and the rest is exact."""
    house = House(tmp_path, defaults=LimitDefaults(log_max_bytes=40_000, log_files=2))
    await house.up()
    try:
        await house.start('echo ready; read go; n=0; while [ $n -lt 5000 ]; do n=$((n+1)); echo "line $n"; done; echo end; exec sleep 100')
        await house.has("ready")
        await house.down()
        await house.up()
        await house.say("go")
        await house.engine_says("end")
        await house.logs.resume_all([house.id])
        lines = await house.has("end")
        found = await house.logs.read(house.id, LogsQuery(after=0, limit=10_000))
        assert found["gaps"] == [[1, None]]
        assert lines[0] == "ready"
        assert lines[1].startswith("Lost here: an unknown number of lines")
        numbers = [int(text.split()[1]) for text in lines[2:-1]]
        assert numbers == list(range(numbers[0], 5001))
        assert numbers[0] > 1
    finally:
        await house.runtime.remove(house.id)
        await house.down()


async def test_a_rotation_that_lost_nothing_we_lacked_is_no_gap(tmp_path: Path) -> None:
    """The log's beginning is gone, but all that we have not stored is still there: found by its content."""
    house = House(tmp_path, defaults=LimitDefaults(log_max_bytes=40_000, log_files=2))
    await house.up()
    try:
        script = 'n=0; while [ $n -lt 3000 ]; do n=$((n+1)); echo "line $n"; done; echo pause; read go; echo "line 3001"; echo end; exec sleep 100'
        await house.start(script)
        await house.has("pause")
        await house.down()
        await house.up()
        await house.say("go")
        await house.engine_says("end")
        await house.logs.resume_all([house.id])
        lines = await house.has("end")
        assert lines[-3:] == ["pause", "line 3001", "end"]
        found = await house.logs.read(house.id, LogsQuery(after=0, limit=10_000))
        assert found["gaps"] == []
        assert Counter(lines).most_common(1)[0][1] == 1
        assert len(lines) == 3003
    finally:
        await house.runtime.remove(house.id)
        await house.down()


async def test_stopping_and_starting_reads_each_run_once(house: House) -> None:
    await house.start("echo up; trap 'echo down; exit 0' TERM; while :; do sleep 0.05; done")
    for run in range(1, 4):
        deadline = time.monotonic() + 60
        while (await house.lines()).count("up") < run:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.03)
        await house.runtime.stop(house.id, StopSpec(grace_seconds=10))
        if run < 3:
            await house.logs.attach(house.id)
            await house.runtime.start(house.id)
    assert await house.logs.drained(house.id)
    assert await house.lines() == ["up", "down"] * 3
