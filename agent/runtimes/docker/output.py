"""A container's output, every byte once: `attach` while we are there, the engine's own log for what came while we were not."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, Literal

from agent.runtimes.base import Output, OutputGap, ResumePoint, RuntimeFailure
from agent.runtimes.docker import align, enginelog, errors
from agent.runtimes.docker.enginelog import Record
from agent.runtimes.docker.wire import CHUNK, Answer, Demux, EngineStatus, Wire

CATCH_UPS = 2
"""Logs read at a time: each may hold tens of MB."""
HELD_BYTES = 8 * 1024 * 1024
"""Attached bytes kept while a log is read; beyond, the container waits a moment."""
SETTLE_NS = 500_000_000
"""The engine writes its log within this time after a line's end, even when it is busy."""
PATIENCE_SECONDS = 4.0
_NAMES: dict[int, Literal["stdout", "stderr"]] = {1: "stdout", 2: "stderr"}
_JOIN_BYTES = 32 * 1024

FindItem = Callable[[str], Awaitable[dict[str, Any] | None]]
FindRef = Callable[[str], Awaitable[str | None]]
"""The engine's id of a container, from memory where it is known."""


class OutputDesk:
    """Opens readers."""

    def __init__(self, wire: Wire, find: FindItem, ref: FindRef | None = None) -> None:
        self._wire = wire
        self._find = find
        self._ref = ref or self._ref_of_item
        self._turns = asyncio.Semaphore(CATCH_UPS)

    async def _ref_of_item(self, container_id: str) -> str | None:
        item = await self._find(container_id)
        return str(item["Id"]) if item is not None else None

    def forget(self, container_id: str) -> None:
        """The container is gone. (Nothing is kept of it.)"""

    async def reader(self, container_id: str, resume: ResumePoint) -> DockerReader:
        """Attached when this returns: what is started after it loses nothing."""
        for _ in range(3):
            ref = await self._ref(container_id)
            if ref is None:
                raise RuntimeFailure("no_such_container", "The container is not on this node.")
            asked_ns = time.time_ns()
            try:
                answer = await self._wire.open(
                    "POST", f"/containers/{ref}/attach", query={"stream": 1, "stdout": 1, "stderr": 1}, upgrade=True, timeout=10
                )
            except EngineStatus as error:
                if error.status == 404:
                    await self._find(container_id)  # removed behind our back, and maybe made again: looked up anew
                    continue
                raise errors.of(error, verb="attach") from error
            try:
                # Only what is seen after attaching tells whether something was printed before it.
                item = await self._find(container_id)
                if item is None or item["Id"] != ref:
                    answer.close()
                    continue
                behind = await self._behind(item, resume)
            except BaseException:
                answer.close()
                raise
            tty = bool(item["Config"].get("Tty"))
            resume = resume if resume.run_id == ref else ResumePoint(run_id=ref)
            return DockerReader(self._wire, ref, tty=tty, answer=answer, asked_ns=asked_ns, resume=resume, behind=behind, turns=self._turns)
        raise RuntimeFailure("no_such_container", "The container went away while its output was being attached.")

    async def _behind(self, item: dict[str, Any], resume: ResumePoint) -> bool:
        """May the engine's log have something that the store has not?"""
        state = item["State"]
        if str(state.get("StartedAt", "")).startswith("0001-") and not state.get("Running"):
            return False
        if resume.run_id != item["Id"] or state.get("Running"):
            return True
        # It is over, as we know it if the log's last line is the last one we have: cheap, while reading all of it is not.
        last = await enginelog.read(self._wire, str(item["Id"]), tty=bool(item["Config"].get("Tty")), tail=1, timeout=10)
        if not last:
            return bool(resume.stdout_lines or resume.stderr_lines)
        tail = align.tail_of(resume, last[-1].stream)
        taken = align.Taken()
        taken.add(last[-1])
        same = bool(tail) and bool(taken.entries) and taken.entries[-1][0] == tail[-1]
        return not (same and last[-1].time_ns <= resume.last_time_unix * 1e9 + 250_000_000)


class DockerReader:
    """See `agent.runtimes.base.OutputReader`. Ends when the run is over."""

    def __init__(
        self,
        wire: Wire,
        ref: str,
        *,
        tty: bool,
        answer: Answer,
        asked_ns: int,
        resume: ResumePoint,
        behind: bool,
        turns: asyncio.Semaphore,
    ) -> None:
        self._wire = wire
        self._ref = ref
        self._tty = tty
        self._answer = answer
        self._asked_ns = asked_ns
        self._attached_ns = time.time_ns()
        self._resume = resume
        self._turns = turns
        self._streams = [1] if tty else [1, 2]
        self._apart: dict[int, bytearray] = {stream: bytearray() for stream in self._streams} if behind else {}
        """Attached bytes of streams that are not yet joined with the log."""
        self._given: dict[int, int] = dict.fromkeys(self._streams, 0)
        """Ended lines of the zone (the log since `asked_ns`) already given out."""
        self._queue: deque[tuple[int, bytes] | None] = deque()
        self._held = 0
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._collector: asyncio.Task[None] | None = None

    @property
    def run_id(self) -> str:
        return self._ref

    async def close(self) -> None:
        self._answer.close()
        if self._collector is not None:
            self._collector.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._collector

    async def _collect(self) -> None:
        """Drain the attached connection at once, whatever we wait for: an unread attach blocks the container."""
        demux = Demux()
        try:
            while data := await self._answer.reader.read(CHUNK):
                for stream, piece in [(1, data)] if self._tty else demux.feed(data):
                    self._queue.append((2 if stream == 2 else 1, piece))
                    self._held += len(piece)
                self._news.set()
                if self._held > HELD_BYTES:
                    self._room.clear()
                    await self._room.wait()
        except OSError:
            pass  # the engine went away: the same as an end; whoever reads looks what has become of the container
        finally:
            self._queue.append(None)
            self._news.set()

    async def _next(self, timeout: float | None = None) -> tuple[int, bytes] | Literal[False] | None:
        """The next attached piece; None at the end; False after `timeout` seconds without one."""
        while not self._queue:
            self._news.clear()
            try:
                async with asyncio.timeout(timeout):
                    await self._news.wait()
            except TimeoutError:
                return False
        item = self._queue.popleft()
        if item is not None:
            self._held -= len(item[1])
            if self._held < HELD_BYTES // 2:
                self._room.set()
        return item

    async def __aiter__(self) -> AsyncIterator[Output | OutputGap]:
        self._collector = asyncio.ensure_future(self._collect())
        try:
            if self._apart:
                async with self._turns:
                    async for item in self._before():
                        yield item
            zone_waits = bool(self._apart)
            while True:
                piece = await self._next(1.0 if zone_waits else None)
                if piece is False:
                    zone_waits = False
                    async for item in self._silent_zone():
                        yield item
                    continue
                if piece is None:
                    if self._apart:
                        async for item in self._remainder():
                            yield item
                    return
                stream, data = piece
                held = self._apart.get(stream)
                if held is None:
                    yield Output(_NAMES[stream], data)
                    continue
                held += data
                if b"\n" in held:
                    async with self._turns:
                        async for item in self._join(stream):
                            yield item
                elif len(held) > CHUNK:
                    del held[: len(held) - CHUNK]  # enough to know the line's end by
        finally:
            await self.close()

    async def _zone(self) -> list[Record]:
        return await enginelog.read(self._wire, self._ref, tty=self._tty, since_ns=self._asked_ns)

    async def _before(self) -> AsyncIterator[Output | OutputGap]:
        """What was logged before we attached and is not stored."""
        records = await enginelog.read(self._wire, self._ref, tty=self._tty)
        rest = await asyncio.to_thread(align.skip_stored, records, self._resume, self._streams)
        for stream, why in rest.lost.items():
            yield OutputGap(reason=f"{_NAMES[stream]}: {why}")
        for item in _joined(record for record in rest.records if record.time_ns < self._asked_ns):
            yield item
        # Lines in the zone that the store has already (a second reader right after a first): they are not given again.
        kept = {id(record) for record in rest.records}
        for stream in self._streams:
            stored = [record for record in records if record.time_ns >= self._asked_ns and id(record) not in kept]
            self._given[stream] = len(align.lines_of(stored, stream))

    async def _silent_zone(self) -> AsyncIterator[Output | OutputGap]:
        """A moment after attaching nothing has come of a stream: what the log has of it was written before we attached."""
        records = await self._zone()
        if self._queue:
            return
        for stream in [stream for stream, held in self._apart.items() if not held]:
            lines = align.lines_of(records, stream)[self._given[stream] :]
            early = [line for line in lines if line[1] <= self._attached_ns + SETTLE_NS // 2]
            self._given[stream] += len(early)
            for data, at in early:
                yield Output(_NAMES[stream], data, at / 1e9)

    async def _join(self, stream: int) -> AsyncIterator[Output | OutputGap]:
        """The first line's end has come: find it in the log, give what the log has up to it, go on behind it."""
        until = time.monotonic() + PATIENCE_SECONDS
        pause = 0.02
        meeting: align.Meeting | None = None
        lines: list[tuple[bytes, int]] = []
        held = b""
        while True:
            self._absorb(stream)
            held = bytes(self._apart[stream])
            lines = align.lines_of(await self._zone(), stream)
            await asyncio.sleep(0.05)
            quiet = not any(item is not None and item[0] == stream for item in self._queue)
            meeting = await asyncio.to_thread(
                align.meet, lines, held, first=self._given[stream], newest_ns=self._attached_ns + SETTLE_NS, quiet=quiet
            )
            if (meeting is not None and meeting.sure) or time.monotonic() > until:
                break
            await asyncio.sleep(pause)
            pause = min(0.5, pause * 2)
        del self._apart[stream]
        rest = held[held.index(b"\n") + 1 :]
        if meeting is None:
            yield OutputGap(reason=f"{_NAMES[stream]}: what the engine logged and what it sends now do not fit together")
        else:
            for data, at in lines[self._given[stream] : meeting.index + 1]:
                yield Output(_NAMES[stream], data, at / 1e9)
            if not meeting.sure:
                yield OutputGap(reason=f"{_NAMES[stream]}: lines around the agent's restart are too much alike to be counted")
        if rest:
            yield Output(_NAMES[stream], rest)

    def _absorb(self, stream: int) -> None:
        """Take what has come of this stream meanwhile: the more there is to compare, the surer."""
        if len(self._apart[stream]) > HELD_BYTES:
            return
        left: list[tuple[int, bytes] | None] = []
        for item in self._queue:
            if item is not None and item[0] == stream:
                self._apart[stream] += item[1]
                self._held -= len(item[1])
            else:
                left.append(item)
        self._queue = deque(left)
        self._room.set()

    async def _remainder(self) -> AsyncIterator[Output | OutputGap]:
        """It ended before its streams could be joined: the log has all of it."""
        for _ in range(50):
            try:
                found = await self._wire.call("GET", f"/containers/{self._ref}/json", timeout=10)
            except EngineStatus as error:
                raise errors.of(error, verb="inspect") from error
            if not found["State"].get("Running"):
                break
            await asyncio.sleep(0.1)
        given = dict(self._given)
        rest: list[Record] = []
        for record in await self._zone():
            if record.stream not in self._apart:
                continue
            if given[record.stream] > 0:
                given[record.stream] -= record.data.endswith(b"\n")
                continue
            rest.append(record)
        self._apart.clear()
        for item in _joined(rest):
            yield item


def _joined(records: Iterator[Record] | list[Record]) -> Iterator[Output]:
    """Records as outputs; neighbours of one stream and nearly one time as one, because each output costs."""
    parts: list[bytes] = []
    size = stream = time_ns = 0
    for record in records:
        if parts and (record.stream != stream or record.time_ns - time_ns > 1_000_000 or size > _JOIN_BYTES):
            yield Output(_NAMES[stream], b"".join(parts), time_ns / 1e9)
            parts, size = [], 0
        if not parts:
            stream, time_ns = record.stream, record.time_ns
        parts.append(record.data)
        size += len(record.data)
        if record.is_end:
            yield Output(_NAMES[stream], b"".join(parts), time_ns / 1e9, line_end=True)
            parts, size = [], 0
    if parts:
        yield Output(_NAMES[stream], b"".join(parts), time_ns / 1e9)
