"""What a browser socket sends: bounded, with credit, so that a client that never reads costs one megabyte and then its socket (SECURITY M3, F11).

Daphne has no send back-pressure, so the client confirms: after each `MARK_BYTES` the server sends `{"type": "ping", "id": n}` and, with more than
`WINDOW_BYTES` unconfirmed, waits for the `pong` (any `pong` confirms all up to its `reply_to`, one without confirms all).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any

from autobahn.exception import Disconnected

WINDOW_BYTES = 1024 * 1024
MARK_BYTES = 256 * 1024
PATIENCE_SECONDS = 30.0


class TooSlow(Exception):
    """The client did not confirm within PATIENCE_SECONDS."""


class Gone(Exception):
    """The client has hung up while there was something to say: nobody's fault."""


class Outbox:
    """Sends frames in order; `send` waits while the window is full."""

    def __init__(self, asgi_send: Callable[[dict[str, Any]], Awaitable[None]]) -> None:
        self._asgi_send = asgi_send
        self._lock = asyncio.Lock()
        self._since_mark = 0
        self._marks: deque[tuple[int, int]] = deque()
        self._next_mark = 1
        self._unconfirmed = 0
        self._room = asyncio.Event()
        self._room.set()

    async def send(self, data: bytes | str) -> None:
        """One text frame. Raises TooSlow, Gone."""
        async with self._lock:
            if not self._room.is_set():
                try:
                    async with asyncio.timeout(PATIENCE_SECONDS):
                        await self._room.wait()
                except TimeoutError:
                    raise TooSlow from None
            text = data.decode() if isinstance(data, bytes) else data
            await self._say(text)
            self._since_mark += len(data)
            if self._since_mark >= MARK_BYTES:
                mark = self._next_mark
                self._next_mark += 1
                self._marks.append((mark, self._since_mark))
                self._unconfirmed += self._since_mark
                self._since_mark = 0
                if self._unconfirmed >= WINDOW_BYTES:
                    self._room.clear()
                await self._say(f'{{"type":"ping","id":{mark}}}')

    async def _say(self, text: str) -> None:
        try:
            await self._asgi_send({"type": "websocket.send", "text": text})
        except Disconnected:  # daphne's own way to say it; its `websocket.disconnect` comes behind what was received before
            raise Gone from None

    def confirm(self, reply_to: Any) -> bool:
        """A `pong` came. Was it asked for? (One that was costs its sender nothing: there are as many as we said `ping`.)"""
        waiting = len(self._marks)
        upto = reply_to if isinstance(reply_to, int) and not isinstance(reply_to, bool) else self._next_mark
        while self._marks and self._marks[0][0] <= upto:
            self._unconfirmed -= self._marks.popleft()[1]
        if self._unconfirmed < WINDOW_BYTES:
            self._room.set()
        return len(self._marks) < waiting
