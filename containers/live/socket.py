"""The client socket `/ws` (SURFACE section 6): decode, ask access, call, answer. Its own receive loop: no thread hop per message.

Close codes: 4401 not signed in, 4403 lost access, 4408 idle or too slow, 4429 too many, 4500 failed inside, 4503 try again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import structlog
from channels.db import database_sync_to_async

from accounts import keys, tickets
from accounts.limits import LimiterAway
from accounts.models import AuthSession, User
from accounts.standing import hold_of
from accounts.tokens import user_for_access_token
from audit.denials import note_denied
from audit.services import Target
from containers.live.basics import Refusal
from containers.live.bound import keep_to
from containers.live.granted import Granted, load_granted
from containers.live.handlers import HANDLERS
from containers.live.outbox import Gone, Outbox, TooSlow
from containers.live.shells import View
from containers.live.standing import free, seen, seen_now, standing
from lormas.common import clock, live, strictjson
from lormas.common.addresses import address_of
from lormas.common.errors import Forbidden, NotFound, NotSignedIn, Problem, TooMany
from lormas.common.origin import origin_allowed

log = structlog.get_logger(__name__)

MAX_FRAME_BYTES = 64 * 1024
AUTHENTICATE_SECONDS = 10.0
RECHECK_SECONDS = 4.0  # with the look itself well within the five seconds that are promised
MAX_SOCKETS_PER_USER = 20
MAX_TASKS = 64
BURST_MESSAGES = 200
MESSAGES_PER_SECOND = 40.0
MAX_ERRORS = 20
MAX_ID_CHARS = 256
MAX_ID_NUMBER = 2**53
LOOKS = ("use", "ping", "subscribe", "unsubscribe", "read_", "list_", "terminal_list", "cancel")
"""Beginnings of the message types that change nothing: their refusals are no rows of the journal."""

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]

_sockets: dict[str, int] = {}


class Close(Exception):
    """End the socket with this code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class ClientSocket:
    """One browser or script. `tasks` are its subscriptions, by key."""

    def __init__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        self.scope = scope
        self._receive = receive
        self._send = send
        self.user: Any = None
        self.session_id: str | None = None
        self.current: str | None = None
        self.bound: str | None = None
        """The only container that a ticket opened this socket for."""
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self.topics: set[str] = set()
        self.terminals: dict[str, View] = {}
        self.named: dict[str, str] = {}
        self.granted = Granted()
        self._watched: dict[str, tuple[str, str]] = {}
        self._ends: datetime | None = None
        self.outbox = Outbox(send)
        self._budget = float(BURST_MESSAGES)
        self._refilled = time.monotonic()
        self._errors = 0
        self._checked = 0.0
        self._failure: Close | None = None
        self._failed = asyncio.Event()

    # ---- life

    async def run(self) -> None:
        first = await self._receive()
        if first["type"] != "websocket.connect":
            return
        if not origin_allowed(self.scope):
            await self._send({"type": "websocket.close", "code": 4403})
            return
        try:
            await self._sign_in_by_scope()
        except (NotSignedIn, TooMany, Forbidden, LimiterAway) as refusal:
            end = _ending(refusal)
            await self._send({"type": "websocket.accept"})
            await self._send({"type": "websocket.close", "code": end.code, "reason": end.reason})
            return
        await self._send({"type": "websocket.accept"})
        counted = False
        watch = asyncio.create_task(self._recheck())
        try:
            if self.user is None:
                await self._authenticate()
            self.granted = await database_sync_to_async(load_granted)(self.user)
            counted = self._count(1)
            await self.answer({"type": "authenticated", "user": {"id": str(self.user.pk), "email": self.user.email, "name": self.user.label}})
            await self._loop()
        except Close as end:
            with contextlib.suppress(Exception):
                await self._send({"type": "websocket.close", "code": end.code, "reason": end.reason[:120]})
        except TooSlow:
            with contextlib.suppress(Exception):
                await self._send({"type": "websocket.close", "code": 4408, "reason": "too slow"})
        except Gone:
            pass
        finally:
            watch.cancel()
            if counted:
                self._count(-1)
            for task in self.tasks.values():
                task.cancel()
            await asyncio.gather(watch, *self.tasks.values(), return_exceptions=True)

    def _count(self, step: int) -> bool:
        key = str(self.user.pk)
        now = _sockets.get(key, 0) + step
        if now > MAX_SOCKETS_PER_USER:
            raise Close(4429, "too many sockets")
        if now <= 0:
            _sockets.pop(key, None)
        else:
            _sockets[key] = now
        return True

    async def _next_message(self, timeout_seconds: float | None = None) -> dict[str, Any]:
        """The next frame, or the failure of a background task, whichever is first."""
        receive = asyncio.ensure_future(self._receive())
        failed = asyncio.ensure_future(self._failed.wait())
        try:
            done, _ = await asyncio.wait({receive, failed}, timeout=timeout_seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            failed.cancel()
            if not receive.done():
                receive.cancel()
        if self._failure is not None:
            raise self._failure
        if receive not in done:
            raise Close(4401 if self.user is None else 4408, "idle")
        return receive.result()

    async def _loop(self) -> None:
        while True:
            event = await self._next_message()
            if event["type"] == "websocket.disconnect":
                return
            message = self._decode(event)
            if message is not None and message["type"] == "pong" and self.outbox.confirm(message.get("reply_to")):
                continue
            self._spend()
            if message is None:
                await self._oops("bad_frame", "A frame is one JSON object with a text `type`, and a number or short text as `id`, if any.", None)
                continue
            await self._handle(message)

    def _spend(self) -> None:
        now = time.monotonic()
        self._budget = min(BURST_MESSAGES, self._budget + (now - self._refilled) * MESSAGES_PER_SECOND)
        self._refilled = now
        self._budget -= 1
        if self._budget < 0:
            raise Close(4429, "too many messages")

    @staticmethod
    def _decode(event: dict[str, Any]) -> dict[str, Any] | None:
        text = event.get("text") or ""
        if not text or len(text) > MAX_FRAME_BYTES:
            return None
        try:
            message = strictjson.loads(text.encode(), max_bytes=4 * MAX_FRAME_BYTES, wide=True, is_nul_good=True)  # a key of terminals
        except strictjson.NotJson:
            return None
        if not isinstance(message, dict) or not isinstance(message.get("type"), str) or not _can_be_said_back(message.get("id")):
            return None
        payload = message.pop("payload", None)
        return {**payload, **message} if isinstance(payload, dict) else message

    async def _handle(self, message: dict[str, Any]) -> None:
        if message["type"] == "pong":
            return  # confirms nothing that waits: seen in `_loop`
        reply_to = message.get("id")
        handler = HANDLERS.get(message["type"])
        if handler is None:
            await self._oops("unknown_type", f"There is no message type {message['type'][:64]!r}.", reply_to)
            return
        try:
            keep_to(self.bound, message)
            await handler(self, message)
        except Problem as problem:
            if isinstance(problem, Forbidden | NotFound) and not message["type"].startswith(LOOKS):
                await database_sync_to_async(self._note_denied)(message, problem)
            await self._oops(problem.code, problem.detail, reply_to, count=False)
        except Refusal as refusal:
            await self._oops(refusal.code, refusal.detail, reply_to)

    def _note_denied(self, message: dict[str, Any], problem: Problem) -> None:
        """An act that was refused is a row of the journal, by whatever door it came (I04)."""
        named = message.get("container_id", self.current)
        target = Target("container", str(named)[:64]) if isinstance(named, str) else None
        note_denied("ws.denied", actor=self.user.as_actor(self._address()), target=target, message=f"{message['type'][:64]}: {problem.detail}")

    def _address(self) -> str | None:
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in self.scope.get("headers", [])}
        return address_of(str((self.scope.get("client") or [""])[0] or ""), forwarded=headers.get("x-forwarded-for", ""))

    async def _oops(self, code: str, detail: str, reply_to: Any, *, count: bool = True) -> None:
        await self.answer({"type": "error", "code": code, "message": detail}, reply_to=reply_to)
        if count:
            self._errors += 1
            if self._errors >= MAX_ERRORS:
                raise Close(4429, "too many errors")

    # ---- for handlers

    async def answer(self, message: dict[str, Any], *, reply_to: Any = None) -> None:
        """One frame; `reply_to` is carried back if the message had an `id`."""
        if reply_to is not None:
            message = {**message, "reply_to": reply_to}
        await self.outbox.send(json.dumps(message, ensure_ascii=False, separators=(",", ":"), default=str))

    def start(self, key: str, work: Awaitable[None], *, container_id: str = "", capability: str = "containers.view") -> None:
        """Run a subscription; a second one under the same key replaces the first.

        `container_id`: it lives as long as this person holds `capability` on that container (D10); a key `<what>:<container id>` says so, too.
        """
        container_id = container_id or key.partition(":")[2]
        if container_id:
            self._watched[key] = (container_id, capability)
        old = self.tasks.pop(key, None)
        if old is not None:
            old.cancel()
        if len(self.tasks) >= MAX_TASKS:
            if asyncio.iscoroutine(work):
                work.close()
            raise Refusal("too_many_subscriptions", f"At most {MAX_TASKS} subscriptions a socket.")

        async def guarded() -> None:
            try:
                await work
            except Gone:
                pass
            except TooSlow:
                self.fail(4408, "too slow")
            except Problem as problem:
                await self.answer({"type": "error", "code": problem.code, "message": problem.detail, "subscription": key})
            except Exception:
                log.exception("ws.subscription_failed", subscription=key)
                self.fail(4500, "failed inside")  # the client comes back and resumes; a silent subscription would look like silence

        self.tasks[key] = asyncio.create_task(guarded(), name=key)

    def stop(self, key: str) -> None:
        self._watched.pop(key, None)
        task = self.tasks.pop(key, None)
        if task is not None:
            task.cancel()

    def fail(self, code: int, reason: str) -> None:
        """End the socket from a background task."""
        self._failure = self._failure or Close(code, reason)
        self._failed.set()

    # ---- who it is

    async def _sign_in_by_scope(self) -> None:
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in self.scope.get("headers", [])}
        bearer = headers.get("authorization", "")
        token = bearer[7:].strip() if bearer.lower().startswith("bearer ") else _query_token(self.scope)
        if not bearer and keys.looks_like_key(token):
            raise NotSignedIn("An API key does not belong in an address: send it as a header or a message.", code="token_invalid")
        if token:
            await self._sign_in(token)
            return
        user = self.scope.get("user")
        if user is not None and user.is_authenticated and user.is_active:
            self.user = await database_sync_to_async(free)(await database_sync_to_async(seen)(user.pk, self.scope.get("session")))

    async def _sign_in(self, token: str) -> None:
        try:
            if tickets.looks_like_ticket(token):
                spent = await database_sync_to_async(tickets.spend)(token, action="socket")
                user, session = spent.user, spent.session
                self.bound = self.current = spent.about
            else:
                user, session = await database_sync_to_async(user_for_access_token)(token, address=self._address())
        except NotSignedIn:
            await database_sync_to_async(note_denied)("ws.denied", message="A token that is not good.", address=self._address())
            raise
        self.user = await database_sync_to_async(free)(user)
        self.session_id = str(session.pk) if session is not None else None
        self._token = token

    async def _authenticate(self) -> None:
        event = await self._next_message(AUTHENTICATE_SECONDS)
        message = self._decode(event) if event["type"] == "websocket.receive" else None
        if message is None or message["type"] != "authenticate" or not isinstance(message.get("token"), str):
            raise Close(4401, "not signed in")
        try:
            await self._sign_in(message["token"])
        except (NotSignedIn, TooMany, Forbidden, LimiterAway) as refusal:
            raise _ending(refusal) from None

    async def _recheck(self) -> None:
        """Every few seconds: is this person still who they were, and may they still see what they watch? (D10, F04)"""
        tap: live.Tap | None = None
        try:
            while True:
                if tap is None and self.user is not None:
                    tap = await live.hub().tap(f"user:{self.user.pk}", max_messages=8)  # and a look at once: what was told before nobody heard
                elif tap is None:
                    await asyncio.sleep(0.2)
                else:
                    await tap.get(self._patience())  # a sign-out elsewhere is told at once; the clock is for what is not
                if self.user is not None and not await self._look():
                    return
        finally:
            if tap is not None:
                await tap.close()

    def _patience(self) -> float:
        """Seconds to the next look: sooner where a key or a grant ends before."""
        key = getattr(self.user, "api_key", None)
        ends = [end for end in (key.expires_at if key is not None else None, self._ends) if end is not None]
        left = min(((end - clock.now()).total_seconds() for end in ends), default=RECHECK_SECONDS)
        return min(RECHECK_SECONDS, max(0.02, left))

    async def _look(self) -> bool:
        """One look at the database; False: the socket is ending."""
        try:
            alive = await database_sync_to_async(self._still_good)()
        except Exception:
            log.warning("ws.recheck_failed", exc_info=True)
            return True
        if not alive:
            self.fail(4401, "signed out")
            return False
        if (hold := await database_sync_to_async(hold_of)(self.user)) is not None:
            self.fail(4403, hold.code)
            return False
        watched = {key: needed for key, needed in self._watched.items() if key in self.tasks}
        self.granted, held, self._ends = await database_sync_to_async(standing)(self.user, {one for one, _ in watched.values()})
        for key, (container_id, capability) in watched.items():
            if capability not in held.get(container_id, frozenset()):
                self.stop(key)
                said = (
                    "Your access to this container has ended." if container_id not in held else f"You no longer hold {capability} on this container."
                )
                await self.answer({"type": "error", "code": "lost_access", "message": said, "subscription": key, "container_id": container_id})
        return True

    def _still_good(self) -> bool:
        if self.user.api_key is not None:
            kept = keys.still_good(self.user)
            self.user = kept or self.user
            return kept is not None
        token = getattr(self, "_token", None)
        fresh = User.objects.select_related("role").filter(pk=self.user.pk, is_active=True).first()
        if fresh is None or fresh.token_generation != self.user.token_generation:
            return False
        if token is not None:
            if self.session_id and not AuthSession.objects.filter(pk=self.session_id, revoked_at=None, expires_at__gt=clock.now()).exists():
                return False
        else:
            session = self.scope.get("session")
            key = getattr(session, "session_key", None)
            if session is None or key is None or not session.exists(key):
                return False
            eyes = seen_now(self.user, session, key)  # a page that began before, or goes on after, was somebody else's
            if eyes is None:
                return False
            fresh = eyes
        self.user = fresh
        return True


def _ending(refusal: Problem) -> Close:
    """How a socket ends that nobody was let into."""
    if isinstance(refusal, Forbidden):  # somebody who is held back
        return Close(4403, refusal.code)
    if isinstance(refusal, TooMany):
        return Close(4429, "too many wrong keys")
    return Close(4503, "try again") if isinstance(refusal, LimiterAway) else Close(4401, "not signed in")


def _can_be_said_back(answer_to: Any) -> bool:
    """An `id` goes back as it came: a number that every client has, or a short text."""
    if isinstance(answer_to, str):
        return len(answer_to) <= MAX_ID_CHARS
    return answer_to is None or (isinstance(answer_to, int | float) and abs(answer_to) <= MAX_ID_NUMBER)


def _query_token(scope: dict[str, Any]) -> str:
    from urllib.parse import parse_qs

    values = parse_qs(scope.get("query_string", b"").decode("latin-1")).get("token", [])
    return values[0] if values else ""


async def client_socket(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """ASGI application of `/ws`."""
    await ClientSocket(scope, receive, send).run()
