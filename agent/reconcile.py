"""What the engine shows, told to the panel: numbered facts from events and full listings (SECURITY R11, R14-R16, R20).

Events are hints: each is debounced and ends in an inspect. A failed listing says nothing about anybody (`complete=False`).
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from typing import Literal

import msgspec

from agent.engine import EngineWatch
from agent.outages import Outages
from agent.outbox import Outbox
from agent.protocol.messages import ContainerReport, Snapshot
from agent.runtimes.base import Runtime, RuntimeFailure
from agent.services import Emit, Logs

log = logging.getLogger(__name__)

DEBOUNCE_SECONDS = 0.08
LIST_SECONDS = 60.0
LOOKS = 8
"""Inspections at a time after a listing."""
LIST_TIMEOUT_SECONDS = 15.0
INSPECT_TIMEOUT_SECONDS = 10.0
OURS_SECONDS = 2.0
"""Events of what a command did may come so much after its end."""
HAND_SECONDS = 20.0
"""A `kill` or `stop` event that was not ours explains an exit for so long."""

Cause = Literal["", "command", "exit", "external", "engine"]


def _agree(listed: ContainerReport, known: ContainerReport) -> bool:
    """Is all that a listing tells what is known?"""
    names = ("state", "runtime_ref", "health", "epoch") if listed.state != "exited" else ("state", "runtime_ref", "exit_code", "epoch")
    return all(getattr(listed, name) == getattr(known, name) for name in names)


class Reconciler:
    """Knows what was last said of each container; says what is new."""

    def __init__(self, *, runtime: Runtime, outbox: Outbox, logs: Logs, engine: EngineWatch, emit: Emit) -> None:
        self._runtime = runtime
        self._outbox = outbox
        self._logs = logs
        self._engine = engine
        self._emit = emit
        self._dirty: dict[str, Cause] = {}
        self._missed: set[str] = set()
        self._kick = asyncio.Event()
        self._listing_wanted: Cause | None = None
        self._ours_at: dict[str, float] = {}
        self._hand_at: dict[str, float] = {}
        self._looked_at: dict[str, float] = {}
        self._looked_at_all = False
        self._locks: dict[str, asyncio.Lock] = {}
        self.busy: Callable[[str], bool] = lambda container_id: False
        """Is a command at work on this container? Set by the program."""
        self.marked: Callable[[ContainerReport], ContainerReport] = lambda report: report
        """Adds what a container's console has said (`agent.console`). Set by the program."""
        self.watcher: Callable[[str, str], None] = lambda container_id, state: None
        """Told the state of each that was looked at. Set by the program (`agent.migrate.fences`)."""
        self.outages = Outages()
        self.running: set[str] = set()
        """Containers last seen running: whose stats are worth asking for."""

    # ------------------------------------------------------------------------------------------------------------- looking

    async def look(self, container_id: str) -> ContainerReport | None:
        """What the engine sees now; None if there is none. Raises RuntimeFailure."""
        self._looked_at[container_id] = time.monotonic()
        try:
            async with asyncio.timeout(INSPECT_TIMEOUT_SECONDS):
                return await self._runtime.inspect(container_id)
        except TimeoutError:
            raise RuntimeFailure("timeout", "The engine did not answer in time.", retryable=True) from None

    async def engine_answers(self, seconds: float) -> bool:
        """Wait until it does."""
        end = time.monotonic() + seconds
        while not await self._engine.probe():
            if time.monotonic() > end:
                return False
            await asyncio.sleep(0.5)
        return True

    async def observe(self, container_id: str, *, cause: Cause) -> ContainerReport | None:
        """Look at one container and number what is seen; None where the engine does not tell. Sends a fact if it is news."""
        if not container_id:
            return None
        async with self._locks.setdefault(container_id, asyncio.Lock()):
            if cause == "command":
                self._ours_at[container_id] = time.monotonic()
            try:
                seen = await self.look(container_id)
            except (RuntimeFailure, OSError) as error:
                log.warning("inspect failed", extra={"container": container_id, "reason": str(error)})
                return None
            if seen is None:
                return await self._note_gone(container_id, cause)
            if not cause and self._died_with_engine(seen):
                cause = "engine"
            return await self._note(seen, cause)

    async def _note_gone(self, container_id: str, cause: Cause) -> ContainerReport | None:
        known = self._outbox.known(container_id)
        before = known.report if known else None
        if known is None or before is None:
            return None  # never was here: nothing to tell
        gone = ContainerReport(container_id=container_id, state="removed", epoch=known.epoch, cause=cause)
        if before.state == "removed":
            gone = before
        return await self._note(gone, cause)

    async def _note(self, seen: ContainerReport, cause: Cause) -> ContainerReport:
        container_id = seen.container_id
        (self.running.add if seen.state in ("running", "paused") else self.running.discard)(container_id)
        self.watcher(container_id, seen.state)
        seen = self.marked(seen)
        before = self._outbox.known(container_id)
        if before is not None and before.report is not None and before.report.oom_killed and not seen.oom_killed:
            same_end = (before.report.state, before.report.started_at) == (seen.state, seen.started_at)
            seen = msgspec.structs.replace(seen, oom_killed=same_end)  # some engines tell this once and then forget it
        last = await self._logs.last_seq(container_id)
        numbered, fact = await self._outbox.observe(msgspec.structs.replace(seen, cause=cause, last_log_seq=last))
        if fact is not None:
            self._emit(fact)
        return numbered

    # -------------------------------------------------------------------------------------------------------------- causes

    def _ours(self, container_id: str) -> bool:
        """Is a command at work on it, or was a moment ago?"""
        return self.busy(container_id) or time.monotonic() - self._ours_at.get(container_id, -1e9) < OURS_SECONDS

    def _died_with_engine(self, seen: ContainerReport | None) -> bool:
        return seen is not None and seen.state == "exited" and self.outages.cover(seen.finished_at)

    def _cause_of(self, seen: ContainerReport | None, container_id: str, hint: Cause) -> Cause:
        if self._ours(container_id):
            return "command"
        if hint:
            return hint
        if self._died_with_engine(seen):
            return "engine"  # an engine that ends its containers as it comes or goes tells of it as if somebody had asked for that
        seen_state = seen.state if seen else "removed"
        if seen_state in ("exited", "removed") and time.monotonic() - self._hand_at.get(container_id, -1e9) < HAND_SECONDS:
            return "external"
        return "exit" if seen_state == "exited" else "external"

    # -------------------------------------------------------------------------------------------------------------- events

    async def follow_events(self) -> None:
        """For ever: the engine's events become looks."""
        while True:
            try:
                async for event in self._runtime.events(since_unix=0):
                    if event.action == "lost":
                        self.outages.begin(event.time_unix)
                    if event.action == "resync":
                        self.outages.end(event.time_unix)
                        self.want_listing("engine")
                        continue
                    if not event.container_id:
                        continue
                    if event.action in ("kill", "stop", "destroy", "pause", "unpause") and not self._ours(event.container_id):
                        self._hand_at[event.container_id] = time.monotonic()
                    if self.busy(event.container_id):
                        self._missed.add(event.container_id)  # its command looks at its end; an inspection now would only slow the engine down
                        continue
                    self._dirty.setdefault(event.container_id, "")
                    self._kick.set()
            except (RuntimeFailure, OSError) as error:
                log.warning("events interrupted", extra={"reason": str(error)})
            await asyncio.sleep(1.0)
            self.want_listing("engine")

    def look_soon(self, container_id: str) -> None:
        """Something about it changed that no event tells."""
        if self.busy(container_id):
            self._missed.add(container_id)
            return
        self._dirty.setdefault(container_id, "")
        self._kick.set()

    def released(self, container_id: str) -> None:
        """No command is at work on it any more: look once more if something happened meanwhile."""
        if container_id in self._missed:
            self._missed.discard(container_id)
            self._dirty.setdefault(container_id, "")
            self._kick.set()

    def want_listing(self, cause: Cause = "") -> None:
        """List everything soon; `cause` explains what turns out to have changed."""
        self._listing_wanted = cause if self._listing_wanted is None else (self._listing_wanted or cause)
        self._kick.set()

    async def run(self) -> None:
        """For ever: looks at what events named, lists when asked and every minute."""
        next_listing = time.monotonic() + LIST_SECONDS
        while True:
            try:
                async with asyncio.timeout(max(0.01, next_listing - time.monotonic())):
                    await self._kick.wait()
                await asyncio.sleep(DEBOUNCE_SECONDS)
            except TimeoutError:
                self.want_listing()
            self._kick.clear()
            if self._listing_wanted is not None:
                cause, self._listing_wanted = self._listing_wanted, None
                next_listing = time.monotonic() + LIST_SECONDS
                self._emit(await self.snapshot(cause))
            dirty, self._dirty = self._dirty, {}
            for container_id in dirty:
                await self._look_again(container_id)

    async def _look_again(self, container_id: str) -> None:
        async with self._locks.setdefault(container_id, asyncio.Lock()):
            try:
                seen = await self.look(container_id)
            except (RuntimeFailure, OSError) as error:
                log.warning("inspect failed", extra={"container": container_id, "reason": str(error)})
                self.want_listing()
                return
            cause = self._cause_of(seen, container_id, "")
            if seen is None:
                await self._note_gone(container_id, cause)
                return
            known = self._outbox.known(container_id)
            if known is not None and known.report is not None and (known.report.state, known.report.started_at) == (seen.state, seen.started_at):
                cause = known.report.cause  # its health or its console has news; how it got where it is stays true
            if seen.state == "running":
                await self._logs.attach(container_id)  # somebody else may have started it
            await self._note(seen, cause)

    # ------------------------------------------------------------------------------------------------------------ listings

    async def listing(self, cause: Cause = "", *, thorough: bool = False) -> tuple[list[ContainerReport], bool, str]:
        """(reports with their numbers, complete, error). News become facts. Only a listing that succeeded can make somebody missing.

        `thorough` inspects all: a listing can't tell a container from itself restarted.
        """
        begun = time.monotonic()
        known_before = set(self._outbox.known_containers())
        try:
            async with asyncio.timeout(LIST_TIMEOUT_SECONDS):
                seen = await self._runtime.list_owned()
        except (RuntimeFailure, TimeoutError, OSError) as error:
            return [], False, str(error) or "The engine did not list its containers in time."
        turns = asyncio.Semaphore(LOOKS)
        thorough = thorough or not self._looked_at_all

        async def settle(report: ContainerReport) -> ContainerReport | None:
            async with turns, self._locks.setdefault(report.container_id, asyncio.Lock()):
                return await self._from_listing(report, begun, cause, thorough=thorough)

        reports = [report for report in await asyncio.gather(*map(settle, seen)) if report is not None]
        self._looked_at_all = True
        for container_id in known_before - {report.container_id for report in seen}:
            if not self.busy(container_id):
                await self._look_again(container_id)
        # Made, or at work on, since the engine was asked: not to be named would say that they are gone. (No await from here on: this is as of now.)
        named = {report.container_id for report in seen}
        for container_id, known in self._outbox.known_containers().items():
            if container_id not in named and known.report is not None and known.report.state != "removed":
                reports.append(known.report)
        return reports, True, ""

    async def _from_listing(self, listed: ContainerReport, begun: float, cause: Cause, *, thorough: bool) -> ContainerReport | None:
        """A listing tells less than an inspection (no times): where it agrees with what is known that stands, else it is looked at."""
        container_id = listed.container_id
        known = self._outbox.known(container_id)
        before = known.report if known else None
        if before is not None and (self.busy(container_id) or self._looked_at.get(container_id, -1e9) > begun):
            return before  # somebody has looked since: that is newer than the listing
        (self.running.add if listed.state in ("running", "paused") else self.running.discard)(container_id)
        self.watcher(container_id, listed.state)
        if before is not None and not thorough and _agree(listed, before):
            return msgspec.structs.replace(before, last_log_seq=await self._logs.last_seq(container_id))
        try:
            seen = await self.look(container_id)
        except (RuntimeFailure, OSError):
            return before or listed
        if seen is None:
            await self._note_gone(container_id, self._cause_of(None, container_id, ""))
            return None
        if seen.state == "running" and (before is None or before.state != "running"):
            await self._logs.attach(container_id)  # somebody else has started it, and we missed that
        return await self._note(seen, self._listed_cause(seen, cause))

    def _listed_cause(self, report: ContainerReport, hint: Cause) -> Cause:
        known = self._outbox.known(report.container_id)
        if known is None or known.report is None or known.report.state == report.state:
            return known.report.cause if known and known.report else ""
        if report.state == "exited" and not hint and not self._died_with_engine(report):
            by_signal = report.exit_code in (137, 143) and not report.oom_killed
            return self._cause_of(report, report.container_id, "external" if by_signal else "exit")
        return self._cause_of(report, report.container_id, hint)

    async def snapshot(self, cause: Cause = "") -> Snapshot:
        """A listing as a message; thorough where something may have been missed."""
        reports, complete, error = await self.listing(cause, thorough=bool(cause))
        return Snapshot(snapshot_id=str(uuid.uuid4()), complete=complete, containers=reports, error=error)
