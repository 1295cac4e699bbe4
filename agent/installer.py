"""Running an install script to its end, over deaths of the agent: what it prints goes into the container's log (stream `startup`), each line
once; its exit code decides (SECURITY R04: a retry takes over what an earlier try left running).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from agent import crash
from agent.logs.lines import LineCutter
from agent.protocol.commands import LogsQuery
from agent.protocol.messages import ContainerSpec
from agent.protocol.parts import InstallScript
from agent.runtimes.base import Runtime, RuntimeFailure
from agent.services import Logs

FLUSH_SECONDS = 0.1
FLUSH_LINES = 500
PAGE = 1000
PROGRESS_EVERY_SECONDS = 1.0
Hold = Callable[[Awaitable[Any]], Awaitable[Any]]
Progress = Callable[[int, str], None]


class Notes(Protocol):
    """Where small facts outlive the agent: `agent.outbox.Outbox`."""

    async def get(self, name: str) -> str: ...

    async def put(self, name: str, value: str) -> None: ...


class InstallLogs(Logs, Protocol):
    """The part of the log service that installing uses."""

    async def read(self, container_id: str, query: LogsQuery) -> dict[str, Any]: ...


class Installer:
    """One for the whole agent."""

    def __init__(self, runtime: Runtime, logs: InstallLogs, notes: Notes) -> None:
        self._runtime = runtime
        self._logs = logs
        self._notes = notes

    async def run(self, spec: ContainerSpec, install: InstallScript, *, operation_id: str, progress: Progress, hold: Hold) -> None:
        """Until it has ended well; the installer itself is left for `end`, as the mark that this operation has installed.

        Raises:
            RuntimeFailure: `install_failed`, and what the runtime's `begin` raises. Nothing is left behind then.
        """
        container_id, installs = spec.container_id, self._runtime.installs
        note = f"install:{container_id}"
        there = await installs.state(container_id)
        begun = (await self._notes.get(note)).partition(" ")
        if there is None or there.operation_id != operation_id or begun[0] != operation_id:
            await hold(installs.end(container_id))
            await self._logs.append(container_id, f"Installing with {install.image}")
            begun = (operation_id, " ", f"{await self._logs.last_seq(container_id)} {time.time():.0f}")
            await self._notes.put(note, "".join(begun))
        since, _, started = begun[2].partition(" ")
        crash.point("before_install")
        await hold(installs.begin(spec, install, operation_id=operation_id))
        crash.point("after_install_begin")
        progress(10, "Installing")
        left = install.timeout_seconds - (time.time() - float(started or time.time()))
        try:
            async with asyncio.timeout(max(1.0, left)):
                await self._carry(container_id, after=int(since or 0), progress=progress)
                state = await self._ended(container_id)
        except TimeoutError:
            await hold(installs.end(container_id))
            raise await self._failed(
                container_id,
                f"The install script did not end within {install.timeout_seconds:g} s and was killed. Its output is in the log, stream startup.",
            ) from None
        if state is None:
            raise await self._failed(container_id, "The installer was removed on the node while it ran.")
        if state.exit_code != 0:
            await hold(installs.end(container_id))
            why = "ran out of memory" if state.oom_killed else f"ended with exit code {state.exit_code}"
            raise await self._failed(container_id, f"The install script {why}. Its output is in the log, stream startup.")
        await self._logs.append(container_id, "Installed")

    async def _failed(self, container_id: str, detail: str) -> RuntimeFailure:
        await self._logs.append(container_id, detail)
        return RuntimeFailure("install_failed", detail)

    async def _ended(self, container_id: str) -> Any:
        """Output ends a moment before the engine takes note of the end."""
        while True:
            state = await self._runtime.installs.state(container_id)
            if state is None or state.exit_code is not None:
                return state
            await asyncio.sleep(0.1)

    async def end(self, container_id: str) -> None:
        """Remove what may be left of an installer; no-op if there is none."""
        await self._runtime.installs.end(container_id)

    async def clear_strangers(self, wanted: set[str]) -> None:
        """After a restart: installers whose operation (`wanted`) is not going on are nobody's any more."""
        with contextlib.suppress(RuntimeFailure):
            for container_id, operation_id in (await self._runtime.installs.all()).items():
                if operation_id not in wanted:
                    await self._runtime.installs.end(container_id)

    # --------------------------------------------------------------------------------------------------------------- output

    async def _stored(self, container_id: str, after: int) -> int:
        """How many lines of this installer an earlier life of the agent has stored."""
        count = 0
        while True:
            page = await self._logs.read(container_id, LogsQuery(streams=["startup"], after=after, limit=PAGE))
            lines = page.get("lines", [])
            count += len(lines)
            if not page.get("more") or not lines:
                return count
            after = lines[-1][0]

    async def _carry(self, container_id: str, *, after: int, progress: Progress) -> None:
        skip = await self._stored(container_id, after)
        cutter = LineCutter()
        pending: list[str] = []
        news = asyncio.Event()
        over = False

        async def flush() -> None:
            while not (over and not pending):
                await news.wait()
                news.clear()
                if not over:
                    await asyncio.sleep(FLUSH_SECONDS)  # many lines, one write
                batch, pending[:] = pending[:], []
                for at in range(0, len(batch), FLUSH_LINES):
                    await self._logs.append(container_id, "\n".join(batch[at : at + FLUSH_LINES]), stream="startup")

        def add(lines: list[str]) -> None:
            nonlocal skip
            fresh = lines[skip:] if skip else lines
            skip = max(0, skip - len(lines))
            if fresh:
                pending.extend(line if line.strip("\n") else " " for line in fresh)  # an entry has something in it
                news.set()
                progress(50, fresh[-1][:150])

        writer = asyncio.create_task(flush())
        try:
            async for data in self._runtime.installs.output(container_id):
                add(cutter.feed(data))
            add(cutter.end())
        finally:
            over = True
            news.set()
            await writer
