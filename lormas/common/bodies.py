"""Large bodies of requests and answers, a piece at a time, whoever is slow (SECURITY J03, F11).

Daphne keeps a large body of a request in a temporary file, but hands all of it to the application's queue at once: an upload of 100 MB costs
100 MB; and Django would write it into a second file. Here Django gets the first one. And daphne takes all that an application answers,
however slowly the client reads: a client that stops in a download of 100 MB costs 100 MB. Here a streamed answer waits for the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable
from typing import IO, Any, Final

from daphne.server import Server

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Any], Awaitable[None]]

SMALL_BYTES: Final = 256 * 1024
KEY: Final = "lormas.body"
REQUEST: Final = "lormas.request"
STALLED_SECONDS: Final = 120.0
"""A client that takes nothing for so long is hung up on."""


class Emptied:
    """Stands in the request's place of the body: nothing to hand over, and closed with it unless somebody has taken it over."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.is_taken = False

    @property
    def closed(self) -> bool:
        return self._file.closed

    def read(self, size: int = -1) -> bytes:
        return b""

    def close(self) -> None:
        if not self.is_taken:
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
                protocol.content = Emptied(content)
                scope[KEY] = content, protocol.content
        if scope["type"] == "http":
            scope[REQUEST] = protocol
        return _original(server, protocol, scope)


_original = Server.create_application


def install() -> None:
    """Once, before the server starts."""
    Server.create_application = LazyServer.create_application


class Whole:
    """`receive` of a request whose body lies in a file already. Call `take` first."""

    def __init__(self, file: IO[bytes], stand_in: Emptied, receive: Receive) -> None:
        self._file = file
        self._stand_in = stand_in
        self._receive = receive

    async def take(self) -> IO[bytes]:
        """The body, at its beginning; the caller closes it. From now on the client's going away takes it from nobody's hands.

        Raises:
            ClientGone: before that; it is closed.
        """
        message = await self._receive()  # the empty one in its place
        if message["type"] == "http.disconnect" or self._file.closed:
            self._file.close()
            raise ClientGone
        self._stand_in.is_taken = True
        self._file.seek(0)
        return self._file

    async def __call__(self) -> Message:
        return await self._receive()


class ClientGone(Exception):
    """There is nobody to answer."""


def receiving(scope: Message, receive: Receive) -> Receive:
    """`receive` of this request; of a large body a `Whole`."""
    held: tuple[IO[bytes], Emptied] | None = scope.pop(KEY, None)
    return receive if held is None else Whole(*held, receive)


def drop_files(request: Any) -> None:
    """What a form's parser had begun to write when it was stopped: else it lies there until somebody's memory is cleaned, on a disk that is full."""
    for handler in getattr(request, "_upload_handlers", ()):
        with contextlib.suppress(OSError):  # what it still held in memory finds no room either; the file goes all the same
            handler.upload_interrupted()


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
