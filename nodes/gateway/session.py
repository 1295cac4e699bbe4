"""One agent's session, from welcome to the end of its socket.

Three tasks: the receive loop (decodes, never touches the database), the intake (reports in order, many a thread hop), and the desk (questions from
other processes, commands that are due, pings, leases). Whichever ends ends the session.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import DatabaseError

from agent.protocol import messages as wire
from lormas.common import clock, ids, live
from nodes.gateway import store
from nodes.gateway.beats import beats
from nodes.gateway.reports import Intake, Report
from nodes.gateway.samples import Told, samples
from nodes.gateway.streams import Streams
from nodes.gateway.threads import in_database

log = structlog.get_logger(__name__)

SILENCE_SECONDS = 30.0
"""Nothing heard for so long: the link is half open; drop it (R06)."""
PING_SECONDS = 5.0
"""So often at least something is heard: a silence of 25 s is a loss of 20 s or more (R07)."""
TICK_SECONDS = 2.0
ALIVE_SECONDS = 11.0
PAUSE_SECONDS = 8.0
MAX_VIOLATIONS = 3
MAX_REPORTS_WAITING = 5000
OOPS_PER_MINUTE = 60

Asgi = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]


class Ended(Exception):
    """The session is over; says what to tell the agent (nothing, if its socket is gone)."""

    def __init__(self, code: str = "", reason: str = "", close_code: int = 1000) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.close_code = close_code


class AgentSession:
    """Talks to one admitted agent."""

    def __init__(self, admission: store.Admission, *, send: Asgi, tap: live.Tap) -> None:
        self.node_id = admission.node_id
        self.admission = admission
        self._asgi_send = send
        self._tap = tap
        self._strangers = admission.strangers | frozenset(admission.fenced)
        self._intake = Intake(admission.node_id, strangers=self._strangers)
        self._streams = Streams(send=self.send, send_bytes=self.send_bytes)
        self._reports: asyncio.Queue[Report] = asyncio.Queue(MAX_REPORTS_WAITING)
        self._questions: dict[str, tuple[str, float]] = {}
        self._rotations: set[str] = set()
        self._due = asyncio.Event()
        self._over: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._heard_at = self._noted_at = self._ticked_at = time.monotonic()
        self._last_beat = store.Beat(
            admission.node_id, admission.epoch, clock.now(), wire.NodeUsage(), not admission.engine_error, admission.engine_error
        )
        self._violations = 0
        self._oops_left = float(OOPS_PER_MINUTE)
        self._log = log.bind(node_id=str(admission.node_id), session_epoch=admission.epoch)

    # ------------------------------------------------------------------------------------------------------------ sending

    async def send(self, message: wire.Frame) -> None:
        await self._asgi_send({"type": "websocket.send", "text": wire.encode(message).decode()})

    async def send_bytes(self, data: bytes) -> None:
        await self._asgi_send({"type": "websocket.send", "bytes": data})

    def close_soon(self, code: str, reason: str) -> None:
        """End the session from elsewhere in this process."""
        if not self._over.done():
            self._over.set_result(Ended(code, reason, 4401 if code in ("bad_token", "unknown_node") else 4403))

    def commands_due(self) -> None:
        self._due.set()

    # ---------------------------------------------------------------------------------------------------------------- life

    async def run(self, receive: Receive, hello: wire.Hello) -> None:
        """From the welcome on; returns when the socket is gone or was closed."""
        beats().enter(self)
        tasks: list[asyncio.Task[Any]] = []
        try:
            await self._welcome(hello)
            tasks = [
                asyncio.create_task(self._receive(receive), name="gateway-receive"),
                asyncio.create_task(self._take_reports(), name="gateway-intake"),
                asyncio.create_task(self._desk(), name="gateway-desk"),
                asyncio.create_task(self._command_sender(), name="gateway-commands"),
            ]
            done, _ = await asyncio.wait([*tasks, self._over], return_when=asyncio.FIRST_COMPLETED)
            ended = next((t.exception() for t in done if t is not self._over and t.exception()), None)
            if self._over.done():
                ended = self._over.result()
            await self._say_goodbye(ended)
        finally:
            beats().leave(self)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._streams.close()
            await self._drop_questions()
            with contextlib.suppress(DatabaseError):
                await in_database(store.leave, self.node_id, epoch=self.admission.epoch, gateway=ids.PROCESS_ID, heard_at=self._heard())

    async def _welcome(self, hello: wire.Hello) -> None:
        await self.send(
            wire.Welcome(
                node_id=str(self.node_id),
                node_name=self.admission.node_name,
                protocol=self.admission.protocol,
                panel_version=settings.VERSION,
                panel_instance=str(self.node_id),
                session_epoch=self.admission.epoch,
                heartbeat_seconds=settings.NODE_HEARTBEAT_SECONDS,
                stats_seconds=settings.NODE_STATS_SECONDS,
                server_time_unix=clock.unix(),
                fenced=list(self.admission.fenced),
                fence_after_seconds=self.admission.lease_seconds,
                capabilities=["watch", "exec", "terminal", "bulk", "token_rotation"],
            )
        )
        for command in await in_database(store.outgoing, self.node_id, known_to_agent=hello.known_commands):
            await self.send(command)
        for report in hello.containers:  # viewers of an earlier session ask for their streams again, and read what they missed
            await live.hub().publish(f"log:{report.container_id}", live.RESYNC)
        self._log.info("gateway.joined", agent_version=hello.agent_version, runtime=hello.facts.container_runtime)

    async def _say_goodbye(self, ended: BaseException | None) -> None:
        if isinstance(ended, Ended):
            self._log.info("gateway.left", code=ended.code, reason=ended.reason)
            if ended.code:
                code: Any = ended.code if ended.code in ("bad_token", "unknown_node", "replaced", "too_many") else "bad_hello"
                with contextlib.suppress(OSError, RuntimeError):
                    await self.send(wire.Refused(code=code, reason=ended.reason))
                    await self._asgi_send({"type": "websocket.close", "code": ended.close_code, "reason": ended.reason[:120]})
            elif ended.reason:
                # Else its end would stay open, and an agent that only slept would go on talking to nobody until it missed our answers, too (R05).
                with contextlib.suppress(OSError, RuntimeError):
                    await self._asgi_send({"type": "websocket.close", "code": 4408, "reason": ended.reason[:120]})
            return
        if ended is not None:
            self._log.error("gateway.session_failed", exc_info=ended)
        with contextlib.suppress(OSError, RuntimeError):
            await self._asgi_send({"type": "websocket.close", "code": 4500})

    # ----------------------------------------------------------------------------------------------------------- receiving

    async def _receive(self, receive: Receive) -> None:
        while True:
            event = await receive()
            if event["type"] == "websocket.disconnect":
                raise Ended
            self._heard_at = time.monotonic()
            data = event.get("bytes")
            if data is not None:
                self.blame(await self._streams.take(data))
                continue
            try:
                message = wire.decode_from_agent(event.get("text") or "")
            except wire.FrameError as error:
                await self._oops(error)
                continue
            await self._handle(message)

    async def _oops(self, error: wire.FrameError) -> None:
        self._oops_left -= 1
        if self._oops_left > 0:
            await self.send(wire.Oops(code=error.code, detail=error.detail[:500]))

    async def _handle(self, message: wire.AgentMessage) -> None:
        match message:
            case wire.Heartbeat():
                skew = message.sent_at_unix - clock.unix() if message.sent_at_unix else None
                self._note(message.usage, engine_ok=message.engine_ok, engine_error=message.engine_error, skew_seconds=skew)
            case wire.Ack() if message.command_id in self._rotations:
                self._rotations.discard(message.command_id)
                self._log.info("gateway.token_rotated")
            case wire.Ack() | wire.Progress() | wire.Result() | wire.StateFact() | wire.Snapshot():
                await self._reports.put(message)
            case wire.StatsReport():
                await samples().note(self, Told(self.node_id, self._strangers, message))
            case wire.RpcReply():
                await self._answer_question(message)
            case wire.StreamEnd():
                self.blame(await self._streams.end(message))
            case wire.StreamNote():
                self.blame(await self._streams.note(message))
            case wire.Oops():
                self._log.warning("gateway.agent_said_oops", code=message.code, detail=message.detail[:500], about=message.about[:100])
            case wire.Pong():
                pass
            case wire.Hello():
                await self._oops(wire.FrameError("bad_shape", "hello was said before"))

    def _heard(self) -> datetime:
        """When the last frame came, of whatever kind."""
        return clock.now() - timedelta(seconds=time.monotonic() - self._heard_at)

    def _note(self, usage: wire.NodeUsage, *, engine_ok: bool, engine_error: str, skew_seconds: float | None = None) -> None:
        """A sign of life, for the next batch: it counts from when it came, so that a silence is not measured shorter than it is."""
        self._noted_at = self._heard_at
        self._last_beat = store.Beat(self.node_id, self.admission.epoch, self._heard(), usage, engine_ok, engine_error, skew_seconds)
        beats().note(self._last_beat)

    def blame(self, violation: str) -> None:
        """An agent spoke of what is not its own: logged, and three end the session (D04)."""
        if not violation:
            return
        self._violations += 1
        self._log.warning("gateway.violation", what=violation, count=self._violations)
        if self._violations >= MAX_VIOLATIONS:
            self.close_soon("bad_hello", f"This agent spoke of things that are not its own, last: {violation}")

    async def _take_reports(self) -> None:
        while True:
            batch = [await self._reports.get()]
            while len(batch) < 64 and not self._reports.empty():
                batch.append(self._reports.get_nowait())
            try:
                taken = await in_database(self._intake.take, batch)
            except DatabaseError as error:  # not acknowledged, so the agent says it again
                self._log.warning("gateway.reports_not_stored", error=str(error), count=len(batch))
                await asyncio.sleep(1)
                continue
            for answer in taken.answers:
                await self.send(answer)
            for violation in taken.violations:
                self.blame(violation)

    # ------------------------------------------------------------------------------------------------------------ the desk

    async def _desk(self) -> None:
        next_ping = time.monotonic() + PING_SECONDS
        next_tick = time.monotonic() + TICK_SECONDS
        while True:
            raw = await self._tap.get(timeout_seconds=max(0.01, next_tick - time.monotonic()))
            if raw == live.RESYNC or self._tap.skipped():
                self._due.set()
            if raw is not None and raw != live.RESYNC:
                await self._question(raw)
            now = time.monotonic()
            if now >= next_tick:
                next_tick = now + TICK_SECONDS
                await self._tick(now)
            if now >= next_ping:
                next_ping = now + PING_SECONDS
                await self.send(wire.Ping(nonce=secrets.token_hex(4)))

    async def _tick(self, now: float) -> None:
        if now - self._ticked_at > PAUSE_SECONDS:
            self._heard_at = now  # it was us who were away: what was said meanwhile has not been read yet (R10)
        self._ticked_at = now
        if now - self._heard_at > SILENCE_SECONDS:
            raise Ended("", "nothing heard for 30 s")
        if now - self._noted_at > ALIVE_SECONDS and self._heard_at > self._noted_at:
            # Its heartbeat is late, but other frames came: that is life too (R08).
            self._note(self._last_beat.usage, engine_ok=self._last_beat.engine_ok, engine_error=self._last_beat.engine_error)
        self._oops_left = min(OOPS_PER_MINUTE, self._oops_left + OOPS_PER_MINUTE * TICK_SECONDS / 60)
        for request_id in [r for r, (_, until) in self._questions.items() if until < now]:
            del self._questions[request_id]
        await self._streams.tick()

    async def _question(self, raw: bytes) -> None:
        try:
            question = json.loads(raw)
            op = question["op"]
        except (ValueError, KeyError, TypeError):
            self._log.warning("gateway.bad_question")
            return
        payload = question.get("payload") or {}
        match op:
            case "wake":
                self._due.set()
            case "rpc":
                await self._ask(question)
            case "watch":
                elsewhere = question.get("origin") != live.ORIGIN.hex()
                await self._streams.watch(question["container_id"], after=int(question.get("after", -1)), elsewhere=elsewhere)
            case "exec":
                await self._streams.exec(question["stream_id"], question["container_id"], payload)
            case "terminal":
                await self._streams.terminal(question["stream_id"], question["container_id"], payload)
            case "bulk":
                await self._streams.bulk(question["stream_id"], question["container_id"], payload)
            case "pay":
                await self._streams.pay(question["stream_id"], int(question.get("bytes", 0)))
            case "input":
                await self._streams.input(question["stream_id"], question.get("data", ""))
            case "resize":
                await self._streams.resize(question["stream_id"], columns=int(payload.get("columns", 80)), rows=int(payload.get("rows", 24)))
            case "kill" | "unwatch":
                await self._streams.kill(question.get("stream_id", ""))
            case "rotated":
                await self._hand_over_token()
            case "close":
                if payload.get("code") == "replaced" and int(payload.get("epoch", 0)) <= self.admission.epoch:
                    return
                self.close_soon(str(payload.get("code", "replaced")), str(payload.get("reason", "Closed by the panel.")))
            case _:
                self._log.warning("gateway.unknown_question", op=op)

    async def _ask(self, question: dict[str, Any]) -> None:
        timeout = min(float(question.get("timeout", 10)), 600)
        self._questions[question["request_id"]] = (question["reply"], time.monotonic() + timeout + 5)
        await self.send(
            wire.Rpc(
                request_id=question["request_id"],
                kind=question["kind"],
                container_id=question.get("container_id", ""),
                payload=question.get("payload") or {},
                timeout_seconds=timeout,
            )
        )

    async def _answer_question(self, reply: wire.RpcReply) -> None:
        found = self._questions.pop(reply.request_id, None)
        if found is None:
            return  # too late, or never asked: nobody waits
        answer: dict[str, Any] = {"ok": reply.ok, "data": reply.data}
        if not reply.ok:
            error = reply.error
            answer["error"] = {"code": error.code if error else "internal", "detail": error.detail if error else "The node gave no reason."}
        await live.hub().reply(found[0], answer)

    async def _drop_questions(self) -> None:
        lost = {"ok": False, "error": {"code": "node_offline", "detail": "The node's connection was lost before it answered."}}
        for key, _ in self._questions.values():
            await live.hub().reply(key, lost)
        self._questions.clear()

    async def _hand_over_token(self) -> None:
        token = await in_database(store.current_token, self.node_id)
        if token is not None:
            rotation_id = secrets.token_hex(8)
            self._rotations.add(rotation_id)
            await self.send(wire.TokenRotated(rotation_id=rotation_id, token=token))

    async def _command_sender(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            try:
                due = await in_database(store.outgoing, self.node_id)
            except DatabaseError as error:
                self._log.warning("gateway.commands_not_read", error=str(error))
                await asyncio.sleep(1)
                self._due.set()
                continue
            for command in due:
                await self.send(command)
