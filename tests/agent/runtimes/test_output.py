"""output: every byte from the first on, by stream; what is read later is the same."""

from __future__ import annotations

import asyncio
from typing import Any

from agent.runtimes.base import ResumePoint


async def test_a_reader_opened_before_the_start_has_the_first_line(bench: Any) -> None:
    container_id = await bench.create("hello-exit-3")
    reader = await bench.runtime.output(container_id, ResumePoint())
    await bench.runtime.start(container_id)
    found = b""
    async with asyncio.timeout(60):
        async for item in reader:
            found += item.data
    assert found == b"hello\n"


async def test_standard_error_is_told_apart(bench: Any) -> None:
    container_id = await bench.started("hello")
    reader = await bench.runtime.output(container_id, ResumePoint())
    found = {"stdout": b"", "stderr": b""}
    async with asyncio.timeout(60):
        async for item in reader:
            found[item.stream] += item.data
            if all(found.values()):
                break
    assert found == {"stdout": b"hello\n", "stderr": b"oops\n"}


async def test_what_was_written_before_anybody_read_is_there(bench: Any) -> None:
    container_id = await bench.started("count")
    await bench.ended(container_id)
    found = (await bench.text(container_id))["stdout"] if bench.kind != "docker" else (await _late(bench, container_id))
    assert found == b"".join(b"line %d\n" % number for number in range(1, 5001))


async def _late(bench: Any, container_id: str) -> bytes:
    """An ended container's attach waits for its next run: read until the last line."""
    return (await bench.text(container_id, until_text=b"line 5000\n"))["stdout"]


async def test_a_last_line_without_a_newline_is_there(bench: Any) -> None:
    container_id = await bench.create("unfinished")
    reader = await bench.runtime.output(container_id, ResumePoint())
    await bench.runtime.start(container_id)
    found = b""
    async with asyncio.timeout(60):
        async for item in reader:
            found += item.data
    assert found == b"no newline"


async def test_reading_goes_on_behind_a_resume_point(real_bench: Any) -> None:
    container_id = await real_bench.started("console")
    await real_bench.text(container_id, until_text=b"ready\n")
    await real_bench.runtime.write_stdin(container_id, b"one\n")
    await real_bench.text(container_id, until_text=b"one\n")
    reader = await real_bench.runtime.output(container_id, ResumePoint())
    resume = ResumePoint(run_id=reader.run_id, stdout_bytes=6, stdout_lines=1, stdout_tail=("ready",))
    await reader.close()
    assert (await real_bench.text(container_id, resume=resume, until_text=b"one\n"))["stdout"] == b"got one\n"
