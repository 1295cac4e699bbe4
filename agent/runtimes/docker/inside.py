"""The inside of an engine's container, seen from its machine: processes by its cgroup, files by its volume or its root."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal as signals
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from agent.protocol.inside import ProcessInfo
from agent.runtimes import procfs
from agent.runtimes.base import RuntimeFailure
from agent.runtimes.docker.options import volume_name
from agent.runtimes.docker.terminal import MARK
from agent.runtimes.inside import Place

FindItem = Callable[[str], Awaitable[dict[str, Any] | None]]
ListRefs = Callable[[], Awaitable[list[str]]]


def in_cgroup(pid: int, ref: str) -> bool:
    try:
        return pid > 1 and ref in Path(f"/proc/{pid}/cgroup").read_text()
    except OSError:
        return False


class DockerInside:
    """See `agent.runtimes.inside.Inside`. `run_mark` tells this life of the agent from earlier ones."""

    def __init__(self, find: FindItem, refs: ListRefs, *, run_mark: str) -> None:
        self._find = find
        self._refs = refs
        self._run_mark = run_mark

    async def _item(self, container_id: str) -> dict[str, Any]:
        item = await self._find(container_id)
        if item is None:
            raise RuntimeFailure("no_such_container", "The container is not on this node.")
        return item

    async def _running(self, container_id: str) -> str:
        """The engine's id, if its processes can be seen from here."""
        item = await self._item(container_id)
        if not item["State"].get("Running"):
            raise RuntimeFailure("not_running", "The container does not run.")
        ref, pid = str(item["Id"]), int(item["State"].get("Pid") or 0)
        if not await asyncio.to_thread(in_cgroup, pid, ref):
            raise RuntimeFailure("unsupported", "The agent can't see the engine's processes: run it on the same machine, outside of a container.")
        return ref

    async def processes(self, container_id: str) -> list[ProcessInfo]:
        ref = await self._running(container_id)
        return await asyncio.to_thread(procfs.snapshot, lambda pid: in_cgroup(pid, ref), own_users=False, exec_mark=f"{MARK}=".encode())

    async def signal(self, container_id: str, pid: int, signal: str) -> None:
        number = procfs.signal_number(signal)
        ref = await self._running(container_id)
        await asyncio.to_thread(procfs.send, lambda found: in_cgroup(found, ref), pid, number)

    async def place(self, container_id: str) -> Place:
        item = await self._item(container_id)
        for mount in item.get("Mounts") or []:
            if mount.get("Type") == "volume" and mount.get("Name") == volume_name(container_id):
                folder = Path(str(mount.get("Source", "")))
                if not await asyncio.to_thread(_is_usable, folder):
                    raise RuntimeFailure(
                        "unsupported", "The agent can't reach the engine's volumes: run it on the same machine as root, or mount them into it."
                    )
                found = await asyncio.to_thread(folder.stat)
                return Place(folder, str(mount.get("Destination") or "/"), (found.st_uid, found.st_gid))
        if not item["State"].get("Running"):
            raise RuntimeFailure(
                "not_running", "This container has no data folder of its own; its files can be reached while it runs: start it first."
            )
        ref, pid = str(item["Id"]), int(item["State"].get("Pid") or 0)
        folder = Path(f"/proc/{pid}/root")
        if not await asyncio.to_thread(in_cgroup, pid, ref) or not await asyncio.to_thread(_is_usable, folder):
            raise RuntimeFailure("unsupported", "The agent can't see the container's file system: run it on the engine's machine as root.")
        return Place(folder, "/", None, is_whole=True, still_good=lambda: in_cgroup(pid, ref))

    async def end_orphans(self) -> int:
        refs = await self._refs()
        return await asyncio.to_thread(self._end_orphans, refs) if refs else 0

    def _end_orphans(self, refs: list[str]) -> int:
        ended = 0
        mark, mine = f"{MARK}=".encode(), f"{MARK}={self._run_mark}".encode()
        for pid in procfs.pids():
            try:
                environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            except OSError:
                continue
            carried = next((part for part in environment if part.startswith(mark)), None)
            if carried is not None and not carried.startswith(mine) and any(in_cgroup(pid, ref) for ref in refs):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signals.SIGKILL)
                    ended += 1
        return ended


def _is_usable(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.R_OK | os.X_OK)
