"""What a container's console says about the container: that it is ready, and what its egg's features look for. Survives the agent's death.

Lines are taken from the log store, behind the number that was the last one before the start, so none is missed and an agent that comes back
looks at all of them again. Only lines of the container itself count, never what an install script or Lormas wrote.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from agent.protocol.messages import ContainerReport, ContainerSpec
from agent.services import Logs
from agent.streams import Follows

log = logging.getLogger(__name__)

FEATURES: dict[str, tuple[str, ...]] = {
    "eula": ("you need to agree to the eula in order to run the server",),
    "java_version": (
        "unsupportedclassversionerror",
        "unsupported major.minor version",
        "has been compiled by a more recent version of the java runtime",
        "requires running the server with java",
    ),
    "pid_limit": (
        "pthread_create failed",
        "failed to create thread",
        "unable to create thread",
        "unable to create native thread",
        "unable to create new native thread",
    ),
    "gsl_token": ("(gsl token expired)", "(account not found)"),
    "steam_disk_space": ("steamcmd needs 250mb of free disk space to update", "0x202 after update job"),
}
"""Feature -> texts, in lower case, of which one in a line means that a person should be asked. Facts about what these programs print."""

PATTERN_SECONDS = 0.2
LINE_CHARS = 4096
LINGER_SECONDS = 15.0
"""After its end the last lines are still being stored."""
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_OWN_STREAMS = frozenset({"application", "error"})


class Notes(Protocol):
    """Where small facts outlive the agent: `agent.outbox.Outbox`."""

    async def get(self, name: str) -> str: ...

    async def put(self, name: str, value: str) -> None: ...


class WatchLogs(Logs, Follows, Protocol):
    """The part of the log service that is used here."""


class Watched(msgspec.Struct, omit_defaults=True):
    """What is kept of one container since its last start."""

    after: int = 0
    done: list[str] = []
    strip_ansi: bool = False
    deadline_unix: float = 0
    timeout_seconds: float = 0
    wanted: list[str] = []
    readiness: str = ""
    features: list[str] = []


class Matcher:
    """Is this line one of those that mean 'ready'? Pure."""

    def __init__(self, done: list[str], *, strip_ansi: bool) -> None:
        self._texts = [text for text in done if not text.startswith("regex:")]
        self._patterns: list[Any] = []
        self._strip = strip_ansi
        for text in done:
            if text.startswith("regex:"):
                import regex

                try:
                    self._patterns.append(regex.compile(text.removeprefix("regex:"), cache_pattern=False))
                except (regex.error, OverflowError):
                    self._texts.append(text)  # no pattern: then it is a text

    def fits(self, line: str) -> bool:
        """A pattern that runs too long is left out from then on (C10)."""
        shown = _ANSI.sub("", line) if self._strip else line
        if any(text in shown for text in self._texts):
            return True
        for pattern in list(self._patterns):
            try:
                if pattern.search(shown[:LINE_CHARS], timeout=PATTERN_SECONDS) is not None:
                    return True
            except TimeoutError:
                self._patterns.remove(pattern)
        return False


def features_in(line: str, wanted: list[str]) -> list[str]:
    """Which features this line is about."""
    low = line[:LINE_CHARS].lower()
    return [name for name in wanted if any(text in low for text in FEATURES[name])]


class ConsoleWatch:
    """One for the whole agent. `on_change(container_id)` is called when something was seen."""

    def __init__(self, logs: WatchLogs, notes: Notes, *, on_change: Callable[[str], Any]) -> None:
        self._logs = logs
        self._notes = notes
        self._on_change = on_change
        self._known: dict[str, Watched] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._enders: dict[str, asyncio.TimerHandle] = {}

    # ----------------------------------------------------------------------------------------------------------------- life

    async def begin(self, spec: ContainerSpec) -> None:
        """Call before the start: from the next line on it counts."""
        await self.forget(spec.container_id)
        ready = spec.readiness
        wanted = [name for name in dict.fromkeys(spec.features) if name in FEATURES]
        if (ready is None or not ready.done) and not wanted:
            return
        watched = Watched(after=await self._logs.last_seq(spec.container_id), wanted=wanted)
        if ready is not None and ready.done:
            watched.done, watched.strip_ansi, watched.timeout_seconds = ready.done, ready.strip_ansi, ready.timeout_seconds
            watched.readiness, watched.deadline_unix = "waiting", time.time() + ready.timeout_seconds
        self._known[spec.container_id] = watched
        await self._save(spec.container_id)
        self._watch(spec.container_id)

    async def resume(self, container_ids: list[str]) -> None:
        """After a restart of the agent: go on with those that there are."""
        for container_id in container_ids:
            text = await self._notes.get(f"console:{container_id}")
            if text and container_id not in self._known:
                try:
                    self._known[container_id] = msgspec.json.decode(text, type=Watched)
                except msgspec.DecodeError:
                    continue
                self._watch(container_id)

    async def forget(self, container_id: str) -> None:
        """It is gone, or about to be started anew."""
        ender = self._enders.pop(container_id, None)
        if ender is not None:
            ender.cancel()
        self._stop(container_id)
        if self._known.pop(container_id, None) is not None:
            await self._notes.put(f"console:{container_id}", "")

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        for ender in self._enders.values():
            ender.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def marked(self, report: ContainerReport) -> ContainerReport:
        """The report with what the console has said."""
        watched = self._known.get(report.container_id)
        if watched is None:
            return report
        running = report.state in ("running", "paused", "restarting")
        if not running and report.container_id in self._tasks and report.container_id not in self._enders and report.state == "exited":
            loop = asyncio.get_running_loop()
            self._enders[report.container_id] = loop.call_later(LINGER_SECONDS, self._stop, report.container_id)
        return msgspec.structs.replace(report, readiness=watched.readiness if running else "", features=list(watched.features))

    # ---------------------------------------------------------------------------------------------------------------- watch

    def _stop(self, container_id: str) -> None:
        task = self._tasks.pop(container_id, None)
        if task is not None:
            task.cancel()

    def _watch(self, container_id: str) -> None:
        watched = self._known[container_id]
        if watched.readiness != "waiting" and not set(watched.wanted) - set(watched.features):
            return  # nothing left to look for
        task = asyncio.create_task(self._run(container_id, watched), name=f"console {container_id}")
        self._tasks[container_id] = task
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            log.error("watching a console failed", exc_info=task.exception())

    async def _save(self, container_id: str) -> None:
        await self._notes.put(f"console:{container_id}", msgspec.json.encode(self._known[container_id]).decode())

    async def _changed(self, container_id: str, watched: Watched) -> None:
        if self._known.get(container_id) is watched:
            await self._save(container_id)
            self._on_change(container_id)

    async def _run(self, container_id: str, watched: Watched) -> None:
        reading = asyncio.create_task(self._read(container_id, watched))
        try:
            if watched.readiness == "waiting":
                await self._or_late(container_id, watched, reading)
            await reading
        finally:
            reading.cancel()

    async def _or_late(self, container_id: str, watched: Watched, reading: asyncio.Task[None]) -> None:
        while watched.readiness == "waiting":
            left = watched.deadline_unix - time.time()
            if left <= 0:
                watched.readiness = "late"
                await self._logs.append(
                    container_id,
                    f"Its ready line did not come within {watched.timeout_seconds:g} s. It counts as running from now on; "
                    "the text to wait for is in its egg (config.startup.done).",
                )
                await self._changed(container_id, watched)
                return
            await asyncio.wait([reading], timeout=min(left, 1.0))
            if reading.done():
                return

    async def _read(self, container_id: str, watched: Watched) -> None:
        matcher = Matcher(watched.done, strip_ansi=watched.strip_ansi)
        async for batch in self._logs.follow(container_id, watched.after):
            missing = [name for name in watched.wanted if name not in watched.features]
            low = batch.payload.lower() if missing else b""
            hint = any(text.encode() in low for name in missing for text in FEATURES[name])
            if watched.readiness != "waiting" and not hint:
                if not missing:
                    return
                continue
            seen = False
            for _, _, stream, text in msgspec.json.decode(batch.payload):
                if stream not in _OWN_STREAMS:
                    continue
                if watched.readiness == "waiting" and matcher.fits(text):
                    watched.readiness = "ready"
                    seen = True
                for name in features_in(text, missing) if hint else []:
                    if name not in watched.features:
                        watched.features.append(name)
                        seen = True
            if seen:
                await self._changed(container_id, watched)
