"""Content of files to and from a node, without ever being held: the asker's side of `agent.protocol.bulk`.

The agent's socket may end in another process than the asker's; then its frames take the way over Redis, numbered, so that a loss is noticed
and ends the transfer. At most `WINDOW_BYTES` are under way in each direction, whoever is slow.
"""

from __future__ import annotations

import asyncio
import struct
import uuid
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from agent.protocol import bulk as wire
from agent.protocol.parts import Part
from lormas.common import live

DIAL_SECONDS = 15.0
STILL_SECONDS = 120.0
_HEAD = struct.Struct(">BI")
TEXT, CONTENT, GONE = 1, 2, 3
TAP_BYTES = 4 * wire.WINDOW_BYTES


def up(stream_id: str) -> str:
    """Channel of what the agent sends."""
    return f"bulk:{stream_id}:up"


def down(stream_id: str) -> str:
    """Channel of what the agent gets."""
    return f"bulk:{stream_id}:down"


class Numbered:
    """Packs and unpacks frames; a gap in the numbers is a loss."""

    def __init__(self) -> None:
        self._next_out = 0
        self._next_in = 0

    def pack(self, kind: int, data: bytes = b"") -> bytes:
        self._next_out += 1
        return _HEAD.pack(kind, self._next_out & 0xFFFFFFFF) + data

    def unpack(self, raw: bytes) -> tuple[int, bytes]:
        """Raises BulkLost."""
        if raw == live.RESYNC or len(raw) < _HEAD.size:
            raise BulkLost("Part of the transfer was lost between the panel's processes.")
        kind, number = _HEAD.unpack_from(raw)
        self._next_in += 1
        if number != self._next_in & 0xFFFFFFFF:
            raise BulkLost("Part of the transfer was lost between the panel's processes.")
        return kind, raw[_HEAD.size :]


class BulkLost(Exception):
    """The transfer broke off; begin it again."""


class BulkStream:
    """One transfer of this process. `head` is what the agent said first. Always `close` it. Raises NodeRefused, BulkLost from all its acts."""

    def __init__(self, stream_id: str, tap: live.Tap) -> None:
        self.stream_id = stream_id
        self.head: dict[str, Any] = {}
        self.end: dict[str, Any] | None = None
        self._tap = tap
        self._frames = Numbered()
        self._credit = wire.WINDOW_BYTES
        self._unpaid = 0
        self._closed = False
        self._loop = asyncio.get_running_loop()

    async def _next(self, seconds: float) -> bytes | wire.BulkMessage:
        raw = await self._tap.get(seconds)
        if raw is None:
            raise BulkLost("The node has sent nothing for too long.")
        kind, data = self._frames.unpack(raw)
        if kind == CONTENT:
            return data
        if kind == GONE:
            raise BulkLost("The node's connection was lost before the end.")
        try:
            message = wire.decode(data)
        except ValueError as error:
            raise BulkLost(f"The node sent something that can't be read: {error}") from error
        if isinstance(message, wire.Failed):
            raise live.NodeRefused(message.code, message.detail)
        if isinstance(message, wire.BulkCredit):
            self._credit += message.bytes
        return message

    async def begin(self) -> None:
        """Wait for the head."""
        found = await self._next(DIAL_SECONDS)
        if not isinstance(found, wire.Head):
            raise BulkLost("The node did not begin as agreed.")
        self.head = found.data

    async def chunks(self) -> AsyncIterator[bytes]:
        """Content to its end. What is not read is not sent."""
        while True:
            found = await self._next(STILL_SECONDS)
            if isinstance(found, wire.End):
                self.end = found.data
                return
            if isinstance(found, wire.Head):
                self.head = {**self.head, **found.data}
            if not isinstance(found, bytes):
                continue
            yield found
            self._unpaid += len(found)
            if self._unpaid >= wire.CREDIT_STEP_BYTES:
                paid, self._unpaid = self._unpaid, 0
                await self._say(wire.BulkCredit(bytes=paid))

    async def write(self, data: bytes) -> None:
        """Content for the node, any size; waits until it may be sent."""
        view = memoryview(data)
        while view:
            while self._credit <= 0:
                await self._next(STILL_SECONDS)
            piece = bytes(view[: wire.FRAME_BYTES])
            self._credit -= len(piece)
            await self._hand(CONTENT, piece)
            view = view[wire.FRAME_BYTES :]

    async def finish(self) -> dict[str, Any]:
        """All is written: what the node made of it."""
        await self._say(wire.End())
        while not isinstance(found := await self._next(STILL_SECONDS), wire.End):
            pass
        self.end = found.data
        return found.data

    async def _say(self, message: wire.BulkMessage) -> None:
        await self._hand(TEXT, wire.encode(message).encode())

    async def _hand(self, kind: int, data: bytes = b"") -> None:
        if not await live.hub().hand(down(self.stream_id), self._frames.pack(kind, data)):
            raise await self._why_gone()

    async def _why_gone(self) -> Exception:
        """Its socket has ended: a reason may have come before."""
        try:
            while True:
                await self._next(0.2)
        except (live.NodeRefused, BulkLost) as reason:
            return reason

    def close_soon(self) -> None:
        """From any thread."""
        if not self._closed and self._loop.is_running():
            asyncio.run_coroutine_threadsafe(self.close(), self._loop)

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        # Also after a good end: the agent waits for it before it lets go of its socket.
        await live.hub().hand(down(self.stream_id), self._frames.pack(GONE))
        await self._tap.close()


async def open_bulk(node_id: uuid.UUID, kind: str, *, container_id: str, payload: Part) -> BulkStream:
    """Ask the node, and wait for its socket and head. Raises NodeOffline, NodeRefused, BulkLost."""
    stream_id = str(uuid.uuid4())
    tap = await live.hub().tap(up(stream_id), max_messages=100_000, max_bytes=TAP_BYTES)
    stream = BulkStream(stream_id, tap)
    try:
        await live.hub().expect(f"bulk:{stream_id}", str(node_id), seconds=DIAL_SECONDS)
        question = live.Question(
            op="bulk", stream_id=stream_id, container_id=container_id, payload={"kind": kind, "payload": msgspec.to_builtins(payload)}
        )
        if await live.hub().tell_node(node_id, question) == 0:
            raise live.NodeOffline(f"node {node_id} is not connected")
        await stream.begin()
    except BaseException:
        await asyncio.shield(stream.close())
        raise
    return stream
