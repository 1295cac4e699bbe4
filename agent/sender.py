"""The way out of one connection: control frames first, bulk behind them, bounded (ARCHITECTURE section 3)."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Protocol

BULK_BYTES = 4 * 1024 * 1024
CONTROL_FRAMES = 20_000


class Socket(Protocol):
    """The part of a websockets connection that sends."""

    async def send(self, message: str | bytes) -> None: ...


class Overflow(Exception):
    """The panel takes nothing any more; the link must be dropped. What matters is in the outbox."""


class Sender:
    """One task writes; others only queue. A control frame waits for at most one bulk frame."""

    def __init__(self, socket: Socket) -> None:
        self._socket = socket
        self._control: deque[str] = deque()
        self._bulk: deque[str | bytes] = deque()
        self._bulk_bytes = 0
        self._ready = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    def control(self, text: str) -> None:
        """Queue a control frame. Raises Overflow if thousands wait already."""
        if len(self._control) >= CONTROL_FRAMES:
            raise Overflow
        self._control.append(text)
        self._ready.set()

    async def bulk(self, data: str | bytes) -> None:
        """Queue a frame behind all bulk before it (so a stream's end comes after its bytes); waits while `BULK_BYTES` are queued."""
        await self._room.wait()
        self._bulk.append(data)
        self._bulk_bytes += len(data)
        if self._bulk_bytes >= BULK_BYTES:
            self._room.clear()
        self._ready.set()

    async def run(self) -> None:
        """Until the socket breaks (raises what it raises)."""
        while True:
            await self._ready.wait()
            while self._control or self._bulk:
                if self._control:
                    await self._socket.send(self._control.popleft())
                    continue
                data = self._bulk.popleft()
                self._bulk_bytes -= len(data)
                if self._bulk_bytes < BULK_BYTES:
                    self._room.set()
                await self._socket.send(data)
            self._ready.clear()
