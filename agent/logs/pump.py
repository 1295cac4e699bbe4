"""Carries one container's output from its runtime into its log, for as long as it runs."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

from agent.logs import records
from agent.logs.lines import LineCutter
from agent.logs.records import ResumeState
from agent.runtimes.base import Output, OutputGap, OutputReader, ResumePoint, Runtime, RuntimeFailure

log = logging.getLogger(__name__)

FLUSH_SECONDS = 0.03
FLUSH_BYTES = 128 * 1024
RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)

Pending = list[tuple[str, str, str]]
Write = Callable[[Pending, ResumeState, tuple[int | None, str] | None], Awaitable[None]]
Load = Callable[[], Awaitable[tuple[ResumeState, list[str], list[str], int]]]
"""-> (state, stdout tail, stderr tail, last seq)"""


class Pump:
    """One container. `ready` is set once its output is attached, or can't be for now."""

    def __init__(self, runtime: Runtime, container_id: str, *, load: Load, write: Write) -> None:
        self._runtime = runtime
        self._id = container_id
        self._load = load
        self._write = write
        self.ready = asyncio.Event()
        self.draining = False
        """The run is over; the rest of its output is being stored."""
        self._reader: OutputReader | None = None
        self._pending: Pending = []
        self._size = 0
        self._state = ResumeState()
        self._cutters: dict[str, LineCutter] = {}
        self._flushing = asyncio.Lock()
        self._timer: asyncio.Task[None] | None = None
        self._failure: Exception | None = None

    async def run(self) -> None:
        """Until the run is over (or the container gone). Failures of the engine are waited out: what was missed is read afterwards."""
        failures = 0
        try:
            while True:
                try:
                    reader = await self._attach()
                except RuntimeFailure as failure:
                    if failure.code == "no_such_container":
                        return
                    if failures == 0:
                        log.warning("output can't be attached", extra={"container": self._id, "reason": str(failure)})
                    self.ready.set()
                    await asyncio.sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
                    failures += 1
                    continue
                failures = 0
                self._reader = reader
                self.ready.set()
                try:
                    await self._carry(reader)
                except RuntimeFailure as failure:
                    if failure.code == "no_such_container":
                        return
                    log.warning("output broke off", extra={"container": self._id, "reason": str(failure)})
                    await asyncio.sleep(RETRY_SECONDS[0])
                    continue
                finally:
                    await reader.close()
                self.draining = True
                if not await self._runs_on():
                    return
                self.draining = False
        finally:
            self.ready.set()

    @property
    def reads_what_is_over(self) -> bool:
        """What is being read is the rest of a run that has ended (as far as its runtime tells): nobody waits for the next one."""
        is_past = getattr(self._reader, "is_past", None)
        return bool(is_past()) if is_past is not None else False

    async def _attach(self) -> OutputReader:
        state, stdout_tail, stderr_tail, last_seq = await self._load()
        reader = await self._runtime.output(
            self._id,
            ResumePoint(
                run_id=state.run,
                stdout_bytes=state.ob,
                stderr_bytes=state.eb,
                stdout_lines=state.ol,
                stderr_lines=state.el,
                stdout_open_bytes=state.oo,
                stderr_open_bytes=state.eo,
                stdout_tail=tuple(stdout_tail),
                stderr_tail=tuple(stderr_tail),
                last_time_unix=state.t,
            ),
        )
        if reader.run_id != state.run:
            state = ResumeState(run=reader.run_id, from_seq=last_seq)
        self._state = state
        self._cutters = {
            "stdout": LineCutter(taken_bytes=state.ob, taken_lines=state.ol, taken_open_bytes=state.oo),
            "stderr": LineCutter(taken_bytes=state.eb, taken_lines=state.el, taken_open_bytes=state.eo),
        }
        return reader

    async def _runs_on(self) -> bool:
        """Its output ended: is the container over, or was it only the connection, or has somebody started it again?"""
        failures = looks = 0
        while True:
            try:
                report = await self._runtime.inspect(self._id)
            except RuntimeFailure:
                await asyncio.sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
                failures += 1
                continue
            if report is not None and report.state in ("running", "paused", "restarting"):
                # An engine closes the output a moment before it takes note of the end.
                looks += 1
                if looks > 3:
                    return True
                await asyncio.sleep(0.1)
                continue
            return False

    async def _carry(self, reader: OutputReader) -> None:
        try:
            async for item in reader:
                if self._failure is not None:
                    raise self._failure
                if isinstance(item, OutputGap):
                    await self.flush()
                    async with self._flushing:
                        await self._write([], self._snapshot(), (item.lines, item.reason))
                    continue
                self._take(item)
                if self._size >= FLUSH_BYTES:
                    await self.flush()
                elif self._pending and self._timer is None:
                    self._timer = asyncio.ensure_future(self._flush_later())
            self._end()
        finally:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        await self.flush()

    def _take(self, item: Output) -> None:
        cutter = self._cutters[item.stream]
        texts = cutter.feed(item.data)
        if item.line_end:
            texts += cutter.end()
        if texts:
            self._add(texts, item.stream, item.time_unix or time.time())

    def _end(self) -> None:
        """Unfinished last lines."""
        now = time.time()
        for stream, cutter in self._cutters.items():
            texts = cutter.end()
            if texts:
                self._add(texts, stream, now)

    def _add(self, texts: list[str], stream: str, at: float) -> None:
        when = records.stamp(at)
        name = "error" if stream == "stderr" else "application"
        self._pending += [(when, name, text) for text in texts]
        self._size += sum(map(len, texts)) + 48 * len(texts)
        self._state.t = at

    def _snapshot(self) -> ResumeState:
        """Where the lines taken so far end; the same moment as `_pending` is taken."""
        out, err, state = self._cutters["stdout"], self._cutters["stderr"], self._state
        return ResumeState(
            run=state.run,
            ob=out.taken_bytes,
            ol=out.taken_lines,
            oo=out.taken_open_bytes,
            eb=err.taken_bytes,
            el=err.taken_lines,
            eo=err.taken_open_bytes,
            t=state.t,
            from_seq=state.from_seq,
        )

    async def _flush_later(self) -> None:
        await asyncio.sleep(FLUSH_SECONDS)
        self._timer = None
        try:
            await self.flush()
        except Exception as error:  # noqa: BLE001 - told to the task that reads
            self._failure = error

    async def flush(self) -> None:
        """Write what is pending. Order is kept: one at a time, and taken inside."""
        async with self._flushing:
            pending, self._pending, self._size = self._pending, [], 0
            if pending:
                await self._write(pending, self._snapshot(), None)
