"""exec: a second command; its streams, its exit code, its end."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agent.runtimes.base import RuntimeFailure


async def run(session: Any, found: dict[str, bytes] | None = None) -> tuple[dict[str, bytes], int | None]:
    """All that it says (into `found`, for who wants to look meanwhile) and its exit code."""
    found = {} if found is None else found
    found |= {"stdout": b"", "stderr": b""}
    async with asyncio.timeout(60):
        async for item in session:
            found[item.stream] += item.data
        return found, await session.wait()


def shell(bench: Any, script: str, *steps: str) -> list[str]:
    return list(steps) if bench.kind == "fake" else ["sh", "-c", script]


async def test_streams_and_exit_code(bench: Any) -> None:
    container_id = await bench.started()
    session = await bench.runtime.exec(container_id, shell(bench, "echo out; echo err >&2; exit 7", "print out", "err err", "exit 7"))
    assert await run(session) == ({"stdout": b"out\n", "stderr": b"err\n"}, 7)


async def test_standard_input_and_its_end(bench: Any) -> None:
    container_id = await bench.started()
    session = await bench.runtime.exec(container_id, ["cat"])
    await session.write(b"through\n")
    await session.close_stdin()
    assert await run(session) == ({"stdout": b"through\n", "stderr": b""}, 0)


async def test_environment_and_folder(real_bench: Any) -> None:
    container_id = await real_bench.started()
    session = await real_bench.runtime.exec(container_id, ["sh", "-c", "echo $COLOR"], env={"COLOR": "blue; exit 9"})
    assert await run(session) == ({"stdout": b"blue; exit 9\n", "stderr": b""}, 0)


async def test_a_terminal_has_its_size_and_can_be_resized(real_bench: Any) -> None:
    container_id = await real_bench.started()
    session = await real_bench.runtime.exec(container_id, ["sh", "-c", "read go; stty size; read go; stty size"], tty=True, columns=100, rows=30)
    await session.write(b"\n")
    said: dict[str, bytes] = {"stdout": b""}

    async def drive() -> None:
        while b"30 100" not in said["stdout"]:
            await asyncio.sleep(0.02)
        await session.resize(columns=50, rows=20)
        await session.write(b"\n")

    driving = asyncio.ensure_future(drive())
    found, code = await run(session, said)
    await driving
    assert code == 0
    assert b"30 100" in found["stdout"]
    assert b"20 50" in found["stdout"]


async def test_kill_really_ends_the_process(real_bench: Any) -> None:
    """Closing the connection alone would leave it running for ever."""
    container_id = await real_bench.started()
    session = await real_bench.runtime.exec(container_id, ["sh", "-c", "sleep 4321 & sleep 4322; true"])
    await asyncio.sleep(0.3)
    await session.kill()
    assert await asyncio.wait_for(session.wait(), 60) == 137
    look = await real_bench.runtime.exec(container_id, ["sh", "-c", "ps w 2>/dev/null | grep -c '[s]leep 432' || true"])
    found, _ = await run(look)
    if real_bench.kind == "docker":  # the process runtime's `ps` sees the whole machine; its group was killed all the same
        assert found["stdout"].strip() == b"0"


async def test_what_does_not_run_takes_no_exec(bench: Any) -> None:
    container_id = await bench.create()
    with pytest.raises(RuntimeFailure) as caught:
        await bench.runtime.exec(container_id, ["true"])
    assert caught.value.code == "not_running"
    with pytest.raises(RuntimeFailure) as caught:
        await bench.runtime.exec("5b6ae3c1-0000-4000-8000-000000000000", ["true"])
    assert caught.value.code == "no_such_container"


async def test_a_command_that_is_not_there(real_bench: Any) -> None:
    container_id = await real_bench.started()
    try:
        session = await real_bench.runtime.exec(container_id, ["/no/such/command"])
        _, code = await run(session)
        assert code in (126, 127)
    except RuntimeFailure as failure:
        assert failure.code == "start_failed"


async def test_an_exec_ends_with_its_container(real_bench: Any) -> None:
    container_id = await real_bench.started()
    session = await real_bench.runtime.exec(container_id, ["sh", "-c", "echo up; exec sleep 1000"])
    found = b""
    async with asyncio.timeout(60):
        async for item in session:
            if not found:
                await real_bench.runtime.kill(container_id)
            found += item.data
    assert found == b"up\n"
