"""LogService: reading by query, following, attaching."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.logs import LogService, grep
from agent.logs.records import stamp
from agent.protocol.commands import LogsQuery
from agent.protocol.messages import ContainerSpec
from agent.runtimes.base import Output, OutputGap, ResumePoint, RuntimeFailure
from agent.runtimes.fake import FakeRuntime

ID = "0b6ae3c1-0000-4000-8000-000000000001"


@pytest.fixture
async def runtime() -> AsyncIterator[FakeRuntime]:
    made = FakeRuntime()
    yield made
    await made.close()


@pytest.fixture
async def logs(tmp_path: Path, runtime: FakeRuntime) -> AsyncIterator[LogService]:
    made = LogService(tmp_path / "logs", runtime=runtime, segment_bytes=20_000)
    yield made
    await made.close()


async def fill(logs: LogService, count: int = 1000) -> None:
    lines = [(stamp(1_700_000_000 + number), "error" if number % 10 == 0 else "application", f"line {number}") for number in range(1, count + 1)]
    for begin in range(0, count, 100):
        await logs._write(ID, lines[begin : begin + 100], None, None)


def numbers(found: dict[str, Any]) -> list[int]:
    return [line[0] for line in found["lines"]]


async def test_tail_gives_the_last_ones_oldest_first(logs: LogService) -> None:
    await fill(logs)
    found = await logs.read(ID, LogsQuery(tail=3))
    assert numbers(found) == [998, 999, 1000]
    assert found["lines"][-1] == [1000, "2023-11-14T22:30:00.000000Z", "error", "line 1000"]
    assert (found["first_seq"], found["last_seq"]) == (1, 1000)


async def test_after_reads_forward_and_says_if_there_is_more(logs: LogService) -> None:
    await fill(logs)
    found = await logs.read(ID, LogsQuery(after=10, limit=5))
    assert (numbers(found), found["more"]) == ([11, 12, 13, 14, 15], True)
    found = await logs.read(ID, LogsQuery(after=996))
    assert (numbers(found), found["more"]) == ([997, 998, 999, 1000], False)
    assert numbers(await logs.read(ID, LogsQuery(after=1000))) == []


async def test_before_pages_backward(logs: LogService) -> None:
    await fill(logs)
    found = await logs.read(ID, LogsQuery(before=500, tail=2))
    assert (numbers(found), found["more"]) == ([498, 499], True)
    assert numbers(await logs.read(ID, LogsQuery(before=3))) == [1, 2]


async def test_since_and_until_in_any_spelling_of_a_time(logs: LogService) -> None:
    await fill(logs)
    found = await logs.read(ID, LogsQuery(since="2023-11-14T22:13:30Z", until="2023-11-14T23:13:32+01:00"))
    assert numbers(found) == [10, 11, 12]
    assert numbers(await logs.read(ID, LogsQuery(since="2023-11-14T22:29:58", tail=1))) == [1000]
    with pytest.raises(RuntimeFailure) as caught:
        await logs.read(ID, LogsQuery(since="yesterday"))
    assert caught.value.code == "bad_payload"


async def test_streams_and_search(logs: LogService) -> None:
    await fill(logs)
    await logs.append(ID, "Größe OK (a+b)*")
    assert numbers(await logs.read(ID, LogsQuery(streams=["error"], tail=2))) == [990, 1000]
    assert numbers(await logs.read(ID, LogsQuery(search="LINE 77", after=0))) == [77, *range(770, 780)]
    assert numbers(await logs.read(ID, LogsQuery(search="GRÖSSE"))) == [1001]
    assert numbers(await logs.read(ID, LogsQuery(search="(a+b)*"))) == [1001], "plain text is no pattern"
    assert numbers(await logs.read(ID, LogsQuery(search="regex:^line 99[78]$"))) == [997, 998]
    assert numbers(await logs.read(ID, LogsQuery(search="regex:^line", after=0, limit=2))) == [1, 2]


async def test_a_pattern_that_runs_for_ever_is_stopped_and_stops_nobody_else(logs: LogService, monkeypatch: pytest.MonkeyPatch) -> None:
    """M18: `re` can't be interrupted, so it runs in a process that can be killed."""
    monkeypatch.setattr(grep, "TIME_LIMIT_SECONDS", 1.0)
    await logs.append(ID, "a" * 40 + "b")
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.05)
            ticks += 1

    ticking = asyncio.ensure_future(tick())
    begun = time.monotonic()
    with pytest.raises(RuntimeFailure) as caught:
        await logs.read(ID, LogsQuery(search="regex:^(a|a)+$"))
    ticking.cancel()
    assert caught.value.code == "timeout"
    assert time.monotonic() - begun < 5
    assert ticks > 8
    for pattern in ("(", "a{99999999999}", "x" * 501):
        with pytest.raises(RuntimeFailure) as caught:
            await logs.read(ID, LogsQuery(search=f"regex:{pattern}"))
        assert caught.value.code == "bad_payload"


async def test_an_answer_fits_into_a_frame(logs: LogService) -> None:
    for _ in range(30):
        await logs._write(ID, [(stamp(time.time()), "application", "x" * 16_000)] * 10, None, None)
    found = await logs.read(ID, LogsQuery(after=0, limit=10_000))
    assert found["more"]
    assert len(json.dumps(found)) < 1_000_000


async def test_ids_are_no_paths(logs: LogService) -> None:
    for wrong in ("../x", "a/b", "", ".", "x\0"):
        with pytest.raises(RuntimeFailure):
            await logs.append(wrong, "text")


async def test_clear_and_delete(logs: LogService) -> None:
    await fill(logs, 10)
    assert await logs.clear(ID) == 10
    assert numbers(await logs.read(ID, LogsQuery())) == []
    assert await logs.append(ID, "two\nlines") == 12
    assert await logs.last_seq(ID) == 12
    found = await logs.read(ID, LogsQuery(after=3))
    assert (numbers(found), found["gaps"], found["first_seq"]) == ([11, 12], [[3, 7]], 11)
    await logs.delete(ID)
    assert await logs.last_seq(ID) == 0


class Follower:
    def __init__(self, logs: LogService, after: int, *, pause: float = 0) -> None:
        self.lines: list[list[Any]] = []
        self.batches: list[Any] = []
        self._task = asyncio.ensure_future(self._run(logs, after, pause))

    async def _run(self, logs: LogService, after: int, pause: float) -> None:
        async for batch in logs.follow(ID, after):
            self.batches.append(batch)
            self.lines += json.loads(batch.payload)
            await asyncio.sleep(pause)

    async def has(self, last: int) -> None:
        deadline = time.monotonic() + 60
        while not self.lines or self.lines[-1][0] < last:
            assert time.monotonic() < deadline, self.lines[-1:]
            await asyncio.sleep(0.01)
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def listening(logs: LogService, count: int) -> None:
    """So many followers have their place at the live head."""
    async with asyncio.timeout(60):
        while len(logs._taps.get(ID, ())) < count:
            await asyncio.sleep(0.01)


async def test_followers_get_old_and_new_lines_once_and_share_the_bytes(logs: LogService) -> None:
    await fill(logs, 500)
    old, also, new = Follower(logs, 0), Follower(logs, 490), Follower(logs, -1)
    await listening(logs, 3)
    await logs._write(ID, [(stamp(time.time()), "application", "live")] * 3, None, None)
    for follower in (old, also, new):
        await follower.has(503)
    assert [line[0] for line in old.lines] == list(range(1, 504))
    assert [line[0] for line in also.lines] == list(range(491, 504))
    assert [line[0] for line in new.lines] == [501, 502, 503]
    assert old.batches[-1].payload is new.batches[-1].payload


async def test_a_slow_follower_loses_nothing(logs: LogService) -> None:
    """F05, M3: its place at the live head is bounded; what falls out there is read from the files."""
    slow = Follower(logs, 0, pause=0.002)
    await asyncio.sleep(0.05)
    for begin in range(0, 3000, 10):
        await logs._write(ID, [(stamp(time.time()), "application", f"line {begin + part}") for part in range(1, 11)], None, None)
    await slow.has(3000)
    assert [line[0] for line in slow.lines] == list(range(1, 3001))


async def test_a_follower_of_an_earlier_life_begins_at_now(logs: LogService) -> None:
    await logs.append(ID, "one")
    follower = Follower(logs, 999)
    await listening(logs, 1)
    await logs.append(ID, "two")
    await follower.has(2)
    assert [line[3] for line in follower.lines] == ["two"]


async def started(runtime: FakeRuntime, logs: LogService, *steps: str) -> None:
    await runtime.create(ContainerSpec(container_id=ID, name="x", image="x", command=list(steps)), epoch=1, operation_id="o")
    await logs.attach(ID)
    await runtime.start(ID)


async def test_attached_before_the_start_nothing_is_missed(logs: LogService, runtime: FakeRuntime) -> None:
    await started(runtime, logs, "print first", "err oops", "part unfinished", "exit 0")
    assert await logs.drained(ID)
    assert [line[2:] for line in (await logs.read(ID, LogsQuery()))["lines"]] == [
        ["application", "first"],
        ["error", "oops"],
        ["application", "unfinished"],
    ]


async def test_attaching_twice_reads_once_and_a_second_run_goes_on(logs: LogService, runtime: FakeRuntime) -> None:
    await started(runtime, logs, "print hello", "exit 0")
    await asyncio.gather(*(logs.attach(ID) for _ in range(5)))
    assert await logs.drained(ID, timeout=0.3) in (True, False)
    await runtime.start(ID)
    await logs.attach(ID)
    deadline = time.monotonic() + 60
    while await logs.last_seq(ID) < 2:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.2)
    assert await logs.last_seq(ID) == 2


async def test_a_runtime_that_fails_is_asked_again(logs: LogService, runtime: FakeRuntime) -> None:
    runtime.knobs.fail["output"] = {1: "engine_down", 2: "timeout"}
    await started(runtime, logs, "print hello")
    deadline = time.monotonic() + 60
    while await logs.last_seq(ID) < 1:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    with_nothing = str(uuid.uuid4())
    await logs.attach(with_nothing)  # gone: no error, no pump
    assert await logs.drained(with_nothing)
    assert with_nothing not in logs._pumps


class ScriptedReader:
    def __init__(self, items: list[Any]) -> None:
        self.items = items
        self.run_id = "run"

    async def __aiter__(self) -> AsyncIterator[Any]:
        for item in self.items:
            yield item

    async def close(self) -> None:
        pass


async def test_gaps_and_line_ends_that_a_runtime_declares(logs: LogService, runtime: FakeRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    async def output(container_id: str, resume: ResumePoint) -> ScriptedReader:
        return ScriptedReader(
            [
                Output("stdout", b"one\ntw", 1_700_000_000.5),
                OutputGap("rotated", 7),
                Output("stdout", b"o", line_end=True),
                Output("stdout", b"three\n"),
            ]
        )

    monkeypatch.setattr(runtime, "output", output)
    await logs.attach(ID)
    assert await logs.drained(ID)
    found = await logs.read(ID, LogsQuery(after=0))
    assert [line[3] for line in found["lines"]] == ["one", "Lost here: 7 lines of output: rotated", "two", "three"]
    assert found["lines"][0][1] == "2023-11-14T22:13:20.500000Z"
    assert found["gaps"] == [[1, 7]]


async def test_many_containers_at_once(tmp_path: Path) -> None:
    """More logs than files may be open; each has its own lines only."""
    runtime = FakeRuntime()
    logs = LogService(tmp_path, runtime=runtime)
    ids = [str(uuid.uuid4()) for _ in range(400)]
    for container_id in ids:
        await runtime.create(
            ContainerSpec(container_id=container_id, name="x", image="x", command=[f"print {container_id}", "exit 0"]), epoch=1, operation_id="o"
        )
    await logs.resume_all(ids)
    await asyncio.gather(*(runtime.start(container_id) for container_id in ids))
    for container_id in ids:
        assert await logs.drained(container_id)
        assert [line[3] for line in (await logs.read(container_id, LogsQuery()))["lines"]] == [container_id]
    await logs.close()
    await runtime.close()
