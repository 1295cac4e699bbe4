"""Content of files through the panel, in pieces: nothing is held longer than it takes to pass it on. Async inside; views call the sync doors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
from asgiref.sync import async_to_sync, sync_to_async

from agent.protocol import files as ask
from agent.protocol.parts import Part
from audit.services import Actor
from containers import uses
from containers.files import noted, problem_of, scope_of
from containers.logs import silent, unavailable
from containers.models import Container
from lormas.common import live
from lormas.common.errors import Invalid, NodeSilent, NodeUnavailable
from nodes.bulk import BulkLost, BulkStream, open_bulk

PIECE_BYTES = 1024 * 1024
KINDS: dict[str, type[Part]] = {
    "files.read": ask.FilesRead,
    "files.write": ask.FilesWrite,
    "files.upload": ask.FilesUpload,
    "recording.read": ask.RecordingRead,
}


@asynccontextmanager
async def _problems(container: Container) -> AsyncIterator[None]:
    try:
        yield
    except live.NodeOffline:
        raise unavailable(container) from None
    except live.NodeTimeout:
        raise silent(container, 15) from None
    except live.NodeRefused as error:
        raise problem_of(error.code, error.detail, container) from None
    except BulkLost as lost:
        raise NodeSilent(str(lost)) from None


def payload_of(container: Container, kind: str, **fields: Any) -> Part:
    """Raises Invalid. Uses the database: not on an event loop."""
    uses.used(container.pk, "files")
    if container.node is None:
        raise NodeUnavailable("This container has no node yet.")
    try:
        made: Part = msgspec.convert({**scope_of(container), **fields}, KINDS[kind])
    except msgspec.ValidationError as error:
        raise Invalid(f"This can't be asked: {error}") from error
    return made


async def start(container: Container, kind: str, payload: Part) -> BulkStream:
    """Open a transfer; its head has come. Raises Problem."""
    assert container.node_id is not None
    async with _problems(container):
        return await open_bulk(container.node_id, kind, container_id=str(container.pk), payload=payload)


async def pieces(stream: BulkStream) -> AsyncIterator[bytes]:
    """For a streamed response. If the node breaks off, so does the response: its length does not fit, and the client knows."""
    try:
        async for data in stream.chunks():
            yield data
    finally:
        await asyncio.shield(stream.close())


async def read_all(container: Container, path: str, payload: Part) -> tuple[dict[str, Any], bytes]:
    """A small file, whole: `payload` says how small."""
    stream = await start(container, "files.read", payload)
    try:
        async with _problems(container):
            return stream.head, b"".join([data async for data in stream.chunks()])
    finally:
        await stream.close()


async def write_all(container: Container, payload: Part, data: bytes) -> dict[str, Any]:
    """A small file, whole."""
    stream = await start(container, "files.write", payload)
    try:
        async with _problems(container):
            await stream.write(data)
            return await stream.finish()
    finally:
        await stream.close()


# ------------------------------------------------------------------------------------------------------- for threads of views


def open_read(container: Container, kind: str = "files.read", **fields: Any) -> BulkStream:
    """Raises Problem; the caller gives its `pieces` to a response."""
    payload = payload_of(container, kind, **fields)
    stream: BulkStream = async_to_sync(start)(container, kind, payload)
    return stream


def read_small(container: Container, *, path: str, most_bytes: int) -> tuple[dict[str, Any], bytes]:
    payload = payload_of(container, "files.read", paths=[path], max_bytes=most_bytes)
    found: tuple[dict[str, Any], bytes] = async_to_sync(read_all)(container, path, payload)
    return found


def write(container: Container, read: Callable[[int], bytes], *, actor: Actor, **fields: Any) -> dict[str, Any]:
    """A whole file from what `read(n)` gives; `entry` and `created`. Journaled. Raises Problem."""
    done = _send(container, "files.write", read, **fields)
    noted(container, "written", actor=actor, path=fields["path"], size=done["entry"]["size"])
    return done


def upload_piece(container: Container, read: Callable[[int], bytes], *, actor: Actor, upload_id: str, offset: int, length: int) -> dict[str, Any]:
    """A piece of an upload; journaled when it was the last. Raises Problem."""
    done = _send(container, "files.upload", read, id=upload_id, offset=offset, length=length)
    if done.get("entry"):
        noted(container, "uploaded", actor=actor, path=done.get("path", ""), size=done["entry"]["size"])
    return done


def _send(container: Container, kind: str, read: Callable[[int], bytes], **fields: Any) -> dict[str, Any]:
    payload = payload_of(container, kind, **fields)

    async def carry() -> dict[str, Any]:
        stream = await start(container, kind, payload)
        try:
            async with _problems(container):
                while data := await asyncio.to_thread(read, PIECE_BYTES):
                    if uses.is_due(container.pk):  # a long upload is a use as long as it lasts
                        await sync_to_async(uses.used)(container.pk, "files")
                    await stream.write(data)
                return await stream.finish()
        finally:
            await stream.close()

    done: dict[str, Any] = async_to_sync(carry)()
    return done
