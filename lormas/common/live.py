"""Live messages between processes: hints on Redis pub/sub, questions to nodes, and bounded taps for viewers.

Everything here may be lost or repeated; the database is the truth. Three uses:

- `publish(channel, message)` after a commit; `on_commit_publish` does it at the right time.
- `ask_node(node_id, ...)`: a question to the process that holds the node's socket; answers come through a short-lived Redis list, so the
  asker may be any process, thread or event loop.
- `hub().tap(channel)`: what a browser socket reads. One Redis subscription per process and channel; a slow tap drops its oldest
  messages and counts them; `RESYNC` tells that something may have been missed.

Channels: `ui:<topic>` (containers, nodes, operations), `node:<id>` (to its gateway), `log:<container>`, `stats:<subject>`, `stream:<id>`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import uuid
from collections import deque
from collections.abc import AsyncIterator
from functools import lru_cache
from typing import Any, Final, TypedDict

import redis
import redis.asyncio
import structlog
from django.conf import settings
from django.db import transaction

log = structlog.get_logger(__name__)

PREFIX: Final = "lormas:live:"
ORIGIN = b""
"""Marks what this process published, in 8 bytes: its own taps were served directly."""
NOBODY: Final = bytes(8)
RESYNC: Final = b"\x00resync"
"""A tap yields this after an interruption: read the truth again."""


def _mark_this_process() -> None:
    global ORIGIN
    ORIGIN = secrets.token_bytes(8)


_mark_this_process()
os.register_at_fork(after_in_child=_mark_this_process)


class NodeOffline(Exception):
    """No panel process holds a socket of this node."""


class NodeTimeout(Exception):
    """The node did not answer in time."""


class NodeRefused(Exception):
    """The node answered with an error; `code` is one of `agent.protocol.commands.ERROR_CODES`."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


class Question(TypedDict, total=False):
    """What travels on `node:<id>` to its gateway. `op`: wake | rpc | watch | unwatch | exec | terminal |
    bulk | input | resize | pay | kill | close."""

    op: str
    reply: str
    request_id: str
    kind: str
    container_id: str
    payload: dict[str, Any]
    timeout: float
    stream_id: str
    after: int
    data: str
    bytes: int
    origin: str


# -------------------------------------------------------------------------------------------------------------- sync side


@lru_cache(maxsize=1)
def _client() -> redis.Redis:
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=5, socket_connect_timeout=2, health_check_interval=30)


@lru_cache(maxsize=1)
def _patient_client() -> redis.Redis:
    """For blocking reads: must outwait the longest question."""
    return redis.Redis.from_url(settings.REDIS_URL, socket_timeout=75, socket_connect_timeout=2)


def publish(channel: str, message: dict[str, Any]) -> int:
    """Send a hint now; returns how many processes listen. A dead Redis is logged and otherwise ignored: hints may be lost."""
    try:
        return int(_client().publish(PREFIX + channel, NOBODY + json.dumps(message, separators=(",", ":"), default=str).encode()))
    except redis.RedisError as error:
        log.warning("live.publish_failed", channel=channel, error=str(error))
        return 0


def on_commit_publish(channel: str, message: dict[str, Any]) -> None:
    """Send a hint when the current transaction is committed."""
    transaction.on_commit(lambda: publish(channel, message) and None)


def wake_node(node_id: uuid.UUID | str) -> None:
    """After the commit, tell the node's gateway that commands are due."""
    on_commit_publish(f"node:{node_id}", {"op": "wake"})


def _question(kind: str, container_id: str, payload: dict[str, Any] | None, timeout_seconds: float) -> tuple[str, Question]:
    request_id = str(uuid.uuid4())
    reply = f"lormas:reply:{request_id}"
    return reply, Question(
        op="rpc", reply=reply, request_id=request_id, kind=kind, container_id=container_id, payload=payload or {}, timeout=timeout_seconds
    )


def _answer(raw: Any, node_id: uuid.UUID | str) -> dict[str, Any]:
    if raw is None:
        raise NodeTimeout(f"node {node_id} did not answer in time")
    answer: dict[str, Any] = json.loads(raw[1])
    if not answer.get("ok"):
        error = answer.get("error") or {}
        if error.get("code") == "node_offline":
            raise NodeOffline(str(error.get("detail", "the link broke")))
        raise NodeRefused(str(error.get("code", "internal")), str(error.get("detail", "the node gave no reason")))
    data = answer.get("data")
    return data if isinstance(data, dict) else {}


def ask_node(
    node_id: uuid.UUID | str, kind: str, *, container_id: str = "", payload: dict[str, Any] | None = None, timeout_seconds: float = 10
) -> dict[str, Any]:
    """Ask the agent of a node (an `Rpc` of `agent.protocol.commands.RPCS`) and wait for the answer's `data`.

    Raises:
        NodeOffline: no process holds its socket (told at once). NodeTimeout: no answer. NodeRefused: it answered with an error.
    """
    reply, question = _question(kind, container_id, payload, timeout_seconds)
    try:
        listeners = int(_client().publish(f"{PREFIX}node:{node_id}", NOBODY + json.dumps(question).encode()))
        if listeners == 0:
            raise NodeOffline(f"node {node_id} is not connected")
        return _answer(_patient_client().blpop([reply], timeout=timeout_seconds + 1), node_id)
    except redis.RedisError as error:
        raise NodeOffline(f"the message broker does not answer: {error}") from error


# ------------------------------------------------------------------------------------------------------------- async side


class Tap:
    """One viewer's bounded queue. Iterate it; `skipped()` tells how many messages were dropped since the last look."""

    def __init__(self, hub: Hub, channel: str, *, max_messages: int, max_bytes: int) -> None:
        self._hub = hub
        self.channel = channel
        self._items: deque[bytes] = deque()
        self._bytes = 0
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._skipped = 0
        self._ready = asyncio.Event()
        self._closed = False

    def offer(self, data: bytes) -> None:
        """Called by the hub; never waits."""
        self._items.append(data)
        self._bytes += len(data)
        while len(self._items) > self._max_messages or self._bytes > self._max_bytes:
            self._bytes -= len(self._items.popleft())
            self._skipped += 1
        self._ready.set()

    def skipped(self) -> int:
        count, self._skipped = self._skipped, 0
        return count

    async def get(self, timeout_seconds: float | None = None) -> bytes | None:
        """Next message; None when closed or when the time is over."""
        while not self._items:
            if self._closed:
                return None
            self._ready.clear()
            try:
                async with asyncio.timeout(timeout_seconds):  # not wait_for, which may swallow a cancellation up to Python 3.11
                    await self._ready.wait()
            except TimeoutError:
                return None
        data = self._items.popleft()
        self._bytes -= len(data)
        return data

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while (data := await self.get()) is not None:
            yield data

    async def close(self) -> None:
        self._closed = True
        self._ready.set()
        await self._hub.drop(self)


class Hub:
    """All taps of this process (one per event loop), on one Redis subscription."""

    def __init__(self) -> None:
        self._taps: dict[str, set[Tap]] = {}
        self._redis: redis.asyncio.Redis = redis.asyncio.Redis.from_url(settings.REDIS_URL, socket_timeout=None, socket_connect_timeout=2)
        self._pubsub = self._redis.pubsub(ignore_subscribe_messages=True)
        self._reader: asyncio.Task[None] | None = None
        self._lock = asyncio.Lock()
        self._has_channels = asyncio.Event()

    async def tap(self, channel: str, *, max_messages: int = 1000, max_bytes: int = 1024 * 1024) -> Tap:
        """A new tap on a channel. It is subscribed when this returns, so nothing published afterwards is missed."""
        tap = Tap(self, channel, max_messages=max_messages, max_bytes=max_bytes)
        async with self._lock:
            known = self._taps.setdefault(channel, set())
            known.add(tap)
            if len(known) == 1:
                with contextlib.suppress(redis.RedisError, OSError):  # the reader subscribes again when Redis is back
                    await self._pubsub.subscribe(PREFIX + channel)
                self._has_channels.set()
            if self._reader is None or self._reader.done():
                self._reader = asyncio.create_task(self._read(), name="live-hub")
        return tap

    async def drop(self, tap: Tap) -> None:
        """Forget a tap; the last one of a channel ends the subscription."""
        async with self._lock:
            known = self._taps.get(tap.channel)
            if known is None:
                return
            known.discard(tap)
            if not known:
                del self._taps[tap.channel]
                with contextlib.suppress(redis.RedisError, OSError):
                    await self._pubsub.unsubscribe(PREFIX + tap.channel)
            if not self._taps:
                self._has_channels.clear()

    def watched(self, channel: str) -> bool:
        """Does a viewer of this process read it?"""
        return channel in self._taps

    async def watched_anywhere(self, prefix: str) -> set[str]:
        """The channels that begin so and have a viewer, in this process or another one. While Redis is away: those of this process."""
        here = {channel for channel in self._taps if channel.startswith(prefix)}
        try:
            found = await self._redis.pubsub_channels(f"{PREFIX}{prefix}*")
        except (redis.RedisError, OSError) as error:
            log.warning("live.not_asked", prefix=prefix, error=str(error))
            return here
        return here | {channel.decode().removeprefix(PREFIX) for channel in found if isinstance(channel, bytes)}

    def _deliver(self, channel: str, data: bytes) -> None:
        for tap in tuple(self._taps.get(channel, ())):
            tap.offer(data)

    async def publish(self, channel: str, data: bytes) -> int:
        """Bytes to all viewers: those of this process directly, the others through Redis. Returns how many other subscriptions got it."""
        self._deliver(channel, data)
        try:
            return int(await self._redis.publish(PREFIX + channel, ORIGIN + data))
        except (redis.RedisError, OSError) as error:
            log.warning("live.publish_failed", channel=channel, error=str(error))
            return 0

    def publish_here(self, channel: str, data: bytes) -> None:
        """Bytes to the viewers of this process only: where it is known that there are no others, Redis is spared the work."""
        self._deliver(channel, data)

    async def hand(self, channel: str, data: bytes) -> bool:
        """Bytes to the one viewer of a channel: directly if it is of this process, else through Redis. False if there is none."""
        if channel in self._taps:
            self._deliver(channel, data)
            return True
        try:
            return int(await self._redis.publish(PREFIX + channel, ORIGIN + data)) > 0
        except (redis.RedisError, OSError) as error:
            log.warning("live.publish_failed", channel=channel, error=str(error))
            return False

    async def expect(self, key: str, value: str, *, seconds: float) -> None:
        """Note for any process that something is awaited (a node's socket for a stream). Raises NodeOffline if Redis does not answer."""
        try:
            await self._redis.set(f"{PREFIX}expected:{key}", value, ex=max(1, round(seconds)))
        except (redis.RedisError, OSError) as error:
            raise NodeOffline(f"the message broker does not answer: {error}") from error

    async def expected(self, key: str) -> str:
        """What was noted by `expect`, once; "" if nothing is awaited (any more)."""
        try:
            found = await self._redis.getdel(f"{PREFIX}expected:{key}")
        except (redis.RedisError, OSError):
            return ""
        return found.decode() if isinstance(found, bytes) else ""

    async def reply(self, key: str, answer: dict[str, Any]) -> None:
        """Answer an `ask_node` / `ask_node_async`."""
        try:
            async with self._redis.pipeline(transaction=False) as pipe:
                pipe.lpush(key, json.dumps(answer, separators=(",", ":"), default=str))
                pipe.expire(key, 90)
                await pipe.execute()
        except (redis.RedisError, OSError) as error:
            log.warning("live.reply_failed", error=str(error))

    async def ask_node(
        self, node_id: uuid.UUID | str, kind: str, *, container_id: str = "", payload: dict[str, Any] | None = None, timeout_seconds: float = 10
    ) -> dict[str, Any]:
        """As `ask_node`, without blocking the loop."""
        reply, question = _question(kind, container_id, payload, timeout_seconds)
        try:
            if await self.tell_node(node_id, question) == 0:
                raise NodeOffline(f"node {node_id} is not connected")
            return _answer(await self._redis.blpop([reply], timeout=timeout_seconds + 1), node_id)
        except (redis.RedisError, OSError) as error:
            raise NodeOffline(f"the message broker does not answer: {error}") from error

    async def tell_node(self, node_id: uuid.UUID | str, question: Question) -> int:
        """One-way message to a node's gateway, which learns from `origin` which process asks; returns how many gateways listen (0: offline)."""
        channel = f"node:{node_id}"
        data = json.dumps({**question, "origin": ORIGIN.hex()}, separators=(",", ":")).encode()
        self._deliver(channel, data)
        return int(await self._redis.publish(PREFIX + channel, ORIGIN + data))

    async def _read(self) -> None:
        delay = 0.1
        while True:
            try:
                await self._has_channels.wait()
                message = await self._pubsub.get_message(timeout=5)
                delay = 0.1
                if message is None or message.get("type") != "message":
                    continue
                raw: bytes = message["data"]
                if raw[:8] != ORIGIN:
                    self._deliver(message["channel"].decode().removeprefix(PREFIX), raw[8:])
            except (redis.RedisError, OSError, RuntimeError) as error:
                log.warning("live.interrupted", error=str(error), retry_seconds=delay)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 5)
                await self._restore()

    async def _restore(self) -> None:
        with contextlib.suppress(redis.RedisError, OSError):
            async with self._lock:
                await self._pubsub.aclose()  # type: ignore[no-untyped-call]
                self._pubsub = self._redis.pubsub(ignore_subscribe_messages=True)
                if self._taps:
                    await self._pubsub.subscribe(*(PREFIX + channel for channel in self._taps))
                    for channel in tuple(self._taps):
                        self._deliver(channel, RESYNC)

    async def close(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reader
        with contextlib.suppress(redis.RedisError, OSError):
            await self._pubsub.aclose()  # type: ignore[no-untyped-call]
            await self._redis.aclose()


_hubs: dict[int, tuple[asyncio.AbstractEventLoop, Hub]] = {}


def hub() -> Hub:
    """The hub of the running event loop (a server process has one)."""
    loop = asyncio.get_running_loop()
    found = _hubs.get(id(loop))
    if found is None or found[0] is not loop:
        found = (loop, Hub())
        _hubs[id(loop)] = found
    return found[1]


async def end_hub() -> None:
    """Close the hub of the running loop: for one that is made for a single job and ends with it."""
    found = _hubs.pop(id(asyncio.get_running_loop()), None)
    if found is not None:
        await found[1].close()
