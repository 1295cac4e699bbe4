"""Output: every byte once, from any place on, whoever was there to read it."""

from __future__ import annotations

import asyncio
import random
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.logs.service import LogService
from agent.protocol.commands import LogsQuery
from agent.runtimes.base import ResumePoint, RuntimeFailure
from agent.runtimes.process import ProcessRuntime
from tests.agent.runtimes.process.rig import (
    INSTANCE,
    Taken,
    created,
    ended,
    python,
    shell,
    spec_of,
    started,
    take_all,
    take_until,
    until,
)
from tests.sizes import bytes_of

FLOOD = """
import sys
for number in range({count}):
    print('out', number)
    print('err', number, file=sys.stderr)
"""


def flood(count: int, stream: str) -> bytes:
    return b"".join(b"%s %d\n" % (stream.encode(), number) for number in range(count))


async def test_a_reader_opened_before_the_start_loses_nothing(runtime: ProcessRuntime) -> None:
    container_id = await created(runtime, shell("echo first; echo second >&2; exit 3"))
    reader = await runtime.output(container_id, ResumePoint())
    reading = asyncio.ensure_future(take_all(reader))
    await asyncio.sleep(0.1)
    assert not reading.done()
    begun = time.time()
    await runtime.start(container_id)
    taken = await reading
    assert (taken.stdout, taken.stderr, taken.gaps) == (b"first\n", b"second\n", [])
    assert all(begun - 1 < moment < time.time() + 1 for moment in taken.times)
    report = await ended(runtime, container_id)
    assert report.exit_code == 3


async def test_what_was_written_while_nobody_read_is_there_later(runtime: ProcessRuntime) -> None:
    container_id = await started(runtime, python(FLOOD.format(count=5000)))
    await ended(runtime, container_id)
    taken = await take_all(await runtime.output(container_id, ResumePoint()))
    assert taken.stdout == flood(5000, "out")
    assert taken.stderr == flood(5000, "err")


async def test_from_any_byte_on_nothing_is_lost_and_nothing_doubled(data_dir: Path) -> None:
    """Small segments, so that resume points fall into all kinds of places; each time only a part of what was given had been stored."""
    runtime = ProcessRuntime(root=data_dir, segment_bytes=4096)
    await runtime.open(instance=INSTANCE)
    container_id = await started(runtime, python(FLOOD.format(count=3000)))
    whole = {"stdout": flood(3000, "out"), "stderr": flood(3000, "err")}
    rng = random.Random(7)
    at = Taken()
    for _ in range(40):
        reader = await runtime.output(container_id, at.resume())
        before = (len(at.stdout), len(at.stderr))
        at = await take_until(reader, lambda t, b=before: len(t.stdout) > b[0] or len(t.stderr) > b[1], into=at)
        at.stdout = at.stdout[: before[0] + rng.randrange(0, 900)]
        at.stderr = at.stderr[: before[1] + rng.randrange(0, 900)]
    assert len(at.stdout) + len(at.stderr) < len(whole["stdout"]) + len(whole["stderr"])
    at = await take_all(await runtime.output(container_id, at.resume()), into=at)
    assert at.stdout == whole["stdout"]
    assert at.stderr == whole["stderr"]
    assert at.gaps == []
    await runtime.remove(container_id)


async def test_another_run_id_than_ours_means_from_the_beginning(runtime: ProcessRuntime) -> None:
    container_id = await started(runtime, shell("echo one; echo two"))
    await ended(runtime, container_id)
    taken = await take_all(await runtime.output(container_id, ResumePoint(run_id="somebody else's", stdout_bytes=4)))
    assert taken.stdout == b"one\ntwo\n"


async def test_each_run_is_read_to_its_end_before_the_next(runtime: ProcessRuntime) -> None:
    """A restart that nobody read: the rest of the first run is given, then the second one from its beginning."""
    container_id = await started(runtime, shell("echo run; read line; echo last of $$; exit"))
    first = await take_until(await runtime.output(container_id, ResumePoint()), lambda taken: taken.stdout == b"run\n")
    for _ in range(2):
        await runtime.write_stdin(container_id, b"go\n")
        await ended(runtime, container_id)
        await runtime.start(container_id)
    rest = await take_all(await runtime.output(container_id, first.resume()), into=first)
    assert rest.stdout.startswith(b"run\nlast of ")
    second = await take_all(await runtime.output(container_id, rest.resume()))
    assert second.run_id != rest.run_id
    assert second.stdout.startswith(b"run\nlast of ")
    assert second.stdout != rest.stdout
    third = await take_until(await runtime.output(container_id, second.resume()), lambda taken: taken.stdout == b"run\n")
    assert third.run_id not in (rest.run_id, second.run_id)


async def test_a_reader_ends_with_the_run_not_with_a_pause_in_it(runtime: ProcessRuntime) -> None:
    container_id = await started(runtime, shell("echo a; sleep 1; echo b"))
    taken = await take_all(await runtime.output(container_id, ResumePoint()))
    assert taken.stdout == b"a\nb\n"


async def test_a_reader_of_a_removed_container_ends(runtime: ProcessRuntime) -> None:
    container_id = await created(runtime, shell("true"))
    reading = asyncio.ensure_future(take_all(await runtime.output(container_id, ResumePoint())))
    await asyncio.sleep(0.05)
    await runtime.remove(container_id)
    assert (await asyncio.wait_for(reading, 10)).stdout == b""
    with pytest.raises(RuntimeFailure) as refused:
        await runtime.output(container_id, ResumePoint())
    assert refused.value.code == "no_such_container"


async def test_what_was_taken_is_dropped_and_offsets_stay(data_dir: Path) -> None:
    """The spool does not grow for ever while somebody reads, and a resume point still means the same bytes."""
    runtime = ProcessRuntime(root=data_dir, segment_bytes=64 * 1024)
    await runtime.open(instance=INSTANCE)
    line = "x" * 99
    container_id = await started(runtime, python(f"for i in range(40000): print('{line}')\nimport time; time.sleep(600)"))
    taken = Taken()

    def size() -> int:
        return bytes_of(data_dir.rglob("spool/**/*"))

    while len(taken.stdout) < 4_000_000:
        reader = await runtime.output(container_id, taken.resume())
        want = len(taken.stdout) + 500_000
        taken = await take_until(reader, lambda t, w=want: len(t.stdout) >= min(w, 4_000_000), into=taken)
    assert taken.stdout == (line.encode() + b"\n") * 40000
    assert taken.gaps == []
    await until(lambda: size() < 1_500_000, what=f"a small spool, not {size()} bytes")
    await runtime.remove(container_id)


async def test_output_that_nobody_reads_for_ever_is_bounded_and_the_gap_is_told(data_dir: Path) -> None:
    runtime = ProcessRuntime(root=data_dir, segment_bytes=64 * 1024, spool_bytes=256 * 1024)
    await runtime.open(instance=INSTANCE)
    container_id = await started(runtime, python("for i in range(20000): print(f'line {i:06d}', 'y'*80)"))
    await ended(runtime, container_id)
    assert bytes_of(data_dir.rglob("spool/**/*")) < 600_000
    taken = await take_all(await runtime.output(container_id, ResumePoint()))
    assert len(taken.gaps) == 1
    first = int(taken.stdout.split(b"\n", 1)[0].split()[1]) if taken.stdout.startswith(b"line") else None
    assert taken.stdout.endswith(b"line 019999 " + b"y" * 80 + b"\n")
    assert taken.gaps[0].lines is not None
    assert taken.gaps[0].lines + taken.stdout.count(b"\n") == 20000
    assert first is None or first == taken.gaps[0].lines
    await runtime.remove(container_id)


async def test_after_a_gap_a_resume_point_still_means_the_same_byte(data_dir: Path) -> None:
    """Who stores counts what it was given; what was lost is not in that count."""
    runtime = ProcessRuntime(root=data_dir, segment_bytes=16 * 1024, spool_bytes=64 * 1024)
    await runtime.open(instance=INSTANCE)
    container_id = await started(runtime, python("for i in range(5000): print(f'line {i:06d}', 'y'*80)"))
    await ended(runtime, container_id)
    at = Taken()
    for _ in range(4):  # at least 48 KiB are kept, so that 36,004 bytes are there whatever segment was dropped last
        want = len(at.stdout) + 9_001
        at = await take_until(await runtime.output(container_id, at.resume()), lambda t, w=want: len(t.stdout) >= w, into=at)
        at.stdout = at.stdout[:want]
    at = await take_all(await runtime.output(container_id, at.resume()), into=at)
    assert len(at.gaps) == 1
    numbers = [int(line.split()[1]) for line in at.stdout.splitlines()[1:]]
    assert numbers == list(range(5000 - len(numbers), 5000))
    following = await runtime.output(container_id, at.resume())
    assert following.run_id != at.run_id
    await runtime.remove(container_id)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Two megabytes."""
    folder = tmp_path / "small"
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs root")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)  # a keeper that is just ending may still stand in it


async def test_a_full_disk_loses_lines_not_the_container_nor_its_exit_code(small_disk: Path) -> None:
    """SECURITY B10, R15: how many lines are lost is told, and after the restart the next run is read."""
    runtime = ProcessRuntime(root=small_disk, segment_bytes=256 * 1024)
    await runtime.open(instance=INSTANCE)
    container_id = await started(runtime, python("import sys\nfor i in range(40000): print(f'line {i:06d}', 'y'*80)\nsys.exit(9)"))
    report = await ended(runtime, container_id)
    assert report.exit_code == 9
    taken = await take_all(await runtime.output(container_id, ResumePoint()))
    assert taken.gaps
    assert taken.stdout.count(b"\n") + sum(gap.lines or 0 for gap in taken.gaps) == 40000
    following = await runtime.output(container_id, taken.resume())
    assert following.run_id != taken.run_id
    await runtime.start(container_id)
    second = await take_all(following)
    assert second.stdout.startswith(b"line 000000 ")
    await runtime.remove(container_id)


async def test_the_end_of_a_run_does_not_wait_for_who_escaped(runtime: ProcessRuntime) -> None:
    """A daemon that keeps the pipe open in a session of its own dies with its container, as it would in an engine."""
    container_id = await started(runtime, shell("setsid sleep 600 & echo parent is done"))
    report = await ended(runtime, container_id)
    assert report.exit_code == 0
    taken = await take_all(await runtime.output(container_id, ResumePoint()))
    assert taken.stdout == b"parent is done\n"


async def test_a_terminal_gives_one_stream(runtime: ProcessRuntime) -> None:
    container_id = await created(runtime, shell("test -t 0 && test -t 1 && echo is a terminal; echo e >&2"), tty=True)
    reader = await runtime.output(container_id, ResumePoint())
    await runtime.start(container_id)
    taken = await take_all(reader)
    assert taken.stdout == b"is a terminal\r\ne\r\n"
    assert taken.stderr == b""


async def test_half_a_megabyte_in_one_line_and_bytes_that_are_no_text(runtime: ProcessRuntime) -> None:
    container_id = await created(runtime, python("import sys,os\nos.write(1,b'\\xff\\x00\\x1b')\nsys.stdout.write('z'*500000)"))
    reader = await runtime.output(container_id, ResumePoint())
    await runtime.start(container_id)
    assert (await take_all(reader)).stdout == b"\xff\x00\x1b" + b"z" * 500000


async def test_idle_readers_cost_next_to_nothing(runtime: ProcessRuntime) -> None:
    """Thirty quiet containers must not keep a small machine busy."""
    readers = []
    for _ in range(30):
        spec = spec_of(shell("true"))
        await runtime.create(spec, epoch=1, operation_id="o")
        readers.append(asyncio.ensure_future(take_all(await runtime.output(spec.container_id, ResumePoint()), seconds=60)))
    used = 1.0
    for _ in range(10):  # the first looks still hear of what the starts left behind
        before = time.process_time()
        await asyncio.sleep(2)
        used = min(used, (time.process_time() - before) / 2)
        if used < 0.15:
            break
    for reading in readers:
        reading.cancel()
    await asyncio.gather(*readers, return_exceptions=True)
    assert used < 0.15, f"{used:.0%} of a core"


async def test_the_next_run_is_attached_also_where_nobody_stored_the_ones_before(runtime: ProcessRuntime, tmp_path: Path) -> None:
    """As after the death of an agent: run 1 wrote nothing, run 2 a line that nobody stored, and run 3 is over as soon as it has written its own."""
    program = "n=$(cat n 2>/dev/null || echo 0); n=$((n + 1)); echo $n > n; [ $n = 1 ] || echo line $n"
    container_id = await created(runtime, shell(program))
    for _ in range(2):
        await runtime.start(container_id)
        await ended(runtime, container_id)
    logs = LogService(tmp_path / "logs", runtime=runtime)
    try:
        await logs.attach(container_id, before_start=True)
        await runtime.start(container_id)

        async def stored() -> bool:
            lines = (await logs.read(container_id, LogsQuery(tail=10)))["lines"]
            return [line[3] for line in lines] == ["line 2", "line 3"]

        await until(stored, what="both lines, each once")
        await ended(runtime, container_id)
        await logs.attach(container_id, before_start=True)
        await runtime.start(container_id)
        await until(lambda: _is_last(logs, container_id, "line 4"), what="the line of the run after")
    finally:
        await logs.close()


async def _is_last(logs: LogService, container_id: str, text: str) -> bool:
    return bool((await logs.read(container_id, LogsQuery(tail=1)))["lines"][-1][3] == text)
