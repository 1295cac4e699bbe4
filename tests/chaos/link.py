"""The way between agent and panel, understood frame by frame: it can cut, swallow, refuse, repeat and reorder (SECURITY R05, R06, R18, R19)."""

from __future__ import annotations

import asyncio
import contextlib
import http
import random
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.http11 import Request, Response

HELD_SECONDS = 0.3
"""How long a frame waits at most for one that overtakes it."""

PASSED_ON = ("authorization", "user-agent")


class Mischief:
    """A WebSocket relay on a port of its own. Text frames are messages and may be repeated or overtaken; binary ones are parts of streams."""

    def __init__(self, target_port: int, *, seed: int) -> None:
        self.target_port = target_port
        self.port = 0
        self.blocked = False
        self.repeat = 0.0
        """Chance of a text frame to be delivered twice."""
        self.reorder = 0.0
        """Chance of a text frame to be overtaken by the next one."""
        self.repeated = self.reordered = 0
        self._dice = random.Random(seed)
        self._server: Server | None = None
        self._pairs: set[tuple[ServerConnection, ClientConnection]] = set()
        self._deaf: set[tuple[ServerConnection, ClientConnection]] = set()

    async def start(self) -> None:
        self._server = await serve(
            self._relay, "127.0.0.1", 0, process_request=self._greet, compression=None, max_size=None, ping_interval=None, close_timeout=1
        )
        self.port = next(iter(self._server.sockets)).getsockname()[1]

    async def stop(self) -> None:
        self.blocked = True
        self.cut()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    # ------------------------------------------------------------------------------------------------------------- faults

    def cut(self) -> None:
        """Every connection ends at once; new ones work unless `blocked`."""
        self._deaf.clear()
        for near, far in tuple(self._pairs):
            near.transport.abort()
            far.transport.abort()

    def swallow(self) -> None:
        """The connections of this moment take frames and bring none, and nobody hears of an end. New ones work."""
        self._deaf |= self._pairs

    def heal(self) -> None:
        """As if nothing had been; what was half open ends."""
        self.blocked = False
        self.repeat = self.reorder = 0.0
        for near, far in tuple(self._deaf):
            near.transport.abort()
            far.transport.abort()
        self._deaf.clear()

    # -------------------------------------------------------------------------------------------------------------- relay

    async def _greet(self, connection: ServerConnection, request: Request) -> Response | None:
        if self.blocked:
            connection.transport.abort()
            return None
        headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        try:
            far = await connect(
                f"ws://127.0.0.1:{self.target_port}{request.path}", additional_headers=headers, compression=None, max_size=None,
                ping_interval=None, proxy=None, open_timeout=10, close_timeout=1,
            )  # fmt: skip
        except InvalidStatus as error:
            return connection.respond(http.HTTPStatus(error.response.status_code), (error.response.body or b"").decode(errors="replace"))
        except (OSError, InvalidHandshake, ConnectionClosed, TimeoutError):
            return connection.respond(http.HTTPStatus.BAD_GATEWAY, "the panel does not answer\n")
        connection.far = far  # type: ignore[attr-defined]
        return None

    async def _relay(self, near: ServerConnection) -> None:
        pair = (near, near.far)  # type: ignore[attr-defined]
        self._pairs.add(pair)
        try:
            ways = [asyncio.create_task(self._pump(pair, *way)) for way in (pair, pair[::-1])]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            while pair in self._deaf:  # the other end does not hear of the end either
                await asyncio.sleep(0.1)
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        finally:
            self._pairs.discard(pair)
            self._deaf.discard(pair)
            await pair[1].close()

    async def _pump(self, pair: Any, source: Any, sink: Any) -> None:
        """Until either end closes; the close code travels, too."""
        first = True
        held: str | None = None
        with contextlib.suppress(ConnectionClosed):
            while True:
                try:
                    frame = await asyncio.wait_for(source.recv(), HELD_SECONDS if held is not None else None)
                except TimeoutError:
                    frame = None
                if pair in self._deaf:
                    held = None
                    continue
                if isinstance(frame, str) and not first and held is None and self._dice.random() < self.reorder:
                    held = frame
                    self.reordered += 1
                    continue
                out = [part for part in (frame, held) if part is not None]
                held = None
                for part in out:
                    await sink.send(part)
                    if isinstance(part, str) and not first and self._dice.random() < self.repeat:
                        self.repeated += 1
                        await sink.send(part)
                first = False
        code = source.close_code if source.close_code not in (None, 1005, 1006) else 1000
        with contextlib.suppress(ConnectionClosed):
            if pair not in self._deaf and source.close_code != 1006:
                await sink.close(code, source.close_reason or "")
        if source.close_code == 1006:
            sink.transport.abort()
