"""Bulk sockets: the panel names a stream, the agent dials for it and carries the transfer out there. See `agent.protocol.bulk`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI

from agent.config import Config
from agent.files.transfers import Transfers
from agent.protocol import bulk as wire
from agent.protocol.messages import BulkOpen
from agent.runtimes.base import RuntimeFailure
from agent.session import dial

log = logging.getLogger(__name__)

MOST_AT_ONCE = 16
LINGER_SECONDS = 15.0
STILL_SECONDS = 120.0
"""A panel that neither sends nor takes anything for so long has gone."""


class Bulk:
    """All bulk transfers of this agent. They don't end with the control link: it may come and go meanwhile."""

    def __init__(self, transfers: Transfers) -> None:
        self._transfers = transfers
        self._slots = asyncio.Semaphore(MOST_AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def open(self, message: BulkOpen, config: Config) -> None:
        task = asyncio.create_task(self._serve(message, config), name=f"bulk {message.kind}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, message: BulkOpen, config: Config) -> None:
        async with self._slots:
            try:
                socket = await dial(config, f"{config.socket_url}/streams/{message.stream_id}", max_size=wire.FRAME_BYTES + 4096)
            except (OSError, TimeoutError, InvalidHandshake, InvalidURI, ConnectionClosed) as error:
                log.warning("bulk stream can't be dialled", extra={"kind": message.kind, "reason": f"{type(error).__name__}: {error}"})
                return
            try:
                await self._talk(message, socket)
            except ConnectionClosed:
                log.info("bulk stream was left by the panel", extra={"kind": message.kind})
            finally:
                with contextlib.suppress(Exception):
                    await socket.close()

    async def _talk(self, message: BulkOpen, socket: ClientConnection) -> None:
        pipe = SocketPipe(socket)
        receiving = asyncio.create_task(pipe.receive(), name="bulk receive")
        try:
            if message.kind not in wire.KINDS:
                raise RuntimeFailure("unknown_command", f"This agent does not know {message.kind[:64]!r}.")
            payload: Any = msgspec.convert(message.payload, wire.KINDS[message.kind])
            working = asyncio.create_task(self._transfers.run(message.kind, message.container_id, payload, pipe), name=f"bulk work {message.kind}")
            try:
                await asyncio.wait({working, receiving}, return_when=asyncio.FIRST_COMPLETED)
                if not working.done() and not pipe.is_over:
                    working.cancel()  # the panel has gone: nobody waits for the rest
                data = await working
            finally:
                if not working.done():
                    working.cancel()
                    await asyncio.gather(working, return_exceptions=True)
            await self._last(socket, receiving, wire.End(data=data))
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
        except RuntimeFailure as failure:
            await self._last(socket, receiving, wire.Failed(code=failure.code, detail=failure.detail))
        except msgspec.ValidationError as error:
            await socket.send(wire.encode(wire.Failed(code="bad_payload", detail=str(error))))
        except ConnectionClosed:
            raise
        except Exception as fault:
            log.exception("bulk stream failed inside", extra={"kind": message.kind})
            await socket.send(wire.encode(wire.Failed(code="internal", detail=f"{type(fault).__name__}: see the agent's log.")))
        finally:
            receiving.cancel()
            await asyncio.gather(receiving, return_exceptions=True)

    async def _last(self, socket: ClientConnection, receiving: asyncio.Task[None], message: wire.BulkMessage) -> None:
        """Said, and then waited until the panel closes: whoever closes first may lose what is still on its way where a machine is busy."""
        await socket.send(wire.encode(message))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                await asyncio.shield(receiving)


class SocketPipe:
    """See `agent.files.transfers.Pipe`."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._credit = wire.WINDOW_BYTES
        self._paid = asyncio.Event()
        self._paid.set()
        self._incoming: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.is_over = False
        """The panel has said its end."""
        self._gone = False

    async def receive(self) -> None:
        """Until the panel goes away. What waits is bounded by the credit that we give."""
        try:
            async for data in self._socket:
                if isinstance(data, bytes):
                    self._incoming.put_nowait(data)
                    continue
                message = wire.decode(data)
                if isinstance(message, wire.BulkCredit):
                    self._credit += max(0, message.bytes)
                    if self._credit > 0:
                        self._paid.set()
                elif isinstance(message, wire.End):
                    self.is_over = True
                    self._incoming.put_nowait(None)
        except (ValueError, ConnectionClosed) as error:
            log.debug("bulk stream broke", extra={"reason": str(error)})
        finally:
            self._gone = True
            self._paid.set()
            self._incoming.put_nowait(None)

    async def head(self, data: dict[str, Any]) -> None:
        await self._socket.send(wire.encode(wire.Head(data=data)))

    async def send(self, data: bytes) -> None:
        while self._credit <= 0:
            if self._gone:
                raise RuntimeFailure("cancelled", "The panel has gone.")
            self._paid.clear()
            async with asyncio.timeout(STILL_SECONDS):
                await self._paid.wait()
        if self._gone:
            raise RuntimeFailure("cancelled", "The panel has gone.")
        self._credit -= len(data)
        await self._socket.send(data)

    async def content(self) -> AsyncIterator[bytes]:
        unpaid = 0
        while True:
            async with asyncio.timeout(STILL_SECONDS):
                data = await self._incoming.get()
            if data is None:
                if not self.is_over:
                    raise RuntimeFailure("cancelled", "The panel went away before the end.")
                return
            yield data
            unpaid += len(data)
            if unpaid >= wire.CREDIT_STEP_BYTES:
                await self._socket.send(wire.encode(wire.BulkCredit(bytes=unpaid)))
                unpaid = 0
