"""Log watches and execs of one agent session: who asked, what the agent may send, when it ends."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from agent.protocol import frames
from agent.protocol import messages as wire
from lormas.common.live import hub

log = structlog.get_logger(__name__)

WATCH_LEASE_SECONDS = 60.0
RENEW_SECONDS = 15.0
EXEC_ALONE_SECONDS = 8.0
"""An exec that nobody has read for so long is killed (SECURITY F12)."""
LOG_CREDIT = 1024 * 1024
EXEC_CREDIT = 256 * 1024

Send = Callable[[wire.Frame], Awaitable[None]]
SendBytes = Callable[[bytes], Awaitable[None]]


@dataclass(slots=True)
class Watch:
    """One container's log, shipped while somebody's lease lasts."""

    stream_id: str
    container_id: str
    lease_until: float
    renewed_at: float
    last_seq: int
    unpaid: int = 0
    elsewhere_until: float = 0.0
    """Until then viewers of other processes may read it; without them Redis need not carry it."""


@dataclass(slots=True)
class Exec:
    """One running exec, or one view of a terminal (`kill` then ends only the view). Of a `paced` one the viewer pays, as it reads."""

    stream_id: str
    container_id: str
    read_at: float
    paced: bool = False
    unpaid: int = 0


class Streams:
    """All streams of one session. Frames of streams that were not asked for are violations."""

    def __init__(self, *, send: Send, send_bytes: SendBytes) -> None:
        self._send = send
        self._send_bytes = send_bytes
        self._watches: dict[str, Watch] = {}  # by container
        self._by_stream: dict[str, Watch] = {}
        self._execs: dict[str, Exec] = {}
        self._ended: set[str] = set()

    # ---------------------------------------------------------------------------------------------- questions from viewers

    async def watch(self, container_id: str, *, after: int = -1, elsewhere: bool = True) -> None:
        """Begin, or renew the lease. `elsewhere`: it is another process that asks."""
        now = time.monotonic()
        found = self._watches.get(container_id)
        if found is None:
            found = Watch(str(uuid.uuid4()), container_id, now + WATCH_LEASE_SECONDS, 0.0, after)
            self._watches[container_id] = found
            self._by_stream[found.stream_id] = found
        found.lease_until = now + WATCH_LEASE_SECONDS
        if elsewhere:
            found.elsewhere_until = found.lease_until
        if now - found.renewed_at >= RENEW_SECONDS:
            found.renewed_at = now
            await self._send(
                wire.Watch(
                    stream_id=found.stream_id,
                    container_id=container_id,
                    after=found.last_seq,
                    lease_seconds=WATCH_LEASE_SECONDS,
                    credit_bytes=LOG_CREDIT,
                )
            )

    async def exec(self, stream_id: str, container_id: str, payload: dict[str, Any]) -> None:
        """Open an exec under the asker's stream id; a refusal goes to the asker as the stream's end."""
        await self._start(wire.ExecStart, "exec_start", stream_id, container_id, payload)

    async def terminal(self, stream_id: str, container_id: str, payload: dict[str, Any]) -> None:
        """Look at a terminal, as `exec`."""
        await self._start(wire.TerminalOpen, "terminal_open", stream_id, container_id, payload)

    async def bulk(self, stream_id: str, container_id: str, payload: dict[str, Any]) -> None:
        """Tell the agent to dial a socket for a transfer; whoever asked waits for it at `nodes.bulk`."""
        await self._send(wire.BulkOpen(stream_id=stream_id, container_id=container_id, kind=payload["kind"], payload=payload["payload"]))

    async def _start(self, kind: Any, tag: str, stream_id: str, container_id: str, payload: dict[str, Any]) -> None:
        paced = bool(payload.pop("paced", False))
        try:
            start = msgspec.convert({**payload, "type": tag, "stream_id": stream_id, "container_id": container_id, "credit_bytes": EXEC_CREDIT}, kind)
            uuid.UUID(stream_id)
        except (msgspec.ValidationError, ValueError) as error:
            await self._publish_end(stream_id, wire.StreamEnd(stream_id=stream_id, error=wire.ErrorInfo(code="bad_payload", detail=str(error))))
            return
        self._execs[stream_id] = Exec(stream_id, container_id, time.monotonic(), paced)
        await self._send(start)

    async def input(self, stream_id: str, data_base64: str) -> None:
        """Bytes for an exec's standard input; empty closes it."""
        if stream_id not in self._execs:
            return
        try:
            data = base64.b64decode(data_base64, validate=True)
        except (binascii.Error, ValueError):
            return
        await self._send_bytes(frames.pack_exec(frames.ExecFrame(frames.EXEC_STDIN, stream_id, data[: 512 * 1024])))

    async def resize(self, stream_id: str, *, columns: int, rows: int) -> None:
        if stream_id in self._execs:
            await self._send(wire.ExecResize(stream_id=stream_id, columns=max(1, min(columns, 1000)), rows=max(1, min(rows, 1000))))

    async def pay(self, stream_id: str, count: int) -> None:
        """The viewer of a paced stream has read so much."""
        if stream_id in self._execs and 0 < count <= EXEC_CREDIT:
            await self._send(wire.Credit(stream_id=stream_id, bytes=count))

    async def note(self, message: wire.StreamNote) -> str:
        """A word about a stream, for its viewer. Returns what is wrong with it, or ""."""
        if message.stream_id not in self._execs:
            return "" if message.stream_id in self._ended else f"note on stream {message.stream_id}, which was not asked for"
        await hub().publish(f"stream:{message.stream_id}", json.dumps({"type": "note", "note": message.note}).encode())
        return ""

    async def kill(self, stream_id: str) -> None:
        if stream_id in self._execs:
            await self._send(wire.Unwatch(stream_id=stream_id))

    # ------------------------------------------------------------------------------------------------- frames of the agent

    async def take(self, data: bytes) -> str:
        """A binary frame: passed on as it came. Returns what is wrong with it, or ""."""
        if len(data) < 17 or data[0] not in (frames.LOG, frames.EXEC_STDOUT, frames.EXEC_STDERR):
            return "a binary frame of no known kind"
        stream_id = str(uuid.UUID(bytes=data[1:17]))
        if data[0] == frames.LOG:
            return await self._take_log(stream_id, data)
        running = self._execs.get(stream_id)
        if running is None:
            return "" if stream_id in self._ended else f"output of exec {stream_id}, which was not asked for"
        heard = await hub().publish(f"stream:{stream_id}", data)
        now = time.monotonic()
        if heard or hub().watched(f"stream:{stream_id}"):
            running.read_at = now
        running.unpaid += len(data) if not running.paced else 0
        if running.unpaid >= EXEC_CREDIT // 4:
            paid, running.unpaid = running.unpaid, 0
            await self._send(wire.Credit(stream_id=stream_id, bytes=paid))
        return ""

    async def _take_log(self, stream_id: str, data: bytes) -> str:
        watch = self._by_stream.get(stream_id)
        if watch is None:
            return "" if stream_id in self._ended else f"log of stream {stream_id}, which was not asked for"
        if len(data) < 54:
            return "a log frame shorter than its head"
        if str(uuid.UUID(bytes=data[17:33])) != watch.container_id:
            return f"log of another container on the stream of {watch.container_id}"
        watch.last_seq = int.from_bytes(data[41:49], "big", signed=True)
        if watch.elsewhere_until > time.monotonic():
            await hub().publish(f"log:{watch.container_id}", data)
        else:
            hub().publish_here(f"log:{watch.container_id}", data)
        watch.unpaid += len(data)
        if watch.unpaid >= LOG_CREDIT // 4:
            paid, watch.unpaid = watch.unpaid, 0
            await self._send(wire.Credit(stream_id=stream_id, bytes=paid))
        return ""

    async def end(self, message: wire.StreamEnd) -> str:
        """The agent says a stream is over. Returns what is wrong with that, or ""."""
        watch = self._by_stream.pop(message.stream_id, None)
        if watch is not None:
            self._watches.pop(watch.container_id, None)
            return ""
        if self._execs.pop(message.stream_id, None) is not None:
            self._remember(message.stream_id)
            await self._publish_end(message.stream_id, message)
            return ""
        return "" if message.stream_id in self._ended else f"end of stream {message.stream_id}, which was not asked for"

    async def _publish_end(self, stream_id: str, message: wire.StreamEnd) -> None:
        error = msgspec.to_builtins(message.error) if message.error else None
        await hub().publish(f"stream:{stream_id}", json.dumps({"type": "stream_end", "exit_code": message.exit_code, "error": error}).encode())

    def _remember(self, stream_id: str) -> None:
        if len(self._ended) > 1000:
            self._ended.clear()
        self._ended.add(stream_id)

    # ---------------------------------------------------------------------------------------------------------------- time

    async def tick(self) -> None:
        """Every few seconds: leases that ended, execs that nobody reads."""
        now = time.monotonic()
        for watch in [w for w in self._watches.values() if w.lease_until < now]:
            del self._watches[watch.container_id]
            del self._by_stream[watch.stream_id]
            self._remember(watch.stream_id)
            await self._send(wire.Unwatch(stream_id=watch.stream_id))
        for running in list(self._execs.values()):
            probe = frames.pack_exec(frames.ExecFrame(frames.EXEC_STDOUT, running.stream_id, b""))
            if await hub().publish(f"stream:{running.stream_id}", probe):
                running.read_at = now
            elif now - running.read_at > EXEC_ALONE_SECONDS:
                await self._send(wire.Unwatch(stream_id=running.stream_id))

    async def close(self) -> None:
        """The session is gone: tell whoever waits for an exec. Watches begin again when their viewers renew."""
        gone = wire.ErrorInfo(code="node_offline", detail="The node's connection was lost.")
        await asyncio.gather(*(self._publish_end(s, wire.StreamEnd(stream_id=s, error=gone)) for s in list(self._execs)))
        self._execs.clear()
