"""At night: new files, what is too old goes, and logs of containers that are gone; numbers go on."""

from __future__ import annotations

import os
import time
from pathlib import Path

from agent.logs import LogService
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
