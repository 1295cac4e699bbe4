"""Archives between a node and a store: streamed, summed on the way, never whole in memory. Async; database-free."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from agent.protocol.backups import BackupRead, BackupWrite
from containers.stores import Draft, StoreFault
from containers.stores.base import PIECE_BYTES
from lormas.common import live
from nodes.bulk import BulkLost, BulkStream, open_bulk

Tell = Callable[[int, int], None]
"""(done, of how many bytes): called often, must be quick."""


class CarryFailed(Exception):
    """It did not work: `code` for programs, `detail` for a person."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Carried:
    """What came from a node and is written, but not committed."""

    size_bytes: int
    sha256: str
    files: int
    content_bytes: int
    left_out: int


async def fetch(node_id: uuid.UUID, container_id: str, asked: BackupRead, draft: Draft, *, most_bytes: int, tell: Tell) -> Carried:
    """A container's archive from its node into `draft`; more than `most_bytes` (0 = any) is refused. Raises CarryFailed, StoreFault."""
    summed = hashlib.sha256()
    size = 0

    def take(piece: bytes) -> None:
        summed.update(piece)
        draft.write(piece)

    stream = await _opened(node_id, "backup.read", container_id, asked)
    writing: asyncio.Future[None] | None = None
    try:
        waiting = bytearray()
        async with _Lost():
            async for data in stream.chunks():
                waiting += data
                size += len(data)
                if most_bytes and size > most_bytes:
                    raise CarryFailed("backup_limit", f"The archive grows over the {most_bytes} bytes that are left for this container's backups.")
                if len(waiting) >= PIECE_BYTES:
                    if writing is not None:
                        await asyncio.shield(writing)
                    piece, waiting = bytes(waiting), bytearray()
                    writing = asyncio.ensure_future(asyncio.to_thread(take, piece))
                    tell(int(stream.head.get("done_bytes", 0)), int(stream.head.get("content_bytes", 0)))
        if writing is not None:
            await asyncio.shield(writing)
        writing = asyncio.ensure_future(asyncio.to_thread(take, bytes(waiting)))
        await asyncio.shield(writing)
    finally:
        if writing is not None and not writing.done():  # the draft is the thread's until it has ended
            await asyncio.wait({writing})
        await asyncio.shield(stream.close())
    end = stream.end or {}
    if end.get("sha256") != summed.hexdigest() or end.get("size_bytes") != size:
        raise CarryFailed("checksum_mismatch", "What came is not what the node sent: the transfer was damaged on its way. Try again.")
    counts = {name: int(end.get(name, 0)) for name in ("files", "content_bytes", "left_out")}
    return Carried(size_bytes=size, sha256=summed.hexdigest(), **counts)


async def bring(
    node_id: uuid.UUID, container_id: str, asked: BackupWrite, pieces: Iterator[bytes], *, tell: Tell, may_finish: Callable[[], bool]
) -> dict[str, Any]:
    """An archive from a store into a container. It takes the place of the old files only if `may_finish()` (asked when all has gone out, in a thread)
    and the checksum is right at both ends. Raises CarryFailed, StoreFault."""
    stream = await _opened(node_id, "backup.write", container_id, asked)
    summed = hashlib.sha256()
    sent = 0
    coming = asyncio.ensure_future(asyncio.to_thread(next, pieces, None))
    try:
        async with _Lost():
            while (piece := await coming) is not None:
                coming = asyncio.ensure_future(asyncio.to_thread(next, pieces, None))  # read while this one goes out
                summed.update(piece)
                await stream.write(piece)
                sent += len(piece)
                tell(sent, asked.size_bytes)
            if (summed.hexdigest(), sent) != (asked.sha256, asked.size_bytes):
                raise CarryFailed("damaged", "The archive at its destination is not what was written there: its checksum is another one.")
            if not await asyncio.to_thread(may_finish):
                raise CarryFailed("cancelled", "It was cancelled before the files were put in place.")
            return await stream.finish()
    finally:
        await asyncio.shield(stream.close())
        await asyncio.wait({coming})  # the store is the thread's until then
        if not coming.cancelled():
            coming.exception()  # was told already, or another one is


class _Lost:
    """Inside, what a broken transfer raises becomes CarryFailed."""

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if isinstance(error, BulkLost):
            raise CarryFailed("connection_lost", str(error)) from error
        if isinstance(error, live.NodeRefused):
            raise CarryFailed(error.code, error.detail) from error


async def _opened(node_id: uuid.UUID, kind: str, container_id: str, payload: BackupRead | BackupWrite) -> BulkStream:
    try:
        async with _Lost():
            return await open_bulk(node_id, kind, container_id=container_id, payload=payload)
    except live.NodeOffline:
        raise CarryFailed("node_offline", "The node is not connected.") from None


def summed_up(pieces: Iterator[bytes], *, tell: Callable[[int], None]) -> tuple[int, str]:
    """(bytes, sha256) of what is stored. Blocking; `tell` may raise to stop. Raises StoreFault."""
    summed = hashlib.sha256()
    size = 0
    for piece in pieces:
        summed.update(piece)
        size += len(piece)
        tell(size)
    return size, summed.hexdigest()


def alone(work: Awaitable[Any]) -> Any:
    """Run it to its end in this thread, on a loop (and hub) of its own."""

    async def run() -> Any:
        try:
            return await work
        finally:
            await live.end_hub()

    return asyncio.run(run())


__all__ = ["Carried", "CarryFailed", "StoreFault", "alone", "bring", "fetch", "summed_up"]
