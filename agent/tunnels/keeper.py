"""Keeps a tunnel's program running beside each container that wants one, as long as the container runs.

What is wanted is in one file a container (0600), so tunnels come back with their containers also while the panel is away. The program itself belongs
to the runtime (`agent.runtimes.base.TunnelDesk`) and outlives the agent; the next agent takes it over, or ends it if it is of another run.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from agent.protocol.messages import ContainerReport
from agent.protocol.tunnels import TunnelStart, TunnelState, TunnelStop
from agent.runtimes.base import Runtime, RuntimeFailure, TunnelDesk, TunnelRun
from agent.services import Logs
from agent.tunnels.words import Heard

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
FIRST_SECONDS, MOST_SECONDS = 1.0, 60.0
STEADY_SECONDS = 60.0
"""A run that lasted so long begins the series of delays anew."""
_ID = re.compile(r"[0-9a-f-]{36}")
State = Literal["off", "waiting", "starting", "connected", "failed"]


class Wish(msgspec.Struct, frozen=True):
    """A container's file. Without a token: there shall be none, and older wishes don't count."""

    token: str
    version: int


@dataclass(slots=True)
class Watched:
    """One tunnel that is wanted."""

    wish: Wish
    state: State = "starting"
    detail: str = ""
    since: float = field(default_factory=time.time)
    heard: Heard = field(default_factory=Heard)
    position: int = 0
    bound_to: str = ""
    begun_at: float = 0
    failures: int = 0
    restarts: int = 0
    again_at: float = 0
    beginning: asyncio.Task[None] | None = None


class Tunnels:
    """`seen(container_id)`: the newest report of a container, None if there is none."""

    def __init__(
        self,
        runtime: Runtime,
        logs: Logs,
        folder: Path,
        *,
        seen: Callable[[str], ContainerReport | None],
        look_seconds: float = LOOK_SECONDS,
        first_seconds: float = FIRST_SECONDS,
    ) -> None:
        self._desk: TunnelDesk | None = getattr(runtime, "tunnels", None)
        self._kind = runtime.kind
        self._logs = logs
        self._folder = folder
        self._seen = seen
        self._look_seconds = look_seconds
        self._first_seconds = first_seconds
        self._watched: dict[str, Watched] = {}
        self._off: dict[str, int] = {}
        self._kick = asyncio.Event()
        self._step_lock = asyncio.Lock()

    # --------------------------------------------------------------------------------------------------------------- wishes

    def load(self) -> None:
        """What the agent before us was asked for. A file that can't be read wants nothing."""
        if not self._folder.is_dir():
            return
        for file in self._folder.glob("*.json"):
            try:
                wish = msgspec.json.decode(file.read_bytes(), type=Wish)
            except (OSError, msgspec.DecodeError) as error:
                log.warning("a tunnel's file can't be read", extra={"container": file.stem, "reason": str(error)})
                continue
            self._keep(file.stem, wish)

    def _keep(self, container_id: str, wish: Wish) -> None:
        self._off.pop(container_id, None)
        if not wish.token:
            self._off[container_id] = wish.version
            self._watched.pop(container_id, None)
        else:
            self._watched[container_id] = Watched(wish)

    def _version(self, container_id: str) -> int:
        found = self._watched.get(container_id)
        return found.wish.version if found is not None else self._off.get(container_id, 0)

    async def want(self, container_id: str, wish: Wish) -> TunnelState:
        """A newer wish than the known one is kept and carried out. Raises RuntimeFailure."""
        if not _ID.fullmatch(container_id):
            raise RuntimeFailure("bad_payload", "That is not the id of a container.")
        if wish.token:
            await self._need().check()
        if wish.version > self._version(container_id):
            await asyncio.to_thread(_write, self._folder / f"{container_id}.json", wish)
            async with self._step_lock:  # a look that is under way still knows the old one
                old = self._watched.get(container_id)
                if old is not None and old.beginning is not None:
                    old.beginning.cancel()
                    await asyncio.wait([old.beginning])
                self._keep(container_id, wish)
                if self._desk is not None:
                    await self._desk.end(container_id)  # another token, or none: what runs is of the old wish
        self._kick.set()
        return self.state_of(container_id)

    def _need(self) -> TunnelDesk:
        if self._desk is None:
            raise RuntimeFailure("unsupported", f"The runtime of this node ({self._kind}) has no tunnels.")
        return self._desk

    async def forget(self, container_id: str) -> None:
        """The container is gone from this node for good."""
        found = self._watched.pop(container_id, None)
        known = found is not None or self._off.pop(container_id, None) is not None
        if found is not None and found.beginning is not None:
            found.beginning.cancel()
        if not known:
            return
        with contextlib.suppress(FileNotFoundError):
            await asyncio.to_thread((self._folder / f"{container_id}.json").unlink)
        self._kick.set()  # the next look ends what nobody wants

    def state_of(self, container_id: str) -> TunnelState:
        found = self._watched.get(container_id)
        if found is None:
            return TunnelState(version=self._off.get(container_id, 0))
        return TunnelState(
            state=found.state,
            detail=found.detail,
            urls=list(found.heard.urls),
            connections=len(found.heard.up),
            restarts=found.restarts,
            since_unix=found.since,
            version=found.wish.version,
        )

    # -------------------------------------------------------------------------------------------------------------- keeping

    async def run(self) -> None:
        """For ever. Costs nothing while nobody wants a tunnel."""
        if self._desk is None:
            return
        while True:
            with contextlib.suppress(RuntimeFailure, OSError):
                await self.step()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._look_seconds if self._watched else None):
                    await self._kick.wait()
            self._kick.clear()

    async def close(self) -> None:
        """With the agent; the programs stay."""
        tasks = [one.beginning for one in self._watched.values() if one.beginning is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def step(self) -> None:
        """Look at all tunnels once, and do what is due."""
        desk = self._need()
        async with self._step_lock:
            runs = await desk.all()
            for container_id in runs.keys() - self._watched.keys():
                await desk.end(container_id)
            for container_id, watched in list(self._watched.items()):
                try:
                    await self._settle(container_id, watched, runs.get(container_id))
                except RuntimeFailure as failure:
                    self._say(watched, watched.state, failure.detail)

    def _say(self, watched: Watched, state: State, detail: str = "") -> None:
        if state != watched.state:
            watched.since = time.time()
        # What a program prints is shown to people who must not see its token.
        watched.state, watched.detail = state, detail.replace(watched.wish.token, "…")[:500]

    async def _settle(self, container_id: str, watched: Watched, run: TunnelRun | None) -> None:
        desk = self._need()
        if watched.beginning is not None:
            if watched.beginning.done():  # `run` may have been listed before that: made, not yet started, would look like ended
                watched.beginning = None
                self._kick.set()
            return
        report = self._seen(container_id)
        if report is None or report.state not in ("running", "paused", "restarting"):
            if run is not None:
                await desk.end(container_id)
            watched.heard, watched.position, watched.failures, watched.again_at = Heard(urls=watched.heard.urls), 0, 0, 0
            self._say(watched, "waiting", "It begins when the container runs.")
            return
        bound_to = f"{report.runtime_ref}@{report.started_at}"
        if run is not None and run.bound_to != bound_to:
            await desk.end(container_id)  # the container was started anew: the network that it had is gone
            run = None
        if run is not None and run.exit_code is None:
            await self._listen(container_id, watched, bound_to)
            return
        if run is not None:
            await self._ended(container_id, watched, run, bound_to)
            return
        if time.time() < watched.again_at:
            return
        watched.heard, watched.position, watched.begun_at, watched.bound_to = Heard(urls=watched.heard.urls), 0, time.time(), bound_to
        if watched.state != "failed":
            self._say(watched, "starting")
        watched.beginning = asyncio.create_task(self._begin(container_id, watched, report, bound_to), name=f"tunnel {container_id}")

    async def _begin(self, container_id: str, watched: Watched, report: ContainerReport, bound_to: str) -> None:
        try:
            await self._need().begin(container_id, token=watched.wish.token, runtime_ref=report.runtime_ref, bound_to=bound_to)
        except (RuntimeFailure, OSError) as failure:
            detail = failure.detail if isinstance(failure, RuntimeFailure) else f"The tunnel's program could not be started: {failure}"
            await self._put_off(container_id, watched, detail)
        else:
            self._say(watched, "starting")
            self._kick.set()

    async def _listen(self, container_id: str, watched: Watched, bound_to: str) -> None:
        if watched.bound_to != bound_to:  # an earlier agent began it
            watched.heard, watched.position, watched.bound_to, watched.begun_at = Heard(), 0, bound_to, time.time()
        lines, watched.position = await self._need().output(container_id, after=watched.position)
        watched.heard.take(lines)
        before = watched.state
        if watched.heard.up:
            self._say(watched, "connected")
            if before != "connected":
                await self._tell(container_id, f"The tunnel is connected{': ' if watched.heard.urls else ''}{', '.join(watched.heard.urls)}")
        else:
            self._say(watched, "starting", watched.heard.error)
        if time.time() - watched.begun_at > STEADY_SECONDS:
            watched.failures = 0

    async def _ended(self, container_id: str, watched: Watched, run: TunnelRun, bound_to: str) -> None:
        lines, watched.position = await self._need().output(container_id, after=watched.position if watched.bound_to == bound_to else 0)
        watched.heard.take(lines)
        watched.heard.up.clear()
        watched.bound_to = bound_to
        await self._need().end(container_id)
        said = f": {watched.heard.reason}" if watched.heard.reason else "."
        await self._put_off(container_id, watched, f"The tunnel's program ended with exit code {run.exit_code}{said}")

    async def _put_off(self, container_id: str, watched: Watched, detail: str) -> None:
        delay = min(MOST_SECONDS, self._first_seconds * 2 ** min(watched.failures, 10))
        watched.failures += 1
        watched.restarts += 1
        watched.again_at = time.time() + delay
        repeated = watched.state == "failed" and watched.detail == detail.replace(watched.wish.token, "…")[:500]
        self._say(watched, "failed", detail)
        if not repeated:
            await self._tell(container_id, f"{watched.detail} It is tried again, at first after {delay:g} s.")

    async def _tell(self, container_id: str, text: str) -> None:
        with contextlib.suppress(RuntimeFailure, OSError):
            await self._logs.append(container_id, text, stream="events")


def _write(file: Path, wish: Wish) -> None:
    """All of it or nothing, readable by us only."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = file.with_suffix(".tmp")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(msgspec.json.encode(wish))
        stream.flush()
        os.fsync(stream.fileno())
    draft.replace(file)


def tunnel_answers(tunnels: Tunnels) -> dict[str, Callable[[str, Any], Awaitable[dict[str, Any]]]]:
    """By the kinds of `agent.protocol.tunnels.TUNNEL_RPCS`."""

    def told(state: TunnelState) -> dict[str, Any]:
        return {"tunnel": msgspec.to_builtins(state)}

    async def start(container_id: str, asked: TunnelStart) -> dict[str, Any]:
        if not asked.token:
            raise RuntimeFailure("bad_payload", "A tunnel needs a token.")
        return told(await tunnels.want(container_id, Wish(asked.token, asked.version)))

    async def stop(container_id: str, asked: TunnelStop) -> dict[str, Any]:
        return told(await tunnels.want(container_id, Wish("", asked.version)))

    async def state(container_id: str, _: Any) -> dict[str, Any]:
        return told(tunnels.state_of(container_id))

    return {"tunnel.start": start, "tunnel.stop": stop, "tunnel.state": state}
