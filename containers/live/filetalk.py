"""Messages of `/ws` about files: small ones, whole. What is larger goes by the API."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

from channels.db import database_sync_to_async

from containers import files, transfers
from containers.live.basics import Refusal, container_of, integer_of, run_apart, text_of
from containers.models import Container
from lormas.common.errors import Problem

if TYPE_CHECKING:
    from containers.live.socket import ClientSocket

READ_BYTES = 1024 * 1024


def _reporting(socket: ClientSocket, reply_to: Any, work: Any) -> Any:
    async def inner() -> None:
        try:
            await work()
        except Problem as problem:
            await socket.answer({"type": "error", "code": problem.code, "message": problem.detail}, reply_to=reply_to)

    return inner()


async def list_files(socket: ClientSocket, message: dict[str, Any]) -> None:
    """`{path?, offset?}` -> `files {path, entries, total}`."""
    container = await container_of(socket, message, "containers.files")
    path = text_of(message, "path", default="", limit=4096)
    offset = integer_of(message, "offset", default=0, minimum=0, maximum=10_000_000)

    async def work() -> None:
        found = await database_sync_to_async(files.listing)(container, path=path, offset=offset)
        await socket.answer({"type": "files", "container_id": str(container.pk), **found}, reply_to=message.get("id"))

    run_apart(socket, "file", container, "containers.files", _reporting(socket, message.get("id"), work))


async def read_file(socket: ClientSocket, message: dict[str, Any]) -> None:
    """`{path}` -> `file {path, content, encoding: utf-8|base64, etag, size}`, up to 1 MiB."""
    container = await container_of(socket, message, "containers.files")
    path = text_of(message, "path", limit=4096)

    async def work() -> None:
        payload = await database_sync_to_async(_payload)(container, "files.read", paths=[path], max_bytes=READ_BYTES)
        head, data = await transfers.read_all(container, path, payload)
        try:
            content, encoding = data.decode(), "utf-8"
        except UnicodeDecodeError:
            content, encoding = base64.b64encode(data).decode(), "base64"
        said = {"path": path, "content": content, "encoding": encoding, "etag": head.get("etag", ""), "size": len(data)}
        await socket.answer({"type": "file", "container_id": str(container.pk), **said}, reply_to=message.get("id"))

    run_apart(socket, "file", container, "containers.files", _reporting(socket, message.get("id"), work))


async def write_file(socket: ClientSocket, message: dict[str, Any]) -> None:
    """`{path, content, encoding?, etag?}` -> `file_written {path, etag, size}`. With `etag` only over that very content."""
    container = await container_of(socket, message, "containers.files")
    path = text_of(message, "path", limit=4096)
    content = text_of(message, "content", limit=64 * 1024)
    encoding = text_of(message, "encoding", default="utf-8", limit=8)
    etag = text_of(message, "etag", default="", limit=128)
    try:
        data = base64.b64decode(content, validate=True) if encoding == "base64" else content.encode()
    except (binascii.Error, ValueError):
        raise Refusal("invalid", "content is not base64.") from None

    async def work() -> None:
        payload = await database_sync_to_async(_payload)(container, "files.write", path=path, if_match=etag, size=len(data))
        done = await transfers.write_all(container, payload, data)
        entry = done["entry"]
        await database_sync_to_async(files.noted)(container, "written", actor=socket.user.as_actor(), path=path, size=entry["size"])
        await socket.answer({"type": "file_written", "path": path, "etag": entry["etag"], "size": entry["size"]}, reply_to=message.get("id"))

    run_apart(socket, "file", container, "containers.files", _reporting(socket, message.get("id"), work))


def _payload(container: Container, kind: str, **fields: Any) -> Any:
    return transfers.payload_of(container, kind, **fields)
