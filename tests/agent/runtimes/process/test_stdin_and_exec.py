"""Standard input of the main process, and second commands beside it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

import pytest

from agent.protocol.messages import StopSpec
from agent.runtimes.base import ExecSession, ResumePoint, RuntimeFailure
from agent.runtimes.process import ProcessRuntime
from tests.agent.runtimes.process.rig import created, processes, python, shell, started, take_until, until


async def output_of(session: ExecSession) -> tuple[bytes, bytes]:
    found = {"stdout": b"", "stderr": b""}
    async with asyncio.timeout(60):
        async for output in session:
            found[output.stream] += output.data
    return found["stdout"], found["stderr"]


async def test_what_is_typed_arrives_in_order_and_input_stays_open(runtime: ProcessRuntime) -> None:
    container_id = await started(runtime, python("import sys\nfor line in sys.stdin: print('you said', line.strip())\nprint('closed')"))
    for number in range(200):
        await runtime.write_stdin(container_id, b"line %d\n" % number)
    taken = await take_until(await runtime.output(container_id, ResumePoint()), lambda taken: b"line 199\n" in taken.stdout)
    assert taken.stdout == b"".join(b"you said line %d\n" % number for number in range(200))


async def test_input_for_who_does_not_read_fails_in_bounded_time(runtime: ProcessRuntime) -> None:
    container_id = await started(runtime, shell("sleep 600"))
    async with asyncio.timeout(60):
        with pytest.raises(RuntimeFailure) as refused:
            for _ in range(100):
                await runtime.write_stdin(container_id, b"x" * 65536)
    assert refused.value.code == "timeout"
    report = await runtime.inspect(container_id)
    assert report is not None
    assert report.state == "running"


async def test_input_is_refused_where_nobody_can_take_it(runtime: ProcessRuntime) -> None:
    container_id = await created(runtime, shell("sleep 600"))
    with pytest.raises(RuntimeFailure) as refused:
        await runtime.write_stdin(container_id, b"x\n")
    assert refused.value.code == "not_running"
    closed = await started(runtime, shell("cat; echo end of input; sleep 600"), stdin_open=False)
    await take_until(await runtime.output(closed, ResumePoint()), lambda taken: b"end of input" in taken.stdout)
    with pytest.raises(RuntimeFailure) as refused:
        await runtime.write_stdin(closed, b"x\n")
    assert refused.value.code == "unsupported"


async def test_exec_runs_in_the_same_folder_and_environment(runtime: ProcessRuntime) -> None:
    container_id = await started(runtime, shell("echo here > file; sleep 600"), env={"OF_THE_CONTAINER": "yes"})
    await until((runtime.data_dir(container_id) / "file").exists)
    session = await runtime.exec(container_id, shell("cat file; echo $OF_THE_CONTAINER $MORE >&2; exit 9"), env={"MORE": "too"})
    assert await output_of(session) == (b"here\n", b"yes too\n")
    assert await session.wait() == 9


async def test_exec_takes_input_and_sees_its_end(runtime: ProcessRuntime) -> None:
    container_id = await started(runtime, shell("sleep 600"))
    session = await runtime.exec(container_id, ["cat"])
    await session.write(b"in ")
    await session.write(b"and out")
    await session.close_stdin()
    assert await output_of(session) == (b"in and out", b"")
    assert await session.wait() == 0


async def test_a_terminal_has_its_size_and_can_be_resized(runtime: ProcessRuntime) -> None:
    container_id = await started(runtime, shell("sleep 600"))
    session = await runtime.exec(
        container_id, shell("stty size; read go; stty size; ps -o tty= -p $$ 2>/dev/null; exit 4"), tty=True, columns=91, rows=33
    )
    seen = b""
    async with asyncio.timeout(60):
        async for output in session:
            seen += output.data
            if seen.count(b"33 91") and b"go" not in seen:
                await session.resize(columns=120, rows=40)
                await session.write(b"go\n")
    assert b"33 91" in seen
    assert b"40 120" in seen
    assert await session.wait() == 4


async def test_control_c_in_a_terminal_reaches_the_command(runtime: ProcessRuntime) -> None:
    container_id = await started(runtime, shell("sleep 600"))
    session = await runtime.exec(container_id, shell("trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.1; done"), tty=True)
    seen = b""
    async with asyncio.timeout(60):
        async for output in session:
            if b"ready" in output.data:
                await session.write(b"\x03")
            seen += output.data
    assert b"caught" in seen
    assert await session.wait() == 3


@pytest.mark.parametrize("tty", [False, True])
async def test_killing_an_exec_ends_its_group_and_its_output(runtime: ProcessRuntime, tty: bool) -> None:
    container_id = await started(runtime, shell("sleep 600"))

    def with_word(*words: bytes) -> list[int]:
        """Its processes whose command line has one of these: a start may still be between two programs."""
        found = []
        for pid in processes(container_id):
            with contextlib.suppress(OSError):
                if any(word in Path("/proc", str(pid), "cmdline").read_bytes() for word in words):
                    found.append(pid)
        return found

    session = await runtime.exec(container_id, shell("sleep 601 & sleep 602 & echo ready; wait"), tty=tty)
    async with asyncio.timeout(60):
        async for output in session:
            if b"ready" in output.data:
                await session.kill()
    assert await session.wait() == 137
    await until(lambda: not with_word(b"601", b"602"), what="the end of the exec's processes")
    assert with_word(b"600"), "and of nothing else"


async def test_a_command_that_is_not_there_says_127(runtime: ProcessRuntime) -> None:
    container_id = await started(runtime, shell("sleep 600"))
    session = await runtime.exec(container_id, ["no-such-program"])
    _, error = await output_of(session)
    assert b"no-such-program" in error
    assert await session.wait() == 127


async def test_exec_is_refused_where_nothing_runs(runtime: ProcessRuntime) -> None:
    container_id = await created(runtime, shell("sleep 600"))
    for wanted, code in ((container_id, "not_running"), ("00000000-0000-0000-0000-000000000000", "no_such_container")):
        with pytest.raises(RuntimeFailure) as refused:
            await runtime.exec(wanted, ["true"])
        assert refused.value.code == code


@pytest.mark.parametrize("how", ["stop", "by itself"])
async def test_execs_end_with_their_container(runtime: ProcessRuntime, how: str) -> None:
    container_id = await started(runtime, shell("read line; exit 0"))
    session = await runtime.exec(container_id, shell("sleep 600 & wait"))
    reading = asyncio.ensure_future(output_of(session))
    if how == "stop":
        await runtime.stop(container_id, StopSpec(grace_seconds=1))
    else:
        await runtime.write_stdin(container_id, b"now\n")
    await asyncio.wait_for(reading, 10)
    assert await session.wait() == 137
    await until(lambda: not processes(container_id))


async def test_many_execs_leave_no_descriptor_behind(runtime: ProcessRuntime) -> None:
    container_id = await started(runtime, shell("sleep 600"))

    async def one(tty: bool) -> None:
        session = await runtime.exec(container_id, ["true"], tty=tty)
        await output_of(session)
        assert await session.wait() == 0

    await one(True)
    await one(False)
    before = len(os.listdir("/proc/self/fd"))
    for number in range(10):
        await one(number % 2 == 0)
    await until(lambda: len(os.listdir("/proc/self/fd")) <= before + 1, what="closed descriptors")


async def test_a_terminal_nobody_reads_from_holds_up_only_itself(runtime: ProcessRuntime) -> None:
    container_id = await started(runtime, shell("sleep 600"))
    session = await runtime.exec(container_id, shell("sleep 600"), tty=True)
    writing = asyncio.ensure_future(session.write(b"x" * 1_000_000))
    await asyncio.sleep(0.2)
    async with asyncio.timeout(60):
        assert (await runtime.inspect(container_id)) is not None
        await session.kill()
    await asyncio.wait({writing}, timeout=5)
    assert writing.done()
    writing.exception()
