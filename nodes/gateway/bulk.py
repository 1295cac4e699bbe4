"""The door for bulk sockets, `WS /api/ws/nodes/streams/{stream_id}`: a node comes only for a stream that was asked of it (SECURITY D04, D05)."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import Any

import structlog
from django.db import DatabaseError

from agent.protocol import bulk as wire
from lormas.common import live
from nodes import bulk
from nodes.gateway import store
from nodes.gateway.door import _address_of, _bad_token_from, _token_of
from nodes.gateway.session import Asgi, Receive
from nodes.gateway.threads import in_database
from nodes.tokens import BadToken

log = structlog.get_logger(__name__)


async def application(scope: dict[str, Any], receive: Receive, send: Asgi) -> None:
    """Token as at the agents' socket. Refused before it is accepted (HTTP 403) unless this node was asked for this stream."""
    event = await receive()
    if event["type"] != "websocket.connect":
        return
    try:
        stream_id = str(uuid.UUID(scope["path"].rstrip("/").rpartition("/")[2]))
        node_id = await in_database(store.authenticate, _token_of(scope))
    except ValueError:
        await send({"type": "websocket.close", "code": 4404})
        return
    except BadToken:
        await in_database(_bad_token_from, _address_of(scope))
        await send({"type": "websocket.close", "code": 4401})
        return
    except DatabaseError:
        await send({"type": "websocket.close", "code": 4503})
        return
    if await live.hub().expected(f"bulk:{stream_id}") != str(node_id):
        log.warning("gateway.violation", what="a bulk stream that was not asked for", node_id=str(node_id))
        await send({"type": "websocket.close", "code": 4404})
        return
    tap = await live.hub().tap(bulk.down(stream_id), max_messages=100_000, max_bytes=bulk.TAP_BYTES)
    try:
        await send({"type": "websocket.accept"})
        await _relay(stream_id, tap, receive, send)
    finally:
        await tap.close()


async def _relay(stream_id: str, tap: live.Tap, receive: Receive, send: Asgi) -> None:
    numbers = bulk.Numbered()
    tasks = [
        asyncio.create_task(_upwards(stream_id, numbers, receive), name="bulk-up"),
        asyncio.create_task(_downwards(tap, numbers, send), name="bulk-down"),
    ]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            with contextlib.suppress(bulk.BulkLost):
                task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await live.hub().hand(bulk.up(stream_id), numbers.pack(bulk.GONE))
        with contextlib.suppress(Exception):
            await send({"type": "websocket.close", "code": 1000})


async def _upwards(stream_id: str, numbers: bulk.Numbered, receive: Receive) -> None:
    """From the agent to the asker. One that sends more than its credit loses frames at the asker's tap, which ends the transfer."""
    channel = bulk.up(stream_id)
    while True:
        event = await receive()
        if event["type"] == "websocket.disconnect":
            return
        data = event.get("bytes")
        if data is None:
            packed = numbers.pack(bulk.TEXT, (event.get("text") or "").encode())
        elif len(data) <= wire.FRAME_BYTES:
            packed = numbers.pack(bulk.CONTENT, data)
        else:
            return
        if not await live.hub().hand(channel, packed):
            return  # the asker has gone


async def _downwards(tap: live.Tap, numbers: bulk.Numbered, send: Asgi) -> None:
    """From the asker to the agent."""
    while True:
        raw = await tap.get(bulk.STILL_SECONDS * 4)
        if raw is None:
            return
        kind, data = numbers.unpack(raw)
        if kind == bulk.GONE:
            return
        await send({"type": "websocket.send", "bytes": data} if kind == bulk.CONTENT else {"type": "websocket.send", "text": data.decode()})
