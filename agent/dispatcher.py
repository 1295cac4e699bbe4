"""Commands: accepted on disk, carried out once, answered until the panel has the answer.

Per container one at a time, at most `PARALLEL` lifecycles in all; `container.kill` overtakes. A repeat of a known command is answered from the
journal. After a death the journal's open commands go on from what the engine shows (SECURITY R04, R18, R21).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from agent import crash
from agent.acts import Acts, Interrupted
from agent.migrate.fences import Fences
from agent.nodeacts import NodeActs
from agent.outbox import Entry, Outbox
from agent.protocol.commands import COMMANDS
from agent.protocol.messages import Ack, Command, ContainerReport, ErrorInfo, Part, Progress, Result
from agent.reconcile import Reconciler
from agent.runtimes.base import RuntimeFailure
from agent.services import Emit

log = logging.getLogger(__name__)

PARALLEL = 4
"""More lifecycles in flight than about twice the cores only add latency (measured: ARCHITECTURE section 4)."""
INSTALLS = 4
"""Install scripts run for minutes: they have places of their own, so that they hold up no start or stop."""
LET_GO_SECONDS = 10.0
PROGRESS_SECONDS = 0.5
RECOVERY_SECONDS = 60.0
"""How long commands found in the journal wait for an engine that does not answer yet."""


@dataclass(slots=True)
class Lane:
    """One container's queue. `verb` is the engine call in flight; it is never torn, only waited for."""

    waiting: deque[Entry] = field(default_factory=deque)
    worker: asyncio.Task[None] | None = None
    act: asyncio.Task[None] | None = None
    current: Entry | None = None
    verb: asyncio.Future[Any] | None = None
    kills: int = 0
    is_given_up: bool = False
    """A person does not want it any more (`Dispatcher.cancel`)."""
    free: asyncio.Event = field(default_factory=asyncio.Event)


class Dispatcher:
    """Takes commands from the link, gives results to it."""

    def __init__(
        self, *, outbox: Outbox, acts: Acts, reconciler: Reconciler, emit: Emit, node_acts: NodeActs | None = None, fences: Fences | None = None
    ) -> None:
        self._fences = fences
        self._outbox = outbox
        self._acts = acts
        self._node_acts = node_acts or NodeActs(acts.runtime)
        self._reconciler = reconciler
        self._emit = emit
        self._lanes: dict[str, Lane] = {}
        self._slots = asyncio.Semaphore(PARALLEL)
        self._install_slots = asyncio.Semaphore(INSTALLS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self.clock_offset = 0.0
        """Panel's clock minus ours, from the last welcome: deadlines are told in the panel's time (R31)."""

    # ----------------------------------------------------------------------------------------------------------- from link

    async def receive(self, command: Command) -> None:
        """Accept (on disk) and acknowledge, or answer again.

        Whoever carries commands is cancelled when the link is cut. What is being accepted then is accepted to its end: one that is on disk and was
        given to no lane would be acknowledged at each repeat, and never be carried out.
        """
        await asyncio.shield(self._spawn(self._take_in(command), f"take in {command.id}"))

    async def _take_in(self, command: Command) -> None:
        if command.kind not in COMMANDS:
            await self._refuse(command, "unknown_command", f"This agent does not know {command.kind[:64]!r}.")
            return
        try:
            _payload(command)
        except msgspec.ValidationError as error:
            await self._refuse(command, "bad_payload", str(error))
            return
        deadline = command.deadline_unix - self.clock_offset if command.deadline_unix else 0.0
        known = await self._outbox.accept(command, deadline_unix=deadline)
        crash.point("after_accept")
        if known is not None and known.settled:
            if known.result is not None:
                self._emit(known.result)
            return
        self._emit(Ack(command_id=command.id))
        if known is None:
            log.info("command accepted", extra={"command": command.id, "kind": command.kind, "container": command.container_id})
            self._schedule(Entry(command, deadline, time.time()))

    async def acknowledged(self, command_id: str) -> None:
        """The panel has the result."""
        await self._outbox.acknowledged(command_id)

    async def recover(self) -> None:
        """Go on with what the journal holds open. Call once, when the runtime is open."""
        for entry in await self._outbox.open_commands():
            if entry.stripped and not await self._reached_engine(entry):
                log.info("command forgotten, the panel sends it again", extra={"command": entry.command.id})
                await self._outbox.forget(entry.command.id)
                continue
            log.info("command recovered", extra={"command": entry.command.id, "kind": entry.command.kind, "begun": bool(entry.running_at_unix)})
            self._schedule(entry)

    async def _reached_engine(self, entry: Entry) -> bool:
        if not entry.command.container_id:
            return False
        there = await self._reconciler.look(entry.command.container_id)
        return there is not None and there.operation_id == entry.command.id

    def busy(self, container_id: str) -> bool:
        """Is a command at work on it (so that what happens to it is our doing)?"""
        lane = self._lanes.get(container_id)
        return lane is not None and (lane.current is not None or lane.kills > 0)

    def cancel(self, command_id: str) -> bool:
        """Give up a pull of the node that goes on or waits for its turn. False: there is none of that id."""
        lane = self._lanes.get(command_id)
        if lane is None or lane.act is None or lane.current is None or lane.current.command.kind != "node.image_pull":
            return False
        lane.is_given_up = True
        lane.act.cancel()
        return True

    async def close(self) -> None:
        """Stop working; what is open stays in the journal."""
        self._closing = True
        tasks = [*self._tasks, *(lane.act for lane in self._lanes.values() if lane.act)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ----------------------------------------------------------------------------------------------------------- the lanes

    def _spawn(self, work: Any, name: str) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _schedule(self, entry: Entry) -> None:
        # What is about the node itself waits for no container, nor for each other.
        container_id = entry.command.container_id or entry.command.id
        lane = self._lanes.setdefault(container_id, Lane())
        if entry.command.kind == "container.kill":
            self._spawn(self._overtake(lane, entry), f"kill {container_id}")
            return
        lane.waiting.append(entry)
        if lane.worker is None or lane.worker.done():
            lane.worker = self._spawn(self._work(container_id, lane), f"lane {container_id}")

    async def _work(self, container_id: str, lane: Lane) -> None:
        while lane.waiting:
            while lane.kills:
                lane.free.clear()
                await lane.free.wait()
            if not lane.waiting:
                break
            entry = lane.waiting.popleft()
            lane.current = entry
            lane.act = asyncio.create_task(self._carry_out(lane, entry), name=f"act {entry.command.id}")
            try:
                await asyncio.wait([lane.act])
                if entry.ending is not None:
                    await asyncio.wait([entry.ending])
            finally:
                lane.current = None
                lane.act = None
                self._reconciler.released(container_id)
        if self._lanes.get(container_id) is lane and not lane.waiting and not lane.kills:
            del self._lanes[container_id]

    async def _overtake(self, lane: Lane, entry: Entry) -> None:
        """Cancel what waits and runs, kill, wait until an engine call in flight has ended, and kill again if that one started it."""
        lane.kills += 1
        try:
            cancelled = [waiting for waiting in lane.waiting if waiting.command.kind != "container.remove"]
            for waiting in cancelled:
                lane.waiting.remove(waiting)
            if lane.act is not None and lane.current is not None and lane.current.command.kind != "container.remove":
                lane.act.cancel()
            for waiting in cancelled:
                await self._settle(waiting, error=ErrorInfo(code="cancelled", detail="A kill overtook it."))
            await self._carry_out(lane, entry, is_kill=True)
        finally:
            lane.kills -= 1
            lane.free.set()
            self._reconciler.released(entry.command.container_id)
            if not lane.kills and not lane.waiting and lane.worker is not None and lane.worker.done():
                self._lanes.pop(entry.command.container_id, None)

    async def _hold(self, lane: Lane, verb: Awaitable[Any]) -> Any:
        """Run an engine verb so that cancelling the act does not tear it: the verb goes on, and `_overtake` waits for it."""
        lane.verb = asyncio.ensure_future(verb)
        lane.verb.add_done_callback(lambda done: done.cancelled() or done.exception())
        return await asyncio.shield(lane.verb)

    # ------------------------------------------------------------------------------------------------------------ one act

    async def _carry_out(self, lane: Lane, entry: Entry, *, is_kill: bool = False) -> None:
        command = entry.command
        told_at = 0.0

        def progress(percent: int, message: str) -> None:
            nonlocal told_at
            now = time.monotonic()
            if now - told_at >= PROGRESS_SECONDS:
                told_at = now
                self._emit(Progress(command_id=command.id, percent=percent, message=message[:200]))

        try:
            error = await self._may_start(entry)
            if error is not None:
                await self._settle(entry, error=error)
                return
            if is_kill:
                data = await self._kill(lane, entry)
            elif command.kind.startswith("node."):
                await self._begin(entry)(None)
                data = await self._node_acts.run(entry, _payload(command), progress=progress)
            else:
                async with self._install_slots if command.kind == "container.install" else self._slots:
                    late = self._too_late(entry)
                    if late is not None:
                        await self._settle(entry, error=late)
                        return
                    data = await self._acts.run(
                        entry, _payload(command), progress=progress, hold=lambda verb: self._hold(lane, verb), begin=self._begin(entry)
                    )
            crash.point("before_result")
            await self._settle(entry, data=data)
        except RuntimeFailure as failure:
            await self._settle(entry, error=failure.info())
        except Interrupted:
            await self._settle(entry, error=ErrorInfo(code="interrupted", detail="The agent died while it was doing this."))
        except asyncio.CancelledError:
            if lane.is_given_up and not self._closing:
                await self._settle(entry, error=ErrorInfo(code="cancelled", detail="It was cancelled."))
                return
            if lane.kills and not self._closing:  # a kill overtook it; else the journal keeps it open for the next start
                await self._settle(entry, error=ErrorInfo(code="cancelled", detail="A kill overtook it."))
                return
            raise
        except Exception as fault:
            log.exception("command failed inside", extra={"command": command.id, "kind": command.kind})
            await self._settle(entry, error=ErrorInfo(code="internal", detail=f"{type(fault).__name__}: see the agent's log."))

    async def _kill(self, lane: Lane, entry: Entry) -> dict[str, Any]:
        payload = _payload(entry.command)

        async def plainly(verb: Awaitable[Any]) -> Any:
            return await verb

        begin = self._begin(entry)
        data = await self._acts.run(entry, payload, progress=lambda percent, message: None, hold=plainly, begin=begin)
        verb = lane.verb
        if verb is not None and not verb.done():
            await asyncio.wait([verb], timeout=LET_GO_SECONDS)
            there = await self._reconciler.look(entry.command.container_id)
            if there is not None and there.state in ("running", "paused", "restarting"):
                begin = self._begin(entry)
        data = await self._acts.run(entry, payload, progress=lambda percent, message: None, hold=plainly, begin=begin)
        return data

    def _begin(self, entry: Entry) -> Callable[[ContainerReport | None], Awaitable[None]]:
        async def begin(there: ContainerReport | None) -> None:
            await self._outbox.mark_running(entry.command.id, started_before=there.started_at if there else "")

        return begin

    def _too_late(self, entry: Entry) -> ErrorInfo | None:
        begun = entry.recovered and entry.running_at_unix
        if entry.deadline_unix and time.time() > entry.deadline_unix and not begun:
            return ErrorInfo(code="expired", detail="Its deadline had passed before it could be started.")
        return None

    async def _may_start(self, entry: Entry) -> ErrorInfo | None:
        late = self._too_late(entry)
        if late is not None:
            return late
        command = entry.command
        known = await self._outbox.note_epoch(command.container_id, command.epoch) if command.container_id else 0
        if command.epoch < known:
            return ErrorInfo(code="stale_epoch", detail=f"Placement epoch {command.epoch} is over, {known} is known here.")
        if self._fences is not None and not await self._fences.lift(command.container_id, epoch=command.epoch, kind=command.kind):
            return ErrorInfo(code="stale_epoch", detail="It lives on another node: here it is kept stopped.")
        if entry.recovered and not await self._reconciler.engine_answers(RECOVERY_SECONDS):
            return ErrorInfo(code="interrupted", detail="The agent was restarted and the engine does not answer.", retryable=True)
        return None

    async def _settle(self, entry: Entry, *, data: dict[str, Any] | None = None, error: ErrorInfo | None = None) -> None:
        """The result on disk, then to the panel. The first ending counts, and nobody tears it: a kill that comes meanwhile (or one more of them) only
        ends the waiting. One torn before it was on disk would leave the command open, to be carried out when the agent starts the next time.
        """
        if entry.ending is None:
            entry.ending = self._spawn(self._end(entry, data=data, error=error), f"end {entry.command.id}")
        await asyncio.shield(entry.ending)

    async def _end(self, entry: Entry, *, data: dict[str, Any] | None, error: ErrorInfo | None) -> None:
        try:
            report = await self._reconciler.observe(entry.command.container_id, cause="command")
            result = Result(command_id=entry.command.id, ok=error is None, error=error, data=data or {}, report=report)
            await self._outbox.settle(result)
        except Exception:
            entry.ending = None  # not ended: whoever finds out may try to
            raise
        crash.point("after_result")
        code = error.code if error else ""
        log.info("command ended", extra={"command": entry.command.id, "kind": entry.command.kind, "ok": error is None, "code": code})
        self._emit(result)

    async def _refuse(self, command: Command, code: str, detail: str) -> None:
        """An answer to what can't be run. Not journalled as a command, but answered the same at each repeat."""
        self._emit(Result(command_id=command.id, ok=False, error=ErrorInfo(code=code, detail=detail[:500])))


def _payload(command: Command) -> Part:
    return msgspec.convert(command.payload, COMMANDS[command.kind])
