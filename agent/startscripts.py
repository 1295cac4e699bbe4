"""Startup scripts of people: run by the container's own shell after each start, their output in the log's stream `startup`.

The start does not wait for them, and their failure does not undo it: the log says how they ended.
"""

from __future__ import annotations

import asyncio
import logging

from agent.logs.lines import LineCutter
from agent.runtimes.base import ExecSession, Runtime, RuntimeFailure
from agent.services import Logs

log = logging.getLogger(__name__)

LIMIT_SECONDS = 3600.0
OUTPUT_LINES = 20_000
"""More lines of one run are not kept; the log says so."""


class StartScripts:
    """At most one script at a time for each container: a new start ends the script of the one before."""

    def __init__(self, runtime: Runtime, logs: Logs, *, limit_seconds: float = LIMIT_SECONDS) -> None:
        self._runtime = runtime
        self._logs = logs
        self._limit = limit_seconds
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def begin(self, container_id: str, script: str) -> None:
        """Start it in the background; an empty script only ends the one before."""
        self.end(container_id)
        if not script.strip():
            return
        task = asyncio.create_task(self._run(container_id, script), name=f"startup script {container_id}")
        self._tasks[container_id] = task
        task.add_done_callback(lambda done: self._tasks.pop(container_id, None) if self._tasks.get(container_id) is done else None)

    def end(self, container_id: str) -> None:
        """No-op if none runs."""
        task = self._tasks.pop(container_id, None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, container_id: str, script: str) -> None:
        try:
            await self._logs.append(container_id, "Running the startup script", stream="events")
            try:
                session = await self._runtime.exec(container_id, ["/bin/sh", "-c", script])
            except RuntimeFailure as failure:
                await self._logs.append(container_id, f"The startup script could not be run: {failure.detail}", stream="events")
                return
            await self._logs.append(container_id, await self._follow(container_id, session), stream="events")
        except (RuntimeFailure, OSError) as fault:
            log.warning("startup script", extra={"container": container_id, "reason": str(fault)})

    async def _follow(self, container_id: str, session: ExecSession) -> str:
        """How it ended, in words."""
        cutters = {"stdout": LineCutter(), "stderr": LineCutter()}
        left = OUTPUT_LINES

        async def keep(lines: list[str]) -> None:
            nonlocal left
            kept = [line if line.strip("\n") else " " for line in lines[:left]]
            left -= len(kept)
            if kept:
                await self._logs.append(container_id, "\n".join(kept), stream="startup")

        ended = False
        try:
            async with asyncio.timeout(self._limit):
                await session.close_stdin()
                async for output in session:
                    await keep(cutters[output.stream].feed(output.data))
                for cutter in cutters.values():
                    await keep(cutter.end())
                code = await session.wait()
                ended = True
        except TimeoutError:
            return f"The startup script was ended: it ran for over {self._limit:g} s."
        finally:
            if not ended:
                await session.kill()
        more = "" if left else f" Of its output the first {OUTPUT_LINES} lines were kept."
        if code is None:
            return f"The startup script ended with its container.{more}"
        return f"The startup script ended with exit code {code}.{more}"
