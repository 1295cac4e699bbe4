"""Named terminals: they outlive the page and the link, several people may look at one, and who comes later sees what was there.

Output goes into a ring; each viewer reads from it under its own credit, so that a slow one holds up nobody and at worst is shown the ring
anew. When all viewers are slow the terminal is read no faster than the quickest of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from agent.protocol.messages import StreamEnd, StreamNote, TerminalOpen
from agent.recordings import Recorder, Recordings
from agent.runtimes.base import ExecSession, Runtime, RuntimeFailure

log = logging.getLogger(__name__)

REPLAY_BYTES = 256 * 1024
CHUNK_BYTES = 16 * 1024
MOST_PER_CONTAINER = 8
MOST = 64
ALONE_SECONDS = 1800.0
"""A terminal that nobody looks at for so long is ended."""
LAG_SECONDS = 0.25
MAX_INPUTS = 1000
DEFAULT_ARGV = ["/bin/sh", "-c", "exec $(command -v bash || command -v sh)"]

Note = Callable[[StreamNote], None]
SendOutput = Callable[[bytes], Awaitable[None]]


@dataclass(slots=True)
class Viewer:
    """One who looks: `at` counts the bytes of the terminal that were sent (or passed over)."""

    stream_id: str
    note: Note
    at: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)


class Terminal:
    """One running terminal. Times are monotonic unless their name says otherwise."""

    def __init__(self, opening: TerminalOpen, session: ExecSession, recorder: Recorder | None) -> None:
        self.container_id = opening.container_id
        self.name = opening.name
        self.columns, self.rows = opening.columns, opening.rows
        self.opened_by = opening.opened_by
        self.opened_at_unix = time.time()
        self.recorder = recorder
        self.viewers: dict[str, Viewer] = {}
        self.left_at = self.active_at = time.monotonic()
        self.end: StreamEnd | None = None
        self._session = session
        self._ring = bytearray()
        self._start = 0
        self._read = asyncio.Event()
        self._inputs: asyncio.Queue[bytes] = asyncio.Queue(MAX_INPUTS)

    @property
    def written(self) -> int:
        """Bytes since it was opened."""
        return self._start + len(self._ring)

    # ------------------------------------------------------------------------------------------------------------- output

    async def pump(self) -> None:
        """Until its command ends."""
        feeder = asyncio.create_task(self._feed(), name=f"terminal input {self.name}")
        error = None
        code: int | None = None
        try:
            async for output in self._session:
                self._take(output.data)
                await self._pace(len(output.data))
            code = await self._session.wait()
        except RuntimeFailure as failure:
            error = failure.info()
        finally:
            feeder.cancel()
            self.end = StreamEnd(stream_id="", exit_code=code, error=error)
            self._tell_viewers()
            if self.recorder is not None:
                await self.recorder.close()

    def _take(self, data: bytes) -> None:
        self._ring += data
        if len(self._ring) > 2 * REPLAY_BYTES:
            gone = len(self._ring) - REPLAY_BYTES
            line = self._ring.find(b"\n", gone, gone + 4096)  # begin with a whole line where there is one: not inside of an escape sequence
            gone = line + 1 if line >= 0 else gone
            del self._ring[:gone]
            self._start += gone
        self.active_at = time.monotonic()
        if self.recorder is not None:
            self.recorder.output(data)
        self._tell_viewers()

    def _tell_viewers(self) -> None:
        for viewer in self.viewers.values():
            viewer.news.set()

    async def _pace(self, size: int) -> None:
        """Wait for the quickest viewer, but only a little: the command must not stand still because a browser does."""
        if not self.viewers:
            await asyncio.sleep(size / (8 * 1024 * 1024))
            return
        if self.written - max(viewer.at for viewer in self.viewers.values()) > REPLAY_BYTES // 2:
            self._read.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LAG_SECONDS):
                    await self._read.wait()

    async def view(self, viewer: Viewer, take_credit: Callable[[int], Awaitable[None]], send: SendOutput) -> StreamEnd:
        """Send the ring, then what comes, until the terminal ends. Cancel it to stop looking."""
        viewer.at = max(self._start, self.written - REPLAY_BYTES)
        self.viewers[viewer.stream_id] = viewer
        self.tell_sizes()
        try:
            while True:
                if viewer.at >= self.written:
                    if self.end is not None:
                        return StreamEnd(stream_id=viewer.stream_id, exit_code=self.end.exit_code, error=self.end.error)
                    viewer.news.clear()
                    await viewer.news.wait()
                    continue
                await take_credit(min(CHUNK_BYTES, self.written - viewer.at))
                if viewer.at < self._start:
                    viewer.note(StreamNote(stream_id=viewer.stream_id, note={"skipped": self._start - viewer.at}))
                    viewer.at = self._start
                begin = viewer.at - self._start
                data = bytes(self._ring[begin : begin + CHUNK_BYTES])
                viewer.at += len(data)
                await send(data)
                self._read.set()
        finally:
            self.viewers.pop(viewer.stream_id, None)
            self.left_at = time.monotonic()
            self._read.set()
            self.tell_sizes()

    def tell_sizes(self) -> None:
        for viewer in self.viewers.values():
            viewer.note(StreamNote(stream_id=viewer.stream_id, note=self._facts()))

    def _facts(self) -> dict[str, Any]:
        return {"columns": self.columns, "rows": self.rows, "viewers": len(self.viewers), "recorded": self.recorder is not None}

    # -------------------------------------------------------------------------------------------------------------- input

    async def _feed(self) -> None:
        with contextlib.suppress(RuntimeFailure, OSError):
            while True:
                await self._session.write(await self._inputs.get())

    def type(self, data: bytes) -> None:
        """Keys of a viewer. What does not fit while the command does not read is dropped: a terminal's own line would do the same."""
        self.active_at = time.monotonic()
        with contextlib.suppress(asyncio.QueueFull):
            self._inputs.put_nowait(data)

    async def resize(self, *, columns: int, rows: int) -> None:
        """The last one who resized decides; all are told."""
        if (columns, rows) == (self.columns, self.rows):
            return
        self.columns, self.rows = columns, rows
        if self.recorder is not None:
            self.recorder.resized(columns, rows)
        with contextlib.suppress(RuntimeFailure, OSError):
            await self._session.resize(columns=columns, rows=rows)
        self.tell_sizes()

    async def kill(self) -> None:
        with contextlib.suppress(RuntimeFailure, OSError, TimeoutError):
            async with asyncio.timeout(5):
                await self._session.kill()

    def summary(self) -> dict[str, Any]:
        """As `terminal.list` tells it."""
        return {
            **self._facts(),
            "name": self.name,
            "opened_by": self.opened_by,
            "opened_at_unix": self.opened_at_unix,
            "idle_seconds": round(time.monotonic() - self.active_at, 1),
        }


class Terminals:
    """All of this agent."""

    def __init__(self, runtime: Runtime, recordings: Recordings, *, alone_seconds: float = ALONE_SECONDS) -> None:
        self._runtime = runtime
        self._recordings = recordings
        self._alone = alone_seconds
        self._open: dict[tuple[str, str], Terminal] = {}
        self._tasks: dict[tuple[str, str], asyncio.Task[None]] = {}
        self._locks: dict[tuple[str, str], asyncio.Lock] = {}

    async def get(self, opening: TerminalOpen) -> Terminal:
        """The one of this name, made if need be. Raises RuntimeFailure."""
        key = (opening.container_id, opening.name)
        async with self._locks.setdefault(key, asyncio.Lock()):
            found = self._open.get(key)
            if found is not None and found.end is None:
                return found
            if len(self._open) >= MOST or sum(1 for other in self._open if other[0] == key[0]) >= MOST_PER_CONTAINER:
                raise RuntimeFailure("too_many", f"At most {MOST_PER_CONTAINER} terminals of a container and {MOST} of a node are open at a time.")
            session = await self._runtime.exec(
                opening.container_id,
                opening.argv or DEFAULT_ARGV,
                env={"TERM": "xterm-256color", **opening.env},
                working_dir=opening.working_dir,
                user=opening.user,
                tty=True,
                columns=opening.columns,
                rows=opening.rows,
            )
            recorder = await self._recordings.begin(opening) if opening.record else None
            made = self._open[key] = Terminal(opening, session, recorder)
            self._tasks[key] = asyncio.create_task(self._run(key, made), name=f"terminal {opening.name}")
            return made

    async def _run(self, key: tuple[str, str], terminal: Terminal) -> None:
        try:
            await terminal.pump()
        except Exception:
            log.exception("terminal failed", extra={"terminal": terminal.name})
        finally:
            if self._open.get(key) is terminal:
                del self._open[key]
                self._tasks.pop(key, None)
                self._locks.pop(key, None)

    def of(self, container_id: str) -> list[dict[str, Any]]:
        return [terminal.summary() for (owner, _), terminal in sorted(self._open.items()) if owner == container_id]

    async def kill(self, container_id: str, name: str) -> None:
        """Raises RuntimeFailure `no_such_terminal`."""
        found = self._open.get((container_id, name))
        if found is None:
            raise RuntimeFailure("no_such_terminal", f"There is no terminal {name!r}: it has ended.")
        await found.kill()

    async def run(self) -> None:
        """For ever: end those that nobody looks at any more."""
        while True:
            await asyncio.sleep(min(5.0, self._alone / 2))
            now = time.monotonic()
            for terminal in [t for t in self._open.values() if not t.viewers and now - t.left_at > self._alone]:
                log.info("nobody looks at a terminal, ending it", extra={"terminal": terminal.name, "container": terminal.container_id})
                await terminal.kill()

    async def close(self) -> None:
        """The agent ends: so do they."""
        await asyncio.gather(*(terminal.kill() for terminal in list(self._open.values())))
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
