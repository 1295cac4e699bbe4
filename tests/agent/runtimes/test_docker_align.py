"""Where the engine's log and the attached stream meet: on simulated engines, with every place a restart can fall on."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.logs.lines import LineCutter
from agent.runtimes.base import Output, OutputGap, ResumePoint
from agent.runtimes.docker import align, enginelog, output
from agent.runtimes.docker.enginelog import Record, _Clock, _tty_records

SECOND = 1_000_000_000


def records(lines: list[bytes], *, begin: int = 0, step: int = 1000) -> list[Record]:
    return [Record(1, begin + number * step, line) for number, line in enumerate(lines)]


def stored(lines: list[bytes], *, at: float = 0) -> ResumePoint:
    cutter = LineCutter()
    texts = cutter.feed(b"".join(lines))
    return ResumePoint(
        run_id="r", stdout_bytes=cutter.taken_bytes, stdout_lines=cutter.taken_lines, stdout_tail=tuple(texts[-200:]), last_time_unix=at
    )


def left(rest: align.Rest) -> bytes:
    return b"".join(record.data for record in rest.records)


def test_what_is_stored_is_dropped_by_count() -> None:
    lines = [b"same\n"] * 10
    rest = align.skip_stored(records(lines), stored(lines[:7]), [1])
    assert (left(rest), rest.lost) == (b"same\n" * 3, {})


def test_an_open_line_is_cut_where_it_was_stored() -> None:
    point = ResumePoint(run_id="r", stdout_lines=1, stdout_bytes=8, stdout_open_bytes=4, stdout_tail=("one", "half"))
    rest = align.skip_stored(records([b"one\n", b"half", b"next run\n"]), point, [1])
    assert left(rest) == b"next run\n"
    rest = align.skip_stored(records([b"one\n", b"half way\n"]), point, [1])
    assert left(rest) == b" way\n"


def test_a_rotated_log_is_found_by_its_content_or_declared_lost() -> None:
    lines = [b"line %d\n" % number for number in range(1000)]
    rest = align.skip_stored(records(lines[300:]), stored(lines[:600]), [1])
    assert (left(rest), rest.lost) == (b"".join(lines[600:]), {})
    rest = align.skip_stored(records(lines[800:]), stored(lines[:600]), [1])
    assert left(rest) == b"".join(lines[800:])
    assert list(rest.lost) == [1]


def test_like_lines_in_a_rotated_log_are_not_guessed_in_silence() -> None:
    lines = [b"y\n"] * 1000
    later = records(lines[:700], begin=100 * SECOND)
    rest = align.skip_stored(later, stored(lines[:600], at=100.0), [1])
    assert rest.lost or len(rest.records) == 100


@given(
    st.lists(st.sampled_from([b"a\n", b"b\n", b"c\n", b"\n", b"long line\n"]), min_size=2, max_size=60),
    st.data(),
)
def test_a_sure_meeting_is_the_true_one(lines: list[bytes], data: st.DataObject) -> None:
    """Whatever the content: where it says `sure`, nothing is lost or doubled."""
    whole = b"".join(lines)
    cut = data.draw(st.integers(0, len(whole) - 1))
    attached = whole[cut:]
    true_index = whole[:cut].count(b"\n")
    zone = [(line, 10 + number) for number, line in enumerate(lines)]
    quiet = data.draw(st.booleans())
    meeting = align.meet(zone, attached, first=0, newest_ns=10 + len(lines), quiet=quiet)
    assert meeting is not None
    if meeting.sure:
        assert meeting.index == true_index


class Engine:
    """One stream of a container: a log and an attach, of which the agent sees as much as the test lets it."""

    def __init__(self, lines: list[bytes], *, attach_at: int) -> None:
        self.whole = b"".join(lines)
        self.attach_at = attach_at
        self.logged: list[Record] = []
        now = output.time.time_ns()
        at = 0
        for line in lines:
            at += len(line)
            self.logged.append(Record(1, now - 5 * SECOND if at <= attach_at else now + 1_000_000, line))

    async def read(self, wire: Any, ref: str, *, tty: bool, since_ns: int = 0, tail: int = 0, timeout: float = 120) -> list[Record]:
        return [Record(one.stream, one.time_ns, one.data) for one in self.logged if one.time_ns >= since_ns]


class StillRunning:
    async def call(self, *words: Any, **more: Any) -> Any:
        return {"State": {"Running": False}}


class PlainAnswer:
    def __init__(self) -> None:
        self.reader = asyncio.StreamReader()

    def close(self) -> None:
        pass


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text("xyz", min_size=0, max_size=3), min_size=1, max_size=25),
    st.integers(0, 25),
    st.integers(0, 200),
    st.lists(st.integers(1, 40), max_size=5),
)
def test_every_byte_once_or_a_gap(texts: list[str], keep: int, attach_at: int, chunks: list[int]) -> None:
    """Numbered lines, any stored count, any place of attaching, any cutting of what comes."""
    lines = [f"{number} {text}\n".encode() for number, text in enumerate(texts)]
    whole = b"".join(lines)
    attach_at = min(attach_at, len(whole))
    keep = min(keep, whole[:attach_at].count(b"\n"))
    engine = Engine(lines, attach_at=attach_at)

    async def go() -> list[Any]:
        answer = PlainAnswer()
        reader = output.DockerReader(
            StillRunning(),  # type: ignore[arg-type]
            "r",
            tty=True,
            answer=answer,  # type: ignore[arg-type]
            asked_ns=output.time.time_ns() - SECOND,
            resume=stored(lines[:keep], at=output.time.time()),
            behind=True,
            turns=asyncio.Semaphore(1),
        )
        live = whole[attach_at:]
        for size in chunks:
            answer.reader.feed_data(live[:size]) if live[:size] else None
            live = live[size:]
        if live:
            answer.reader.feed_data(live)
        answer.reader.feed_eof()
        return [item async for item in reader]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(enginelog, "read", engine.read)
        items = asyncio.run(go())
    assert not any(isinstance(item, OutputGap) for item in items)
    assert b"".join(item.data for item in items if isinstance(item, Output)) == b"".join(lines[keep:])


def test_records_of_a_terminal_are_told_apart_by_their_stamps() -> None:
    stamp = b"2026-11-21T01:52:11.371437276Z "
    data = stamp + b"one\r\n" + stamp + b"x" * enginelog.PARTIAL_BYTES + stamp + b"rest\n" + stamp + b"open"
    found = list(_tty_records(data, _Clock()))
    assert [len(record.data) for record in found] == [5, enginelog.PARTIAL_BYTES, 5, 4]
    assert found[0].time_ns % SECOND == 371437276
    assert [record.is_end for record in found] == [False, False, False, True]
