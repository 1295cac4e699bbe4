"""The link to the panel: dial, hello, talk, and dial again for ever.

One `Session` a connection; `Link` keeps one alive. TLS is verified, redirects are never followed, a link that is silent for 30 s is dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol
from urllib.parse import urlsplit

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from agent import __version__
from agent.backoff import Backoff
from agent.config import Config
from agent.protocol import frames
from agent.protocol import messages as wire
from agent.sender import Overflow, Sender

log = logging.getLogger(__name__)

SILENCE_SECONDS = 30.0
OPEN_SECONDS = 10.0
WELCOME_SECONDS = 20.0
CLOSE_REASONS = {
    4401: "The token is not good (any more): join again with the command from the node's page.",
    4403: "The panel does not let this agent in.",
    4426: "Panel and agent speak different protocol versions: update the older one.",
    4429: "Too many tries from this address.",
}


class Refused(Exception):
    """The panel does not take us in."""

    def __init__(self, code: str, reason: str, retry_after_seconds: float) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds


class Program(Protocol):
    """What the link talks to (`agent.program.Agent`)."""

    config: Config

    async def hello(self) -> wire.Hello: ...

    async def welcomed(self, welcome: wire.Welcome, session: Session) -> None: ...

    async def take(self, message: wire.PanelMessage, session: Session) -> None: ...

    async def take_bytes(self, frame: frames.ExecFrame, session: Session) -> None: ...

    async def parted(self, session: Session) -> None: ...

    def duties(self, session: Session) -> list[Callable[[], Awaitable[None]]]: ...


class _Direct(connect):
    """A client that never follows a redirect: the token goes to the panel that was named, nowhere else."""

    def process_redirect(self, exc: Exception) -> Exception | str:
        return exc


def _context(url: str, *, insecure: bool) -> ssl.SSLContext | None:
    if not url.startswith("wss://"):
        return None
    context = ssl.create_default_context()
    if insecure:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


async def dial(config: Config, url: str, *, max_size: int) -> ClientConnection:
    """Connect to the panel with the node's token. Raises what websockets raises."""
    host = urlsplit(url).hostname or ""
    return await _Direct(
        url,
        additional_headers={"Authorization": f"Bearer {config.token}"},
        user_agent_header=f"lormas-agent/{__version__}",
        ssl=_context(url, insecure=config.insecure),
        compression=None,
        max_size=max_size,
        open_timeout=OPEN_SECONDS,
        close_timeout=2,
        ping_interval=None,  # the panel pings at application level, and silence ends the link
        proxy=None if host in ("localhost", "127.0.0.1", "::1") else True,
    )


class Session:
    """One connection that was welcomed."""

    def __init__(self, socket: ClientConnection, welcome: wire.Welcome) -> None:
        self.welcome = welcome
        self._socket = socket
        self.sender = Sender(socket)
        self.heard_at = time.monotonic()
        self._overflow = False

    def emit(self, message: wire.Frame) -> None:
        """Queue a control frame. If the panel takes nothing any more the link is dropped: what matters is in the outbox."""
        try:
            self.sender.control(wire.encode(message).decode())
        except Overflow:
            self._overflow = True
        except wire.FrameError as error:
            log.error("frame too large to send", extra={"kind": type(message).__name__, "reason": error.detail})

    async def run(self, program: Program) -> None:
        """Until the link breaks; raises why."""
        await program.welcomed(self.welcome, self)
        jobs: list[Awaitable[Any]] = [self.sender.run(), self._receive(program), self._listen_for_silence()]
        tasks = [asyncio.ensure_future(job) for job in jobs] + [asyncio.ensure_future(duty()) for duty in program.duties(self)]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                await task
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await program.parted(self)

    async def _receive(self, program: Program) -> None:
        async for data in self._socket:
            self.heard_at = time.monotonic()
            if isinstance(data, bytes):
                with contextlib.suppress(ValueError):
                    frame = frames.unpack(data)
                    if isinstance(frame, frames.ExecFrame):
                        await program.take_bytes(frame, self)
                continue
            try:
                message = wire.decode_from_panel(data)
            except wire.FrameError as error:
                log.warning("frame of no use", extra={"code": error.code, "reason": error.detail[:300]})
                self.emit(wire.Oops(code=error.code, detail=error.detail[:300]))
                continue
            if isinstance(message, wire.Ping):
                self.emit(wire.Pong(nonce=message.nonce))
            elif isinstance(message, wire.Refused):
                raise Refused(message.code, message.reason, message.retry_after_seconds)
            elif isinstance(message, wire.Oops):
                log.warning("panel said oops", extra={"code": message.code, "reason": message.detail[:300]})
            else:
                await program.take(message, self)

    async def _listen_for_silence(self) -> None:
        """The panel pings every few seconds: silence means that the link is half open."""
        while True:
            await asyncio.sleep(1)
            if time.monotonic() - self.heard_at > SILENCE_SECONDS:
                raise TimeoutError("nothing heard from the panel for 30 s")
            if self._overflow:
                raise Overflow("the panel takes nothing any more")


class Link:
    """Keeps a session alive."""

    def __init__(self, program: Program, *, backoff: Backoff | None = None) -> None:
        self._program = program
        self._backoff = backoff or Backoff()
        self.highest_epoch = 0

    async def run(self) -> None:
        """For ever."""
        while True:
            begun = time.monotonic()
            welcomed = False
            turned_away, wish = False, 0.0
            try:
                session = await self._dial()
                welcomed = True
                begun = time.monotonic()
                await session.run(self._program)
                log.warning("link closed by the panel")
            except Refused as refusal:
                turned_away, wish = True, refusal.retry_after_seconds
                self._tell(refusal)
            except InvalidStatus as error:
                turned_away = 400 <= error.response.status_code < 500
                log.error("panel not reached", extra={"reason": _why(error)})
            except (OSError, TimeoutError, ConnectionClosed, InvalidHandshake, InvalidURI, Overflow) as error:
                log.warning("link lost" if welcomed else "panel not reached", extra={"reason": _why(error)})
            if welcomed:
                self._backoff.connected_for(time.monotonic() - begun)
            pause = self._backoff.next(refused=turned_away, retry_after_seconds=wish)
            log.info("dialling again", extra={"seconds": round(pause, 2)})
            await asyncio.sleep(pause)

    async def _dial(self) -> Session:
        config = self._program.config
        url = config.socket_url
        hello = await self._hello()
        socket = await dial(config, url, max_size=wire.MAX_FRAME_BYTES + 1024)
        try:
            async with asyncio.timeout(WELCOME_SECONDS):
                await socket.send(wire.encode(hello).decode())
                answer = wire.decode_from_panel(await socket.recv())
            if isinstance(answer, wire.Refused):
                raise Refused(answer.code, answer.reason, answer.retry_after_seconds)
            if not isinstance(answer, wire.Welcome):
                raise Refused("bad_hello", f"The panel answered {type(answer).__name__} to our hello.", 10)
            if answer.session_epoch < self.highest_epoch:
                raise Refused("replaced", "The panel gave an older session epoch than before.", 5)
        except ConnectionClosed as closed:
            code = closed.rcvd.code if closed.rcvd else 0
            if code in CLOSE_REASONS:
                raise Refused("bad_hello", closed.rcvd.reason if closed.rcvd and closed.rcvd.reason else CLOSE_REASONS[code], 10) from closed
            raise
        except wire.FrameError as error:
            await socket.close()
            raise Refused("bad_hello", f"The panel's answer can't be read: {error.detail}", 10) from error
        except BaseException:
            await socket.close()
            raise
        self.highest_epoch = answer.session_epoch
        log.info("joined", extra={"node": answer.node_name, "panel_version": answer.panel_version, "session_epoch": answer.session_epoch})
        return Session(socket, answer)

    async def _hello(self) -> wire.Hello:
        hello = await self._program.hello()
        try:
            wire.encode(hello)
        except wire.FrameError:  # thousands of containers: they come as facts and a snapshot
            return msgspec.structs.replace(hello, containers=[], containers_complete=False)
        return hello

    def _tell(self, refusal: Refused) -> None:
        log.error("refused by the panel", extra={"code": refusal.code, "reason": refusal.reason})
        sys.stderr.write(f"lormas-agent: the panel refused this agent: {refusal.reason}\n")
        sys.stderr.flush()


def _why(error: BaseException) -> str:
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        if status in (301, 302, 303, 307, 308):
            return f"the panel's address redirects (HTTP {status}): join with the address that it redirects to"
        if status in (401, 403):
            return f"HTTP {status}: no token was taken; join again with the command from the node's page"
        return f"HTTP {status} instead of a WebSocket: is this the panel's address?"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"TLS certificate not trusted: {error.verify_message}"
    return f"{type(error).__name__}: {error}"
