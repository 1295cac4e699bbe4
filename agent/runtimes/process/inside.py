"""The inside of a process container: what carries its mark, and its data folder."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

from agent.protocol.inside import ProcessInfo
from agent.runtimes import procfs
from agent.runtimes.base import RuntimeFailure
from agent.runtimes.inside import Place
from agent.runtimes.process.folders import Folders, Made, Run
from agent.runtimes.process.place import MARK

EXEC_MARK = "LORMAS_EXEC"
RUN_MARK = ""
"""Of this life of the agent: what carries another one was started by an agent that is gone."""


def _begin() -> None:
    global RUN_MARK
    RUN_MARK = uuid.uuid4().hex


_begin()
os.register_at_fork(after_in_child=_begin)


def carries(pid: int, mark: bytes) -> bool:
    try:
        return mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False


class ProcessInside:
    """See `agent.runtimes.inside.Inside`."""

    def __init__(self, folders: Folders, need: Callable[[str], Awaitable[Made]], running: Callable[[str], Awaitable[Run | None]]) -> None:
        self._folders = folders
        self._need = need
        self._running = running

    async def _mark(self, container_id: str) -> bytes:
        await self._need(container_id)
        if await self._running(container_id) is None:
            raise RuntimeFailure("not_running", "The container does not run.")
        return f"{MARK}={container_id}".encode()

    async def processes(self, container_id: str) -> list[ProcessInfo]:
        mark = await self._mark(container_id)
        return await asyncio.to_thread(procfs.snapshot, lambda pid: carries(pid, mark), own_users=True, exec_mark=f"{EXEC_MARK}=".encode())

    async def signal(self, container_id: str, pid: int, signal: str) -> None:
        number = procfs.signal_number(signal)
        mark = await self._mark(container_id)
        await asyncio.to_thread(procfs.send, lambda found: carries(found, mark), pid, number)

    async def place(self, container_id: str) -> Place:
        made = await self._need(container_id)
        folder = self._folders.data_of(container_id)
        target = next((mount.target for mount in made.spec.mounts if mount.kind == "data"), "/")
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True, mode=0o700)
        return Place(folder, target, (os.geteuid(), os.getegid()))

    async def end_orphans(self) -> int:
        """An exec's own command dies with the agent (PR_SET_PDEATHSIG); what that had started does not, but carries the mark of its agent's life."""
        return await asyncio.to_thread(_end_orphans, set(await asyncio.to_thread(self._folders.ids)))


def _end_orphans(ours: set[str]) -> int:
    ended = 0
    for pid in procfs.pids():
        with contextlib.suppress(OSError):
            pairs = (word.partition(b"=") for word in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"))
            marks = {name: value.decode("ascii", "replace") for name, _, value in pairs if name in (EXEC_MARK.encode(), MARK.encode())}
            run = marks.get(EXEC_MARK.encode(), "")
            if run and run != RUN_MARK and marks.get(MARK.encode()) in ours:
                os.kill(pid, signal.SIGKILL)
                ended += 1
    return ended
