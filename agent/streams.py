"""Log watches and execs that the panel opened: bytes under credit, so that a slow viewer never fills our memory nor delays a command."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Protocol

from agent.protocol import frames
from agent.protocol.messages import Credit, ErrorInfo, ExecResize, ExecStart, StreamEnd, TerminalOpen, Unwatch, Watch, encode
from agent.runtimes.base import ExecSession, Runtime, RuntimeFailure
from agent.services import Emit
from agent.terminals import Terminal, Terminals, Viewer

if TYPE_CHECKING:
    from agent.logs.batches import Batch

log = logging.getLogger(__name__)

CHUNK_BYTES = 32 * 1024
MAX_EXECS = 64
MAX_INPUTS = 1000
MAX_WATCHES = 500
MAX_VIEWS = 200

SendBulk = Callable[[str | bytes], Awaitable[None]]


class Follows(Protocol):
    """The part of `agent.logs.LogService` that streams use."""

    def follow(self, container_id: str, after: int) -> AsyncIterator[Batch]: ...


class Window:
    """Bytes that may still be sent. May go below zero by one chunk."""

    def __init__(self, size: int) -> None:
        self._left = size
        self._open = asyncio.Event()
        self._open.set()

    def add(self, count: int) -> None:
        self._left += count
        if self._left > 0:
            self._open.set()

    async def take(self, count: int) -> None:
        await self._open.wait()
        self._left -= count
        if self._left <= 0:
            self._open.clear()


class Streams:
    """The streams of one connection; all of them end with it."""

    def __init__(self, *, runtime: Runtime, logs: Follows, terminals: Terminals, emit: Emit, send_bulk: SendBulk) -> None:
        self._runtime = runtime
        self._logs = logs
        self._terminals = terminals
        self._emit = emit
        self._send_bulk = send_bulk
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._windows: dict[str, Window] = {}
        self._leases: dict[str, float] = {}
        self._execs: dict[str, ExecSession] = {}
        self._inputs: dict[str, asyncio.Queue[bytes]] = {}
        self._viewed: dict[str, Terminal] = {}

    def _begin(self, stream_id: str, work: Awaitable[StreamEnd | None], credit_bytes: int) -> None:
        self._windows[stream_id] = Window(credit_bytes)

        async def run() -> None:
            end: StreamEnd | None = None
            try:
                end = await work
            except RuntimeFailure as failure:
                end = StreamEnd(stream_id=stream_id, error=failure.info())
            except Exception as fault:
                log.exception("stream failed", extra={"stream": stream_id})
                end = StreamEnd(stream_id=stream_id, error=ErrorInfo(code="internal", detail=f"{type(fault).__name__}: see the agent's log."))
            finally:
                if self._tasks.get(stream_id) is asyncio.current_task():
                    for table in (self._tasks, self._windows, self._leases, self._execs, self._inputs, self._viewed):
                        table.pop(stream_id, None)  # type: ignore[attr-defined]
            if end is not None:
                await self._send_bulk(encode(end).decode())  # behind its own bytes, not past them

        self._tasks[stream_id] = asyncio.create_task(run(), name=f"stream {stream_id}")

    # ------------------------------------------------------------------------------------------------------------- watches

    def watch(self, message: Watch) -> None:
        """Begin, or renew the lease of a known stream."""
        self._leases[message.stream_id] = time.monotonic() + message.lease_seconds
        if message.stream_id in self._tasks:
            return
        if len(self._leases) > MAX_WATCHES:
            del self._leases[message.stream_id]
            self._emit(StreamEnd(stream_id=message.stream_id, error=ErrorInfo(code="internal", detail="Too many logs are being watched.")))
            return
        self._begin(message.stream_id, self._ship(message), message.credit_bytes)

    async def _ship(self, message: Watch) -> StreamEnd | None:
        async with contextlib.aclosing(self._logs.follow(message.container_id, message.after)) as batches:  # type: ignore[type-var]
            async for batch in batches:
                data = frames.pack_log(
                    frames.LogFrame(
                        stream_id=message.stream_id,
                        container_id=message.container_id,
                        first_seq=batch.first_seq,
                        last_seq=batch.last_seq,
                        count=batch.count,
                        payload=batch.payload,
                        flags=batch.flags,
                    )
                )
                await self._windows[message.stream_id].take(len(data))
                await self._send_bulk(data)
        return StreamEnd(stream_id=message.stream_id)

    # --------------------------------------------------------------------------------------------------------------- execs

    def exec(self, message: ExecStart) -> None:
        """Open an exec; its output follows, then a `StreamEnd`."""
        if len(self._execs) >= MAX_EXECS:
            self._emit(StreamEnd(stream_id=message.stream_id, error=ErrorInfo(code="internal", detail="Too many commands run on this node.")))
            return
        self._inputs[message.stream_id] = asyncio.Queue(MAX_INPUTS)
        self._begin(message.stream_id, self._run(message), message.credit_bytes)

    async def _run(self, message: ExecStart) -> StreamEnd | None:
        session = await self._runtime.exec(
            message.container_id,
            message.argv,
            env=message.env,
            working_dir=message.working_dir,
            user=message.user,
            tty=message.tty,
            columns=message.columns,
            rows=message.rows,
        )
        self._execs[message.stream_id] = session
        feeder = asyncio.create_task(self._feed(session, self._inputs[message.stream_id]), name=f"stdin {message.stream_id}")
        try:
            async with asyncio.timeout(message.timeout_seconds or None):
                async for output in session:
                    kind = frames.EXEC_STDERR if output.stream == "stderr" else frames.EXEC_STDOUT
                    for start in range(0, len(output.data), CHUNK_BYTES):
                        chunk = output.data[start : start + CHUNK_BYTES]
                        await self._windows[message.stream_id].take(len(chunk))
                        await self._send_bulk(frames.pack_exec(frames.ExecFrame(kind, message.stream_id, chunk)))
                return StreamEnd(stream_id=message.stream_id, exit_code=await session.wait())
        except TimeoutError:
            await self._kill(session)
            return StreamEnd(stream_id=message.stream_id, error=ErrorInfo(code="timeout", detail="It ran longer than allowed and was killed."))
        except asyncio.CancelledError:
            await self._kill(session)
            raise
        finally:
            feeder.cancel()

    async def _feed(self, session: ExecSession, inputs: asyncio.Queue[bytes]) -> None:
        """Standard input in order; an exec that does not read holds up nobody but itself."""
        with contextlib.suppress(RuntimeFailure, OSError):
            while True:
                data = await inputs.get()
                await (session.write(data) if data else session.close_stdin())

    async def _kill(self, session: ExecSession) -> None:
        with contextlib.suppress(RuntimeFailure, OSError, TimeoutError):
            async with asyncio.timeout(5):
                await session.kill()

    async def input(self, frame: frames.ExecFrame) -> None:
        """Bytes for an exec's standard input; empty closes it. May come before the exec is open. One that lets too much wait is killed."""
        viewed = self._viewed.get(frame.stream_id)
        if viewed is not None:
            viewed.type(frame.data)
            return
        inputs = self._inputs.get(frame.stream_id)
        if inputs is None:
            return
        try:
            inputs.put_nowait(frame.data)
        except asyncio.QueueFull:
            log.warning("exec does not read its input, killing it", extra={"stream": frame.stream_id})
            await self.unwatch(Unwatch(stream_id=frame.stream_id))

    async def resize(self, message: ExecResize) -> None:
        viewed = self._viewed.get(message.stream_id)
        if viewed is not None:
            await viewed.resize(columns=message.columns, rows=message.rows)
        session = self._execs.get(message.stream_id)
        if session is not None:
            with contextlib.suppress(RuntimeFailure, OSError):
                await session.resize(columns=message.columns, rows=message.rows)

    # ----------------------------------------------------------------------------------------------------------- terminals

    def terminal(self, message: TerminalOpen) -> None:
        """Look at a terminal; it lives on when the view ends."""
        if len(self._viewed) >= MAX_VIEWS:
            self._emit(StreamEnd(stream_id=message.stream_id, error=ErrorInfo(code="too_many", detail="Too many terminals are looked at.")))
            return
        self._begin(message.stream_id, self._view(message), message.credit_bytes)

    async def _view(self, message: TerminalOpen) -> StreamEnd | None:
        terminal = await self._terminals.get(message)
        self._viewed[message.stream_id] = terminal
        window = self._windows[message.stream_id]

        async def send(data: bytes) -> None:
            await self._send_bulk(frames.pack_exec(frames.ExecFrame(frames.EXEC_STDOUT, message.stream_id, data)))

        return await terminal.view(Viewer(message.stream_id, self._emit), window.take, send)

    # ----------------------------------------------------------------------------------------------------------------- both

    def credit(self, message: Credit) -> None:
        window = self._windows.get(message.stream_id)
        if window is not None and message.bytes > 0:
            window.add(message.bytes)

    async def unwatch(self, message: Unwatch) -> None:
        """Nobody watches any more; an exec is killed and its end told, a terminal lives on."""
        session = self._execs.get(message.stream_id)
        if session is not None:
            await self._kill(session)  # its output ends, so its StreamEnd follows
            window = self._windows.get(message.stream_id)
            if window is not None:
                window.add(2**31)  # nobody pays for what is left of it
            return
        task = self._tasks.pop(message.stream_id, None)
        self._windows.pop(message.stream_id, None)
        self._leases.pop(message.stream_id, None)
        self._viewed.pop(message.stream_id, None)
        if task is not None:
            task.cancel()

    async def run_leases(self) -> None:
        """For ever: end watches whose lease is over."""
        while True:
            await asyncio.sleep(2)
            now = time.monotonic()
            for stream_id in [s for s, until in self._leases.items() if until < now]:
                await self.unwatch(Unwatch(stream_id=stream_id))

    async def close(self) -> None:
        """The connection is gone: stop shipping, kill execs (nobody sees them any more)."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
