"""A small HTTP/1.1 client for the engine's socket: whole answers, streamed bodies and upgraded (raw) connections.

Why not the SDK: its attach, exec and events ignore time limits and hold a thread each (SECURITY.md M10). Here every wait is bounded
by the caller, a cancelled call closes its socket, and no thread is involved. `Accept-Encoding: identity` keeps the engine from
compressing archives on the fly, which costs 15x.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import msgspec

from agent.runtimes.base import RuntimeFailure

DEFAULT_HOST = "unix:///var/run/docker.sock"
CHUNK = 64 * 1024
_LIMIT = 1024 * 1024
_HEAD_MAX = 64 * 1024
_MUX = struct.Struct(">BxxxI")


class EngineStatus(Exception):
    """The engine answered with an error status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status
        self.message = message


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where the engine listens."""

    url: str
    path: str = ""
    host: str = ""
    port: int = 0
    tls: ssl.SSLContext | None = None

    @property
    def sdk_url(self) -> str:
        """The same in the SDK's spelling."""
        return f"http+unix://{self.path}" if self.path else f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    @property
    def is_local(self) -> bool:
        """Over a unix socket the engine's clock is ours."""
        return bool(self.path)


def endpoint_from(url: str = "") -> Endpoint:
    """From `url`, else `DOCKER_HOST`, else the default socket; `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH` as the docker client reads them.

    Raises:
        ValueError: an address of another kind.
    """
    url = url or os.environ.get("DOCKER_HOST", "") or DEFAULT_HOST
    if url.startswith("unix://"):
        return Endpoint(url=url, path=url.removeprefix("unix://") or "/var/run/docker.sock")
    parts = urlsplit(url)
    if parts.scheme not in ("tcp", "http", "https") or not parts.hostname:
        raise ValueError(f"DOCKER_HOST must be unix:// or tcp://, not {url!r}")
    tls: ssl.SSLContext | None = None
    if os.environ.get("DOCKER_TLS_VERIFY") or parts.scheme == "https":
        folder = Path(os.environ.get("DOCKER_CERT_PATH", "") or Path.home() / ".docker")
        tls = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        tls.load_cert_chain(str(folder / "cert.pem"), str(folder / "key.pem"))
    return Endpoint(url=url, host=parts.hostname, port=parts.port or (2376 if tls else 2375), tls=tls)


@dataclass(slots=True)
class Answer:
    """A head, and the connection its body comes from."""

    status: int
    headers: dict[str, str]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes. Raises `RuntimeFailure("engine_down")` if it breaks off before its end."""
        if self.headers.get("transfer-encoding", "").lower() == "chunked":
            while True:
                line = await _line(self.reader)
                try:
                    size = int(line.split(b";", 1)[0], 16)
                except ValueError:
                    raise RuntimeFailure("engine_down", "The engine's answer broke off.", retryable=True) from None
                left = size
                while left:
                    data = await self.reader.read(min(left, CHUNK))
                    if not data:
                        raise RuntimeFailure("engine_down", "The engine's answer broke off.", retryable=True)
                    left -= len(data)
                    yield data
                await _line(self.reader)
                if size == 0:
                    return
        elif "content-length" in self.headers:
            left = int(self.headers["content-length"])
            while left:
                data = await self.reader.read(min(left, CHUNK))
                if not data:
                    raise RuntimeFailure("engine_down", "The engine's answer broke off.", retryable=True)
                left -= len(data)
                yield data
        else:
            while data := await self.reader.read(CHUNK):
                yield data

    async def body(self) -> bytes:
        """All of it."""
        if self.status in (204, 304):
            return b""
        return b"".join([chunk async for chunk in self.chunks()])

    def close(self) -> None:
        """Drop the connection at once."""
        transport = self.writer.transport
        if not transport.is_closing():
            transport.abort()


async def _line(reader: asyncio.StreamReader) -> bytes:
    try:
        return (await reader.readuntil(b"\n")).strip()
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
        raise RuntimeFailure("engine_down", "The engine's answer broke off.", retryable=True) from error


class Wire:
    """One engine. Each call has a connection of its own."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.version = ""

    async def open(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, Any] | None = None,
        body: Any = None,
        headers: dict[str, str] | None = None,
        upgrade: bool = False,
        timeout: float = 10,
    ) -> Answer:
        """Send, and wait up to `timeout` seconds for the head of the answer. The caller closes the answer.

        Raises:
            EngineStatus: status 400 and up.
            RuntimeFailure: `engine_down`, `timeout`.
        """
        try:
            async with asyncio.timeout(timeout):
                return await self._open(method, path, query, body, headers or {}, upgrade)
        except TimeoutError:
            raise RuntimeFailure("timeout", f"The engine did not answer within {timeout:g} s.", retryable=True) from None
        except OSError as error:
            raise RuntimeFailure("engine_down", f"The engine at {self.endpoint.url} can't be reached: {error}", retryable=True) from error

    async def _open(self, method: str, path: str, query: dict[str, Any] | None, body: Any, headers: dict[str, str], upgrade: bool) -> Answer:
        place = self.endpoint
        if place.path:
            reader, writer = await asyncio.open_unix_connection(place.path, limit=_LIMIT)
        else:
            reader, writer = await asyncio.open_connection(place.host, place.port, ssl=place.tls, limit=_LIMIT)
        try:
            data = b"" if body is None else msgspec.json.encode(body)
            target = (f"/v{self.version}" if self.version else "") + quote(path) + (f"?{urlencode(query)}" if query else "")
            head = [f"{method} {target} HTTP/1.1", "Host: docker", "User-Agent: lormas-agent", "Accept-Encoding: identity"]
            head += [f"{name}: {value}" for name, value in headers.items()]
            head += ["Connection: Upgrade", "Upgrade: tcp"] if upgrade else ["Connection: close"]
            if body is not None:
                head.append("Content-Type: application/json")
            head.append(f"Content-Length: {len(data)}")
            writer.write("\r\n".join(head).encode() + b"\r\n\r\n" + data)
            await writer.drain()
            answer = await _read_head(reader, writer)
            if answer.status >= 400:
                raise EngineStatus(answer.status, "" if method == "HEAD" else _message(await answer.body()))
        except BaseException:
            writer.transport.abort()
            raise
        return answer

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, Any] | None = None,
        body: Any = None,
        headers: dict[str, str] | None = None,
        timeout: float = 10,
    ) -> Any:
        """The whole answer, decoded if it is JSON. Errors as `open`; a truncated answer is an error too (SECURITY.md R11)."""
        try:
            async with asyncio.timeout(timeout):
                answer = await self.open(method, path, query=query, body=body, headers=headers, timeout=timeout)
                try:
                    data = await answer.body()
                finally:
                    answer.close()
        except TimeoutError:
            raise RuntimeFailure("timeout", f"The engine did not answer within {timeout:g} s.", retryable=True) from None
        except OSError as error:
            raise RuntimeFailure("engine_down", f"The engine at {self.endpoint.url} can't be reached: {error}", retryable=True) from error
        if "json" not in answer.headers.get("content-type", ""):
            return data.decode("utf-8", "replace")
        try:
            return msgspec.json.decode(data) if data else None
        except msgspec.DecodeError as error:
            raise RuntimeFailure("engine_error", "The engine's answer can't be read.", retryable=True) from error


async def _read_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Answer:
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        raise RuntimeFailure("engine_down", "The engine closed the connection.", retryable=True) from error
    except asyncio.LimitOverrunError as error:
        raise RuntimeFailure("engine_error", "The engine's answer can't be read.") from error
    lines = raw[:_HEAD_MAX].decode("latin-1").split("\r\n")
    try:
        status = int(lines[0].split(" ", 2)[1])
    except (IndexError, ValueError):
        raise RuntimeFailure("engine_error", "What listens at the engine's address does not speak HTTP.") from None
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, found, value = line.partition(":")
        if found:
            headers[name.strip().lower()] = value.strip()
    return Answer(status, headers, reader, writer)


def _message(body: bytes) -> str:
    try:
        found = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return body[:2000].decode("utf-8", "replace").strip()
    return str(found.get("message", "")) if isinstance(found, dict) else str(found)[:2000]


class Demux:
    """Takes the engine's multiplexed bytes apart: 8 bytes of head (stream, length), then the data.

    `whole` keeps a frame back until all of it is there (log records); else pieces are given as they come (attach).
    """

    __slots__ = ("_buffer", "_left", "_stream", "_whole")

    def __init__(self, *, whole: bool = False) -> None:
        self._buffer = b""
        self._left = 0
        self._stream = 1
        self._whole = whole

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """(stream, bytes) pairs; stream 1 = stdout, 2 = stderr."""
        buffer = self._buffer + data if self._buffer else data
        at, size, found = 0, len(buffer), []
        while True:
            if not self._left:
                if size - at < 8:
                    break
                self._stream, self._left = _MUX.unpack_from(buffer, at)
                at += 8
                continue
            have = min(self._left, size - at)
            if not have or (self._whole and have < self._left):
                break
            found.append((self._stream, buffer[at : at + have]))
            at += have
            self._left -= have
        self._buffer = buffer[at:]
        return found
