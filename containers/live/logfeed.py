"""One viewer's log: history from the node, then live batches, every line once, whatever is lost on the way.

A viewer is a position in what all viewers of a container share (`logsource`): it sends the ready frame that holds the next line. Where none does
(batches were lost, a process or the link died, Redis restarted, or this viewer is slow), the missing lines are read from the node's store. So a slow
viewer falls behind and catches up; only one that is hopelessly behind is moved forward and told `skipped`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar
from uuid import UUID

import structlog

from agent.protocol.commands import LogsQuery
from containers.live.logsource import Entry, LogSource, Page, frame_of, watched
from lormas.common import live
from lormas.common.errors import Refused

log = structlog.get_logger(__name__)

T = TypeVar("T")
Send = Callable[[bytes], Awaitable[None]]
HOPELESS_LINES = 2_000_000
KEPT_LINES = 1000
"""So many of the newest lines one gets who is moved forward."""
RETRY_SECONDS = 1.0


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

    async def run(self) -> None:
        """Until cancelled. A node that is away is waited for; the viewer is told once."""
        async with watched(self.container_id, self.node_id) as source:
            try:
                await self._follow(source)
            finally:
                source.reached.pop(self, None)

    async def _follow(self, source: LogSource) -> None:
        behind = self.position >= 0
        looked = source.looks
        if not behind:
            await self._begin(source)
        while True:
            entry, later = source.find(self.position + 1)
            if entry is not None:
                await self._pass_on(entry)
                source.reached[self] = self.position, time.monotonic()
            elif behind or later is not None or looked != source.looks:
                looked = source.looks
                behind = await self._catch_up(source, later)
            else:
                await source.news()

    async def _begin(self, source: LogSource) -> None:
        query = LogsQuery(tail=self.tail or 1, limit=max(self.tail, 1))
        nothing: dict[str, Any] = {"lines": [], "last_seq": 0}
        page = await self._ask(source, lambda: source.read(query), nothing)
        lines = page.get("lines", [])
        if self.tail and lines:
            await self._send_some(frame_of(source.head, [line for line in lines if not self.streams or line[2] in self.streams]))
        self.position = max(int(page.get("last_seq", 0)), lines[-1][0] if lines else 0)

    async def _pass_on(self, entry: Entry) -> None:
        frame = entry.for_streams(self.streams) if entry.first_seq == self.position + 1 else entry.behind(self.position, self.streams)
        self.position = entry.last_seq
        await self._send_some(frame)

    async def _send_some(self, frame: bytes) -> None:
        if frame:
            await self._send(frame)

    async def _catch_up(self, source: LogSource, later: Entry | None) -> bool:
        """Read from the store what is behind `position`, a page. False: there is no more, and up to `later` there never was."""
        page = await self._ask(source, lambda: source.page(self.position), Page(self.position, [], max(self.position, 0), False))
        if page.last_seq - self.position > HOPELESS_LINES and self.position >= 0:
            skip_to = page.last_seq - KEPT_LINES
            said = {"type": "skipped", "container_id": self.container_id, "count": skip_to - self.position, "resume_after": skip_to}
            self.position = skip_to
            await self._send(json.dumps(said).encode())
            return True
        if page.entries:
            await self._pass_on(page.entries[0])  # the others are found in the source, unless so many read that they are gone again
            return page.more or len(page.entries) > 1
        if later is not None:
            self.position = max(self.position, later.first_seq - 1)
        return False

    async def _ask(self, source: LogSource, question: Callable[[], Awaitable[T]], nothing: T) -> T:
        """The node's answer, however long that takes; `nothing` where the node does not know the container. Raises Refused."""
        told = False
        while True:
            try:
                return await question()
            except live.NodeRefused as error:
                if error.code == "no_such_container":
                    return nothing
                if error.code in ("bad_payload", "unknown_command"):
                    raise Refused(error.detail, code=error.code) from error
                reason = error.detail  # the link broke under the question, or the node is in trouble: that passes
            except (live.NodeOffline, live.NodeTimeout) as error:
                reason = str(error)
                if not told:
                    told = True
                    said = "The node is not reachable; the log goes on when it is back."
                    await self._send(json.dumps({"type": "log_waiting", "container_id": self.container_id, "message": said}).encode())
            log.debug("logfeed.waiting", container=self.container_id, reason=reason)
            await asyncio.sleep(RETRY_SECONDS)
            await source.ask_to_ship()
