"""`LogService`: what the rest of the agent uses of logs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import shutil
import time
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from agent.logs import query as queries
from agent.logs import records
from agent.logs.batches import Batch
from agent.logs.grep import SearchTooSlow, search
from agent.logs.pump import Pending, Pump
from agent.logs.records import ResumeState
from agent.logs.store import SEGMENT_BYTES, TOTAL_BYTES, ContainerLog
from agent.protocol.commands import LogsQuery
from agent.protocol.messages import LogStream
from agent.protocol.patterns import REGEX
from agent.runtimes.base import Runtime, RuntimeFailure

log = logging.getLogger(__name__)

T = TypeVar("T")
ATTACH_SECONDS = 15.0
OLD_RUNS = 64
"""So many runs that ended while nobody stored their output are read before the one that comes."""
TAP_BATCHES = 64
OPEN_FILES = 256
SEARCHES = 2
RESUMES = 16
TEXT_BYTES = 16 * 1024
_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")


class _Tap:
    """One follower's place at the live head. Too slow: the oldest batch goes, and the follower reads it from the store instead."""

    __slots__ = ("_batches", "_news")

    def __init__(self) -> None:
        self._batches: deque[Batch] = deque(maxlen=TAP_BATCHES)
        self._news = asyncio.Event()

    def put(self, batch: Batch) -> None:
        self._batches.append(batch)
        self._news.set()

    async def get(self) -> Batch:
        while not self._batches:
            self._news.clear()
            await self._news.wait()
        return self._batches.popleft()


class LogService:
    """All logs of a node, one folder each under `root`."""

    def __init__(self, root: Path, *, runtime: Runtime, segment_bytes: int = SEGMENT_BYTES, total_bytes: int = TOTAL_BYTES) -> None:
        self._root = root
        self._runtime = runtime
        self._segment_bytes = segment_bytes
        self._total_bytes = total_bytes
        # One thread writes (so a log needs no lock), some read.
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="lormas-log-writer")
        self._readers = ThreadPoolExecutor(max_workers=2, thread_name_prefix="lormas-log-reader")
        self._logs: dict[str, ContainerLog] = {}
        self._recent: OrderedDict[str, ContainerLog] = OrderedDict()
        self._pumps: dict[str, tuple[Pump, asyncio.Task[None]]] = {}
        self._taps: dict[str, set[_Tap]] = {}
        self._attaching: dict[str, asyncio.Lock] = {}
        self._searches = asyncio.Semaphore(SEARCHES)

    async def _in(self, pool: ThreadPoolExecutor, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(pool, work, *arguments)

    def _folder(self, container_id: str) -> Path:
        if not _ID.match(container_id):
            raise RuntimeFailure("bad_payload", "Not a container id.")
        return self._root / container_id

    def _opened(self, container_id: str) -> ContainerLog:
        """In the writer's thread."""
        found = self._logs.get(container_id)
        if found is None:
            found = ContainerLog(self._folder(container_id), segment_bytes=self._segment_bytes, total_bytes=self._total_bytes)
            found.open()
            self._logs[container_id] = found
        return found

    def _writable(self, container_id: str) -> ContainerLog:
        """In the writer's thread: also the one written last, so that only so many files are open."""
        found = self._opened(container_id)
        self._recent[container_id] = found
        self._recent.move_to_end(container_id)
        if len(self._recent) > OPEN_FILES:
            self._recent.popitem(last=False)[1].rest()
        return found

    async def _open(self, container_id: str) -> ContainerLog:
        found = self._logs.get(container_id)
        return found if found is not None else await self._in(self._writer, self._opened, container_id)

    # ---------------------------------------------------------------------------------------------------------------- write

    async def append(self, container_id: str, text: str, *, stream: LogStream = "events") -> int:
        """Add an entry by hand, one line for each line of `text`; gives the last one's seq."""
        now = records.stamp(time.time())
        data = text.encode("utf-8", "replace")
        texts = [part[:TEXT_BYTES].decode("utf-8", "replace").rstrip("\r") for part in data.rstrip(b"\n").split(b"\n")]
        lines: Pending = [(now, stream, part) for part in texts]
        await self._write(container_id, lines, None, None, by_hand=True)
        return self._logs[container_id].last_seq

    async def _write(
        self, container_id: str, lines: Pending, resume: ResumeState | None, gap: tuple[int | None, str] | None, *, by_hand: bool = False
    ) -> None:
        loop = asyncio.get_running_loop()

        def work() -> None:
            batches = self._writable(container_id).append(lines, resume=resume, gap=gap, by_hand=by_hand)
            if batches and container_id in self._taps:
                loop.call_soon_threadsafe(self._publish, container_id, batches)

        await self._in(self._writer, work)

    def _publish(self, container_id: str, batches: list[Batch]) -> None:
        """Followers see a line only when it is in the file: its number can't be given to another one any more."""
        for tap in self._taps.get(container_id, ()):
            for batch in batches:
                tap.put(batch)

    async def clear(self, container_id: str) -> int:
        """Forget all lines; gives the last seq. Numbers go on where they were."""
        return await self._in(self._writer, lambda: self._writable(container_id).clear())

    async def go_on_behind(self, container_id: str, seq: int) -> None:
        """Its numbers go on behind `seq` (it comes from another node): none is given twice in its life. No-op if they have got there already."""

        def work() -> None:
            found = self._writable(container_id)
            if found.last_seq < seq:
                found.last_seq = seq
                found.clear()

        await self._in(self._writer, work)

    async def delete(self, container_id: str) -> None:
        """Remove the log with its numbers: for containers that are gone for ever."""
        await self.detach(container_id)
        folder = self._folder(container_id)

        def work() -> None:
            found = self._logs.pop(container_id, None)
            self._recent.pop(container_id, None)
            if found is not None:
                found.rest()
            shutil.rmtree(folder, ignore_errors=True)

        await self._in(self._writer, work)
        self._attaching.pop(container_id, None)

    async def tidy(self, *, rotate: bool, older_than_seconds: float, forget: list[str]) -> dict[str, int]:
        """Over all logs of the node: begin new segments, forget what is older, and whole logs by id. Gives counts of each."""
        before = time.time() - older_than_seconds if older_than_seconds > 0 else 0.0
        counts = {"rotated": 0, "dropped": 0, "forgotten": 0}
        for container_id in forget:
            await self.delete(container_id)
            counts["forgotten"] += 1

        def work(container_id: str) -> None:
            known = container_id in self._logs
            found = self._opened(container_id)
            counts["rotated"] += rotate and found.rotate()
            counts["dropped"] += found.expire(before_unix=before) if before else 0
            if not known:
                found.rest()
                self._logs.pop(container_id, None)

        def folders() -> list[str]:
            return [one.name for one in self._root.iterdir() if _ID.match(one.name)] if self._root.is_dir() else []

        for name in await self._in(self._readers, folders):
            try:
                await self._in(self._writer, work, name)
            except OSError as error:
                log.warning("a log could not be tidied", extra={"container": name, "reason": str(error)})
        return counts

    async def last_seq(self, container_id: str) -> int:
        """Of the newest line; 0 if there was none."""
        return (await self._open(container_id)).last_seq

    # ----------------------------------------------------------------------------------------------------------------- read

    async def read(self, container_id: str, query: LogsQuery) -> dict[str, Any]:
        """See `LogsQuery`.

        Raises:
            RuntimeFailure: `bad_payload` (not a time or pattern), `timeout` (the pattern ran for too long).
        """
        container = await self._open(container_id)
        try:
            plan = await self._in(self._writer, queries.plan, container, query)
            if query.search.startswith(REGEX):
                async with self._searches:
                    found = await search(plan)
            else:
                found = await self._in(self._readers, queries.run, plan)
        except queries.QueryError as error:
            raise RuntimeFailure("bad_payload", str(error)) from error
        except SearchTooSlow:
            raise RuntimeFailure("timeout", "The search took too long: use a simpler pattern or a shorter time.") from None
        return queries.answer(plan, found)

    async def follow(self, container_id: str, after: int) -> AsyncIterator[Batch]:
        """All lines behind `after` (-1: from now on), each once and in order, for ever. A slow reader gets them from the files."""
        container = await self._open(container_id)
        tap = _Tap()
        taps = self._taps.setdefault(container_id, set())
        taps.add(tap)
        try:
            # A number that this log has never given: the reader knows another life of it. From now on, then.
            at = container.last_seq if after < 0 or after > container.last_seq else after
            while True:
                while at < container.last_seq:
                    stored = await self._in(self._readers, container.batches_after, at)
                    if not stored:
                        break
                    for batch in stored:
                        yield batch
                        at = max(at, batch.last_seq)
                batch = await tap.get()
                if batch.first_seq == at + 1 or (batch.flags and batch.first_seq > at and at == container.last_seq):
                    yield batch
                    at = batch.last_seq
        finally:
            taps.discard(tap)
            if not taps:
                self._taps.pop(container_id, None)

    # --------------------------------------------------------------------------------------------------------------- attach

    async def attach(self, container_id: str, *, before_start: bool = False) -> None:
        """Begin to store a container's output; no-op if that goes on. Attached when this returns, so call it before `start`.

        `before_start`: another run comes. The rest of the one before is stored first, so that the one to come is what is attached.
        If the engine does not let us for now it is tried on in the background: what it logs meanwhile is read later.
        """
        async with self._attaching.setdefault(container_id, asyncio.Lock()):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ATTACH_SECONDS):
                    for _ in range(OLD_RUNS):
                        pump, task = await self._pump_of(container_id)
                        await pump.ready.wait()
                        if not before_start or not pump.reads_what_is_over:
                            return
                        await asyncio.wait({task})

    async def _pump_of(self, container_id: str) -> tuple[Pump, asyncio.Task[None]]:
        """The one that is at work, or a new one. One that drains is waited for."""
        running = self._pumps.get(container_id)
        if running is not None and running[0].draining:
            await asyncio.wait({running[1]})
        if running is not None and not running[1].done():
            return running
        pump = Pump(self._runtime, container_id, load=lambda: self._load(container_id), write=lambda *what: self._write(container_id, *what))
        task = asyncio.ensure_future(pump.run())
        task.add_done_callback(lambda ended: self._pump_ended(container_id, ended))
        self._pumps[container_id] = (pump, task)
        return pump, task

    def _pump_ended(self, container_id: str, task: asyncio.Task[None]) -> None:
        known = self._pumps.get(container_id)
        if known is not None and known[1] is task:
            del self._pumps[container_id]
        if not task.cancelled() and task.exception() is not None:
            log.error("storing a container's output failed", extra={"container": container_id}, exc_info=task.exception())

    async def _load(self, container_id: str) -> tuple[ResumeState, list[str], list[str], int]:
        def work() -> tuple[ResumeState, list[str], list[str], int]:
            found = self._opened(container_id)
            stdout, stderr = found.tails()
            return found.resume, stdout, stderr, found.last_seq

        return await self._in(self._writer, work)

    async def detach(self, container_id: str) -> None:
        """Stop storing its output. What it writes from now on is there at the next `attach`, as far as its engine keeps it."""
        known = self._pumps.pop(container_id, None)
        if known is not None:
            known[1].cancel()
            await asyncio.gather(known[1], return_exceptions=True)

    async def drained(self, container_id: str, *, timeout: float = 10) -> bool:
        """Wait until the output of a container that has ended is stored. False if that takes longer."""
        known = self._pumps.get(container_id)
        if known is None:
            return True
        _, waiting = await asyncio.wait({known[1]}, timeout=timeout)
        return not waiting

    async def resume_all(self, container_ids: list[str]) -> None:
        """After a restart of the agent: take up the output of all of these, and what was missed."""
        turns = asyncio.Semaphore(RESUMES)

        async def one(container_id: str) -> None:
            async with turns:
                await self.attach(container_id)

        await asyncio.gather(*(one(container_id) for container_id in container_ids))

    async def close(self) -> None:
        """Stop all, cleanly."""
        tasks = [task for _, task in self._pumps.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

        def work() -> None:
            for found in self._logs.values():
                found.close()
            self._logs.clear()

        await self._in(self._writer, work)
        self._writer.shutdown(wait=False)
        self._readers.shutdown(wait=False, cancel_futures=True)
