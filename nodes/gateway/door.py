"""The door: who may come in. Identity comes from the token only (SECURITY D05); refusals say why, in words, before the socket closes."""

from __future__ import annotations

import asyncio
import contextlib
from types import SimpleNamespace
from typing import Any, NoReturn
from urllib.parse import parse_qs

import redis
import structlog
from django.db import DatabaseError

from agent.protocol import messages as wire
from audit.denials import note_denied
from lormas.common import ids, live
from lormas.common.addresses import client_address
from lormas.common.ratelimit import Limit, LimiterDown
from nodes import warden
from nodes.gateway import store
from nodes.gateway.session import AgentSession, Asgi, Receive
from nodes.gateway.threads import in_database
from nodes.tokens import BadToken

log = structlog.get_logger(__name__)

HELLO_SECONDS = 10.0
BAD_TOKENS = Limit("agent-bad-token", 20, 60)
"""Per address; good tokens from that address still get in (E09)."""


def _token_of(scope: dict[str, Any]) -> str:
    for name, value in scope.get("headers", ()):
        if name == b"authorization":
            kind, _, token = bytes(value).decode("latin-1").partition(" ")
            if kind.lower() == "bearer":
                return token.strip()
    query = bytes(scope.get("query_string", b"")).decode("latin-1")
    return (parse_qs(query).get("token") or [""])[0].strip()


def _address_of(scope: dict[str, Any]) -> str:
    client = scope.get("client")
    forwarded = b",".join(value for name, value in scope.get("headers", ()) if name == b"x-forwarded-for").decode("latin-1")
    view: Any = SimpleNamespace(META={"REMOTE_ADDR": client[0] if client else ""}, headers={"X-Forwarded-For": forwarded})
    return client_address(view) or "local"


def _bad_token_from(address: str) -> bool:
    """Count one; False if this address has shown too many. While the counter is down nobody is counted (nor let in)."""
    try:
        return BAD_TOKENS.hit(address).allowed
    except LimiterDown:
        return True


def _note_bad_token(error: BadToken, address: str) -> None:
    note_denied("nodes.denied", message=f"{error.code}: {error.reason}", address=None if address == "local" else address)


async def _refuse(send: Asgi, refusal: store.Refusal) -> None:
    code: Any = refusal.code
    message = wire.Refused(code=code, reason=refusal.reason, retry_after_seconds=refusal.retry_after_seconds)
    await send({"type": "websocket.send", "text": wire.encode(message).decode()})
    await send({"type": "websocket.close", "code": refusal.close_code, "reason": refusal.reason[:120]})


async def _hello(receive: Receive, *, seconds: float = HELLO_SECONDS) -> wire.Hello | None:
    """The first frame; None if the socket went away. Raises Refusal."""
    try:
        async with asyncio.timeout(seconds):
            event = await receive()
    except TimeoutError:
        raise store.Refusal("bad_hello", "No hello within 10 seconds.") from None
    if event["type"] == "websocket.disconnect":
        return None
    try:
        message = wire.decode_from_agent(event.get("text") or "")
    except wire.FrameError as error:
        raise store.Refusal("bad_hello", f"The first frame must be a hello: {error.detail[:300]}") from error
    if not isinstance(message, wire.Hello):
        raise store.Refusal("bad_hello", "The first frame must be a hello.")
    return message


async def application(scope: dict[str, Any], receive: Receive, send: Asgi) -> None:
    """`WS /api/ws/nodes`: token in `Authorization: Bearer` or `?token=`."""
    warden.ensure_started()
    event = await receive()
    if event["type"] != "websocket.connect":
        return
    token, address = _token_of(scope), _address_of(scope)
    if not token:
        await send({"type": "websocket.close", "code": 4401})  # before accept: HTTP 403
        return
    await send({"type": "websocket.accept"})
    try:
        await _let_in(token, address, receive, send)
    except store.Refusal as refusal:
        log.info("gateway.refused", code=refusal.code, reason=refusal.reason, client_address=address)
        await _refuse(send, refusal)
    except DatabaseError as error:
        log.warning("gateway.no_database", error=str(error))
        await send({"type": "websocket.close", "code": 4503})
    except Exception:  # a fault in an upper room's hello handler: told in our log, and the agent comes again
        log.exception("gateway.admission_failed")
        await send({"type": "websocket.close", "code": 4500})


async def _let_in(token: str, address: str, receive: Receive, send: Asgi) -> None:
    try:
        node_id = await in_database(store.authenticate, token)
    except BadToken as error:
        with contextlib.suppress(store.Refusal):  # let the agent say its hello, else its send meets a closed socket and it misses the reason
            await _hello(receive, seconds=2)
        await _refuse_token(error, address)
    hello = await _hello(receive)
    if hello is None:
        return
    try:
        # Tapped before it is admitted: a wake between the two is not lost.
        tap = await live.hub().tap(f"node:{node_id}", max_messages=10_000, max_bytes=8 * 1024 * 1024)
        try:
            try:
                admission = await in_database(store.admit, token, hello, gateway=ids.PROCESS_ID)
            except store.Refusal as refusal:
                if refusal.code in ("protocol_too_old", "protocol_too_new"):
                    await in_database(store.note_too_old_or_new, node_id, refusal.reason)
                raise
            replaced = {"code": "replaced", "epoch": admission.epoch, "reason": "A newer connection of this node has taken over."}
            with contextlib.suppress(redis.RedisError, OSError):  # then the older one finds out by its next heartbeat
                await live.hub().tell_node(node_id, live.Question(op="close", payload=replaced))
            await AgentSession(admission, send=send, tap=tap).run(receive, hello)
        finally:
            await tap.close()
    except BadToken as error:  # it was rotated or removed between token and hello
        await _refuse_token(error, address)


async def _refuse_token(error: BadToken, address: str) -> NoReturn:
    await in_database(_note_bad_token, error, address)
    if not await in_database(_bad_token_from, address):
        raise store.Refusal("too_many", "Too many bad tokens from this address: wait a minute.", retry_after_seconds=60) from error
    raise store.Refusal(error.code, error.reason, retry_after_seconds=10) from error
