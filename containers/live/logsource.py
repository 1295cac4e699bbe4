"""What all viewers of one container's log share in a process: one tap, one lease on the node, one ring of ready frames, one reader of the store.

A batch is made a browser's frame once, and the same bytes go to every viewer; a viewer is a position in the ring. Whoever fell out of the ring
reads pages of the node's store, and a page that one viewer asked for serves all who come by: fifty slow browsers cost the node as much as one.
Nothing here waits for a viewer, and nothing is kept for one that stands still. Bounds, whatever the number of viewers: `RING_MOST_BYTES` and
`PAGES_BYTES` a watched container.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any, get_args
from uuid import UUID

import msgspec
import structlog
from redis import RedisError

from agent.protocol.commands import LogsQuery
from agent.protocol.frames import LogFrame, unpack
from agent.protocol.messages import LogStream
from lormas.common import live

log = structlog.get_logger(__name__)

LEASE_RENEW_SECONDS = 20.0
TAP_MESSAGES = 256
TAP_BYTES = 1024 * 1024
RING_BYTES = 1024 * 1024
"""So much of the newest is kept in any case..."""
RING_MOST_BYTES = 8 * 1024 * 1024
"""...and so much while a viewer who moves has not sent it yet."""
MOVES_SECONDS = 2.0
PAGES_BYTES = 2 * 1024 * 1024
PAGES = 16
PAGE_LINES = 4000
FRAME_LINES = 400
VARIANTS = 4
WENT_BACK = 1_000_000


_MARKS = {name: f',"{name}","'.encode() for name in get_args(LogStream)}


@dataclass(slots=True)
class Entry:
    """A ready frame: all lines of a log from `first_seq` to `last_seq` that there are. Shared, never changed."""

    first_seq: int
    last_seq: int
    head: bytes
    frame: bytes
    _variants: dict[frozenset[str], bytes] = field(default_factory=dict)

    def for_streams(self, streams: frozenset[str]) -> bytes:
        """The frame with the lines of these streams only; empty if there are none. Worked out once for all viewers who want the same."""
        if not streams:
            return self.frame
        found = self._variants.get(streams)
        if found is None:
            # Most logs are of one stream: looking for the names of the others is cheaper than making objects of all lines. A quote in a text is
            # escaped, so that what stands between quotes here is a stream's name (or, in a line of its own making, only makes us look closer).
            if any(mark in self.frame for name, mark in _MARKS.items() if name not in streams):
                found = frame_of(self.head, [line for line in self.lines() if line[2] in streams])
            else:
                found = self.frame
            if len(self._variants) < VARIANTS:
                self._variants[streams] = found
        return found

    def behind(self, position: int, streams: frozenset[str]) -> bytes:
        """As `for_streams`, without the lines up to `position`."""
        return frame_of(self.head, [line for line in self.lines() if line[0] > position and (not streams or line[2] in streams)])

    def lines(self) -> list[list[Any]]:
        found: list[list[Any]] = msgspec.json.decode(self.frame[len(self.head) : -1])
        return found


def frame_of(head: bytes, lines: list[list[Any]]) -> bytes:
    """Ready to be sent; empty for no lines."""
    return head + msgspec.json.encode(lines) + b"}" if lines else b""


@dataclass(frozen=True, slots=True)
class Page:
    """Lines of the store behind `after`. Empty: there are none now. `last_seq`: of the whole store; `more`: there are further ones."""

    after: int
    entries: list[Entry]
    last_seq: int
    more: bool

    @property
    def end(self) -> int:
        return self.entries[-1].last_seq if self.entries else self.after

    @property
    def size(self) -> int:
        return sum(len(entry.frame) for entry in self.entries)


def _covering(entries: list[Entry] | deque[Entry], seq: int) -> Entry | None:
    """Of entries in order, the one that holds `seq`, or else the first one behind it."""
    at = bisect_left(entries, seq, key=lambda entry: entry.last_seq)
    return entries[at] if at < len(entries) else None


class LogSource:
    """See the module. Made and given back by `sources`."""

    def __init__(self, *, container_id: str, node_id: UUID) -> None:
        self.container_id = container_id
        self.node_id = node_id
        self.head = b'{"type":"log","container_id":"' + container_id.encode() + b'","lines":'
        self.looks = 0
        """Grows whenever something may have been missed: whoever follows looks into the store."""
        self.viewers = 0
        self.reached: dict[object, tuple[int, float]] = {}
        """Of each viewer: the last line it has sent, and when (monotonic) it moved."""
        self._ring: deque[Entry] = deque()
        self._ring_bytes = 0
        self._cleared = 0
        """Lines up to here were cleared: nobody gets them from here any more."""
        self._pages: OrderedDict[int, Page] = OrderedDict()
        self._pages_bytes = 0
        self._reads: dict[bytes, asyncio.Task[dict[str, Any]]] = {}
        self._news: asyncio.Future[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._listens = asyncio.Event()

    # ------------------------------------------------------------------------------------------------------------ its life

    async def listening(self) -> None:
        """What is shipped after this is not missed."""
        if not self._tasks:
            self._tasks = [asyncio.create_task(self._live(), name="log-source")]
        await self._listens.wait()

    async def _live(self) -> None:
        tap = await live.hub().tap(f"log:{self.container_id}", max_messages=TAP_MESSAGES, max_bytes=TAP_BYTES)
        try:
            await self.ask_to_ship()
            self._tasks.append(asyncio.create_task(self._renew(), name="log-lease"))
            self._listens.set()
            await self._take(tap)
        finally:
            await tap.close()

    def close(self) -> None:
        """Nobody watches any more; the node's lease ends by itself."""
        for task in (*self._tasks, *self._reads.values()):
            task.cancel()

    async def ask_to_ship(self) -> None:
        """Begin or renew the node's lease."""
        with contextlib.suppress(OSError, RedisError):
            await live.hub().tell_node(self.node_id, live.Question(op="watch", container_id=self.container_id, after=-1))

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(LEASE_RENEW_SECONDS)
            await self.ask_to_ship()

    async def _take(self, tap: live.Tap) -> None:
        while True:
            data = await tap.get(LEASE_RENEW_SECONDS)
            if data is not None and data[:1] == b"{":
                self.forget(int(json.loads(data)["cleared"]))
                continue
            if data == live.RESYNC:  # the node's session is new, or Redis was away: nobody may be shipping to us
                await self.ask_to_ship()
            # Quiet, or the link was cut where nobody could tell: a look at the store costs little and loses nothing.
            if data is None or data == live.RESYNC or tap.skipped():
                self.looks += 1
                self._pages.clear()
                self._pages_bytes = 0
                self._tell()
            if data is not None and data != live.RESYNC:
                frame = unpack(data)
                if isinstance(frame, LogFrame):
                    self._add(frame)

    def forget(self, until: int) -> None:
        """Somebody cleared the log up to this line: what is held of it goes, and so does what is still on its way here."""
        self._cleared = max(self._cleared, until)
        self._pages.clear()
        self._pages_bytes = 0
        kept = [entry if entry.first_seq > until else self._without(entry, until) for entry in self._ring if entry.last_seq > until]
        self._ring = deque(kept)
        self._ring_bytes = sum(len(entry.frame) for entry in kept)
        self.looks += 1
        self._tell()

    def _without(self, entry: Entry, until: int) -> Entry:
        return Entry(until + 1, entry.last_seq, self.head, entry.behind(until, frozenset()))

    def _add(self, frame: LogFrame) -> None:
        if frame.last_seq <= self._cleared:
            return
        newest = self._ring[-1].last_seq if self._ring else -1
        if frame.last_seq <= newest:  # repeated or late: what it holds was sent, or is a hole that is read from the store
            if newest - frame.last_seq > WENT_BACK:
                log.warning("logsource.sequence_went_back", container=self.container_id)
            return
        entry = Entry(frame.first_seq, frame.last_seq, self.head, self.head + frame.payload + b"}")
        self._ring.append(entry if entry.first_seq > self._cleared else self._without(entry, self._cleared))
        self._ring_bytes += len(self._ring[-1].frame)
        if self._ring_bytes > RING_BYTES:
            since = time.monotonic() - MOVES_SECONDS
            needed = min((at for at, moved in self.reached.values() if moved > since), default=frame.last_seq)
            while self._ring_bytes > (RING_MOST_BYTES if self._ring[0].last_seq > needed else RING_BYTES) and len(self._ring) > 1:
                self._ring_bytes -= len(self._ring.popleft().frame)
        self._tell()

    # --------------------------------------------------------------------------------------------------------- for viewers

    def _tell(self) -> None:
        if self._news is not None and not self._news.done():
            self._news.set_result(None)
        self._news = None

    async def news(self) -> None:
        """Until a batch comes or `looks` grows. Look at both before, without waiting in between."""
        if self._news is None:
            self._news = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._news)

    def find(self, seq: int) -> tuple[Entry | None, Entry | None]:
        """The frame that holds line `seq`, if it is here; and if not, the first live one behind it."""
        later = _covering(self._ring, seq)
        if later is not None and later.first_seq <= seq:
            return later, None
        for page in self._pages.values():
            if page.after < seq <= page.end:
                self._pages.move_to_end(page.after)
                return _covering(page.entries, seq), None
        return None, later

    async def page(self, after: int) -> Page:
        """Lines of the store behind `after`. Raises what `live.ask_node` raises."""
        data = await self.read(LogsQuery(after=after, limit=PAGE_LINES))
        lines: list[list[Any]] = data.get("lines", [])
        page = Page(after, self.entries(lines, after=after), int(data.get("last_seq", 0)), bool(data.get("more")))
        if page.entries and after not in self._pages:
            self._pages[after] = page
            self._pages_bytes += page.size
            while len(self._pages) > PAGES or (self._pages_bytes > PAGES_BYTES and len(self._pages) > 1):
                self._pages_bytes -= self._pages.popitem(last=False)[1].size
        return page

    def entries(self, lines: list[list[Any]], *, after: int) -> list[Entry]:
        """Lines as frames of moderate size; the first one begins behind `after`."""
        made: list[Entry] = []
        for begin in range(0, len(lines), FRAME_LINES):
            part = lines[begin : begin + FRAME_LINES]
            made.append(Entry(after + 1, int(part[-1][0]), self.head, frame_of(self.head, part)))
            after = made[-1].last_seq
        return made

    async def read(self, query: LogsQuery) -> dict[str, Any]:
        """Ask the node; who asks the same at the same time gets the same answer. Raises what `live.ask_node` raises."""
        key = msgspec.json.encode(query)
        task = self._reads.get(key)
        if task is None:
            asked = live.hub().ask_node(self.node_id, "logs.read", container_id=self.container_id, payload=msgspec.to_builtins(query))
            task = self._reads[key] = asyncio.create_task(asked, name="log-read")
            task.add_done_callback(lambda done: self._read_done(key, done))
        data = await asyncio.shield(task)
        lines: list[list[Any]] = data.get("lines", [])
        if lines and lines[0][0] <= self._cleared:  # cleared while this was read
            data = {**data, "lines": [line for line in lines if line[0] > self._cleared]}
        return data

    def _read_done(self, key: bytes, task: asyncio.Task[dict[str, Any]]) -> None:
        self._reads.pop(key, None)
        if not task.cancelled():
            task.exception()  # told to those who wait; nobody may be left


_sources: dict[tuple[int, str, UUID], LogSource] = {}


@contextlib.asynccontextmanager
async def watched(container_id: str, node_id: UUID) -> AsyncIterator[LogSource]:
    """The source of a container's log in this process (of this event loop), for one more viewer. It listens already."""
    key = (id(live.hub()), container_id, node_id)
    source = _sources.get(key)
    if source is None:
        source = _sources[key] = LogSource(container_id=container_id, node_id=node_id)
    source.viewers += 1
    try:
        await source.listening()
        yield source
    finally:
        source.viewers -= 1
        if source.viewers == 0:
            del _sources[key]
            source.close()
