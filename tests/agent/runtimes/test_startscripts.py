"""A person's startup script runs after the start, with its output in the log."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agent.logs import LogService
from agent.protocol.commands import LogsQuery
from agent.startscripts import StartScripts
from tests.agent.runtimes.conftest import Bench, until


async def lines(logs: LogService, container_id: str, stream: Any) -> list[str]:
    page = await logs.read(container_id, LogsQuery(streams=[stream], tail=100))
    return [line[3] for line in page["lines"]]


@pytest.mark.docker
async def test_its_output_and_its_end_are_in_the_log(docker_bench: Bench, tmp_path: Path) -> None:
    logs = LogService(tmp_path / "logs", runtime=docker_bench.runtime)
    scripts = StartScripts(docker_bench.runtime, logs)
    container_id = await docker_bench.started("forever")
    try:
        scripts.begin(container_id, "echo one\n\necho two >&2\nexit 4")
        await until(lambda: _has(logs, container_id, "The startup script ended with exit code 4."))
        assert sorted(await lines(logs, container_id, "startup")) == ["one", "two"]
        scripts.begin(container_id, "sleep 600")
        scripts.begin(container_id, "")  # the next start has none: the one before is ended
        await asyncio.sleep(0)
        await until(lambda: _idle(scripts))
    finally:
        await scripts.close()
        await logs.close()


async def test_one_that_cant_be_run_is_told_and_harms_nobody(tmp_path: Path) -> None:
    from agent.runtimes.fake import FakeRuntime

    runtime = FakeRuntime()
    logs = LogService(tmp_path / "logs", runtime=runtime)
    scripts = StartScripts(runtime, logs)
    scripts.begin("11111111-2222-4333-8444-555555555555", "echo hello")
    try:
        await until(lambda: _has(logs, "11111111-2222-4333-8444-555555555555", "The startup script could not be run: "))
    finally:
        await scripts.close()
        await logs.close()


async def _has(logs: LogService, container_id: str, text: str) -> bool:
    return any(line.startswith(text) for line in await lines(logs, container_id, "events"))


async def _idle(scripts: StartScripts) -> bool:
    return not scripts._tasks
