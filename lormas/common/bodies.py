"""Large bodies of requests and answers, a piece at a time, whoever is slow (SECURITY J03, F11).

Daphne keeps a large body of a request in a temporary file, but hands all of it to the application's queue at once: an upload of 100 MB costs
100 MB. Here the application gets the file instead, and reads on when it has taken the last piece. And daphne takes all that an application answers,
however slowly the client reads: a client that stops in a download of 100 MB costs 100 MB. Here a streamed answer waits for the connection.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import IO, Any, Final

from daphne.server import Server

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Any], Awaitable[None]]

SMALL_BYTES: Final = 256 * 1024
PIECE_BYTES: Final = 64 * 1024
KEY: Final = "lormas.body"
REQUEST: Final = "lormas.request"
STALLED_SECONDS: Final = 120.0
"""A client that takes nothing for so long is hung up on."""


class Emptied:
    """Stands in the request's place of the body: nothing to hand over, but closed with it."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    @property
    def closed(self) -> bool:
        return self._file.closed

    def read(self, size: int = -1) -> bytes:
        return b""

    def close(self) -> None:
        self._file.close()


class LazyServer:
    """What `install` puts in daphne's place."""

    @staticmethod
    def create_application(server: Server, protocol: Any, scope: Message) -> Any:
        content = getattr(protocol, "content", None)
        if scope["type"] == "http" and content is not None and not content.closed:
            size = content.seek(0, os.SEEK_END)
            content.seek(0)
            if size > SMALL_BYTES:
                scope[KEY] = content
                protocol.content = Emptied(content)
        if scope["type"] == "http":
            scope[REQUEST] = protocol
        return _original(server, protocol, scope)


_original = Server.create_application


def install() -> None:
    """Once, before the server starts."""
    Server.create_application = LazyServer.create_application


def receiving(scope: Message, receive: Receive) -> Receive:
    """`receive` of this request; of a large body it reads the file. The client's going away is told as ever."""
    file: IO[bytes] | None = scope.pop(KEY, None)
    if file is None:
        return receive
    is_over = False

    async def read() -> Message:
        nonlocal is_over
        if is_over:
            return await receive()
        try:
            data = file.read(PIECE_BYTES)  # of the machine's own cache: it was written a moment ago
        except ValueError:  # the client went away, and its file was closed
            return {"type": "http.disconnect"}
        if len(data) < PIECE_BYTES:
            is_over = True
            await receive()  # the empty one in its place
        return {"type": "http.request", "body": data, "more_body": not is_over}

    return read


class Gate:
    """Twisted's word for one who can be told to wait: open while the connection takes more."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()

    def pauseProducing(self) -> None:
        self._open.clear()

    def resumeProducing(self) -> None:
        self._open.set()

    def stopProducing(self) -> None:
        self._open.set()

    async def wait(self) -> None:
        """Raises TimeoutError."""
        async with asyncio.timeout(STALLED_SECONDS):
            await self._open.wait()


def sending(scope: Message, send: Send) -> Send:
    """`send` of this request; between the pieces of a streamed answer it waits until the client has taken what was sent."""
    request: Any = scope.pop(REQUEST, None)
    if request is None:
        return send
    gate: Gate | None = None

    async def paced(message: Any) -> None:
        nonlocal gate
        if message["type"] != "http.response.body":
            await send(message)
            return
        if message.get("more_body"):
            if gate is None and request.channel is not None and request.producer is None:
                gate = Gate()
                request.registerProducer(gate, True)
            await send(message)
            if gate is not None:
                await gate.wait()
            return
        if gate is not None and request.producer is gate:
            request.unregisterProducer()
        await send(message)

    return paced
