"""One viewer's log: history from the node, then live batches, every line once, whatever is lost on the way.

Live batches come as ready JSON text from the agent (`agent.protocol.frames.LogFrame`): they are passed on without decoding. Whenever their
sequence numbers do not follow on (the tap dropped some, a process or the link died, Redis restarted), the missing lines are read from the node's
store. So a slow viewer falls behind and catches up; only one that is hopelessly behind is moved forward and told `skipped`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

import msgspec
import structlog
from redis import RedisError

from agent.protocol.commands import LogsQuery
from agent.protocol.frames import LogFrame, unpack
from lormas.common import live
from lormas.common.errors import Refused

log = structlog.get_logger(__name__)

Send = Callable[[bytes], Awaitable[None]]
PAGE_LINES = 1000
HOPELESS_LINES = 2_000_000
LEASE_RENEW_SECONDS = 20.0
RETRY_SECONDS = 1.0
TAP_MESSAGES = 256
TAP_BYTES = 1024 * 1024


class Leases:
    """Keeps nodes shipping logs while somebody of this process watches: one renewal per container, not per viewer."""

    def __init__(self) -> None:
        self._watchers: dict[str, int] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def take(self, container_id: str, node_id: UUID) -> None:
        """One more viewer."""
        self._watchers[container_id] = self._watchers.get(container_id, 0) + 1
        if self._watchers[container_id] == 1:
            await _ask_to_ship(container_id, node_id)
            self._tasks[container_id] = asyncio.create_task(_renew(container_id, node_id))

    def give(self, container_id: str) -> None:
        """One viewer less; the lease ends by itself when it is not renewed."""
        left = self._watchers.get(container_id, 0) - 1
        if left > 0:
            self._watchers[container_id] = left
            return
        self._watchers.pop(container_id, None)
        task = self._tasks.pop(container_id, None)
        if task is not None:
            task.cancel()


async def _ask_to_ship(container_id: str, node_id: UUID) -> None:
    with contextlib.suppress(OSError, RedisError):
        await live.hub().tell_node(node_id, live.Question(op="watch", container_id=container_id, after=-1))


async def _renew(container_id: str, node_id: UUID) -> None:
    while True:
        await asyncio.sleep(LEASE_RENEW_SECONDS)
        await _ask_to_ship(container_id, node_id)


leases = Leases()


class LogFeed:
    """Follow one container for one viewer.

    Args:
        after: sequence number the viewer has; -1: none, begin with the last `tail` lines.
        streams: only these; empty = all.
    """

    def __init__(self, *, container_id: str, node_id: UUID, after: int, tail: int, streams: frozenset[str], send: Send) -> None:
        self.container_id = container_id
        self.node_id = node_id
        self.position = after
        self.tail = tail
        self.streams = streams
        self._send = send
        self._head = b'{"type":"log","container_id":"' + container_id.encode() + b'","lines":'

    async def run(self) -> None:
        """Until cancelled. A node that is away is waited for; the viewer is told once."""
        tap = await live.hub().tap(f"log:{self.container_id}", max_messages=TAP_MESSAGES, max_bytes=TAP_BYTES)
        await leases.take(self.container_id, self.node_id)
        try:
            await self._begin()
            while True:
                data = await tap.get(LEASE_RENEW_SECONDS)
                lost = tap.skipped()
                if data == live.RESYNC:  # the node's session is new, or Redis was away: nobody may be shipping to us
                    await _ask_to_ship(self.container_id, self.node_id)
                if lost or data == live.RESYNC:
                    await self._catch_up()
                if data is None:
                    # Quiet, or the link was cut where nobody could tell: a look at the store costs little and loses nothing.
                    await self._catch_up()
                    continue
                if data == live.RESYNC:
                    continue
                frame = unpack(data)
                if isinstance(frame, LogFrame):
                    await self._pass_on(frame)
        finally:
            leases.give(self.container_id)
            await tap.close()

    async def _begin(self) -> None:
        if self.position >= 0:
            await self._catch_up()
            return
        page = await self._read(LogsQuery(tail=self.tail or 1, limit=max(self.tail, 1)))
        lines = page.get("lines", [])
        if self.tail and lines:
            await self._send_lines(lines)
        self.position = max(int(page.get("last_seq", 0)), lines[-1][0] if lines else 0)

    async def _pass_on(self, frame: LogFrame) -> None:
        if frame.last_seq <= self.position:
            if self.position - frame.last_seq > 1_000_000:
                log.warning("logfeed.sequence_went_back", container=self.container_id)
            return
        if frame.first_seq > self.position + 1:
            await self._catch_up(until=frame.first_seq)
            if frame.last_seq <= self.position:
                return
        if frame.first_seq <= self.position or self.streams:
            lines = [line for line in json.loads(frame.payload) if line[0] > self.position]
            self.position = frame.last_seq
            await self._send_lines(lines)
            return
        self.position = frame.last_seq
        await self._send(self._head + frame.payload + b"}")

    async def _catch_up(self, until: int | None = None) -> None:
        """Read from the store what is behind `position` (up to `until`, or all there is)."""
        while until is None or self.position + 1 < until:
            page = await self._read(LogsQuery(after=self.position, limit=PAGE_LINES))
            last_seq = int(page.get("last_seq", 0))
            lines = page.get("lines", [])
            behind = last_seq - self.position
            if behind > HOPELESS_LINES and self.position >= 0:
                skip_to = last_seq - PAGE_LINES
                await self._send(
                    json.dumps(
                        {"type": "skipped", "container_id": self.container_id, "count": skip_to - self.position, "resume_after": skip_to}
                    ).encode()
                )
                self.position = skip_to
                continue
            if not lines:
                return
            await self._send_lines(lines)
            self.position = int(lines[-1][0])
            if not page.get("more"):
                return

    async def _send_lines(self, lines: list[list[Any]]) -> None:
        if self.streams:
            lines = [line for line in lines if line[2] in self.streams]
        if lines:
            await self._send(self._head + json.dumps(lines, ensure_ascii=False, separators=(",", ":")).encode() + b"}")

    async def _read(self, query: LogsQuery) -> dict[str, Any]:
        told = False
        while True:
            try:
                return await live.hub().ask_node(self.node_id, "logs.read", container_id=self.container_id, payload=msgspec.to_builtins(query))
            except live.NodeRefused as error:
                if error.code == "no_such_container":
                    return {"lines": [], "last_seq": max(self.position, 0), "more": False}
                if error.code in ("bad_payload", "unknown_command"):
                    raise Refused(error.detail, code=error.code) from error
                reason = error.detail  # the link broke under the question, or the node is in trouble: that passes
            except (live.NodeOffline, live.NodeTimeout) as error:
                reason = str(error)
                if not told:
                    told = True
                    await self._send(
                        json.dumps(
                            {
                                "type": "log_waiting",
                                "container_id": self.container_id,
                                "message": "The node is not reachable; the log goes on when it is back.",
                            }
                        ).encode()
                    )
            log.debug("logfeed.waiting", container=self.container_id, reason=reason)
            await asyncio.sleep(RETRY_SECONDS)
            await _ask_to_ship(self.container_id, self.node_id)
