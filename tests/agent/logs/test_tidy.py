"""At night: new files, what is too old goes, and logs of containers that are gone; numbers go on."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

from agent.logs import LogService
from agent.logs.batches import Batch
from agent.protocol.commands import LogsQuery
from agent.runtimes.fake import FakeRuntime

ONE, TWO = "11111111-2222-4333-8444-555555555555", "99999999-2222-4333-8444-555555555555"


async def texts(logs: LogService, container_id: str) -> list[str]:
    return [line[3] for line in (await logs.read(container_id, LogsQuery(tail=100)))["lines"]]


async def test_rotation_seals_and_retention_forgets_whole_files(tmp_path: Path) -> None:
    logs = LogService(tmp_path, runtime=FakeRuntime())
    try:
        await logs.append(ONE, "old one\nold two")
        await logs.append(TWO, "of another")
        assert (await logs.tidy(rotate=True, older_than_seconds=0, forget=[]))["rotated"] == 2
        assert (await logs.tidy(rotate=True, older_than_seconds=0, forget=[]))["rotated"] == 0  # nothing is in the new ones
        await logs.append(ONE, "new")
        assert await texts(logs, ONE) == ["old one", "old two", "new"]
        assert (await logs.tidy(rotate=False, older_than_seconds=3600, forget=[]))["dropped"] == 0
        for packed in (tmp_path / ONE).glob("*.gz"):
            os.utime(packed, (time.time() - 7200,) * 2)
        assert (await logs.tidy(rotate=False, older_than_seconds=3600, forget=[TWO])) == {"rotated": 0, "dropped": 1, "forgotten": 1}
        assert await texts(logs, ONE) == ["new"]
        assert await logs.append(ONE, "next") == 4
        assert not (tmp_path / TWO).exists()
    finally:
        await logs.close()


async def test_it_works_on_logs_that_nobody_has_open_and_survives_a_restart(tmp_path: Path) -> None:
    logs = LogService(tmp_path, runtime=FakeRuntime())
    await logs.append(ONE, "kept")
    await logs.close()
    again = LogService(tmp_path, runtime=FakeRuntime())
    try:
        assert (await again.tidy(rotate=True, older_than_seconds=0, forget=[]))["rotated"] == 1
        assert await texts(again, ONE) == ["kept"]
        assert await again.append(ONE, "on") == 2
    finally:
        await again.close()


async def test_who_follows_loses_no_line_while_files_begin_anew_and_old_ones_go(tmp_path: Path) -> None:
    """R58: rotations and retention between the lines; a reader that is far behind is told what is gone and goes on."""
    logs = LogService(tmp_path, runtime=FakeRuntime())
    seen: list[int] = []
    slow: list[int] = []
    try:
        await logs.append(ONE, "line 0")
        late = logs.follow(ONE, 0)
        slow += numbers(await anext(late))

        async def follow() -> None:
            async for batch in logs.follow(ONE, 0):
                seen.extend(numbers(batch))

        reader = asyncio.create_task(follow())
        for number in range(1, 400):
            await logs.append(ONE, f"line {number}")
            if number % 40 == 0:
                await logs.tidy(rotate=True, older_than_seconds=0, forget=[])
                while not seen or seen[-1] < number:
                    await asyncio.sleep(0)
                for packed in (tmp_path / ONE).glob("*.gz"):
                    os.utime(packed, (time.time() - 7200,) * 2)
                await logs.tidy(rotate=False, older_than_seconds=3600, forget=[])
        await eventually(lambda: len(seen) >= 400)
        assert seen == list(range(1, 401)), "each once, in order"
        for packed in (tmp_path / ONE).glob("*"):
            if packed.suffix == ".gz":
                packed.write_bytes(packed.read_bytes()[:-20])  # torn by a full disk or a copy
        assert await logs.append(ONE, "after") == 401
        async with asyncio.timeout(60):
            async for batch in late:
                slow += numbers(batch)
                if slow[-1] == 401:
                    break
        assert slow == sorted(set(slow)), "nothing twice, though much of it is gone"
        reader.cancel()
    finally:
        await logs.close()


def numbers(batch: Batch) -> list[int]:
    return list(range(batch.first_seq, batch.last_seq + 1))


async def eventually(check: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not check():
            await asyncio.sleep(0.01)
