"""Files of a container of the process runtime: its data folder is a plain folder of this machine, and all of it is the agent's user's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from agent.files import Beneath, Content, FileRefused
from agent.runtimes.process.folders import Folders

T = TypeVar("T")


class ProcessData:
    """See `agent.runtimes.base.DataFolder`."""

    def __init__(self, folders: Folders) -> None:
        self._folders = folders

    async def _in_folder(self, container_id: str, work: Callable[[Beneath], T]) -> T:
        place = self._folders.data_of(container_id)

        def run() -> T:
            try:
                beneath = Beneath(place)
            except OSError as error:
                raise FileRefused("not_found", "The container has no folder of its own on this node.") from error
            with beneath:
                return work(beneath)

        return await asyncio.to_thread(run)

    async def read(self, container_id: str, path: str, *, max_bytes: int) -> Content | None:
        try:
            return await self._in_folder(container_id, lambda root: root.read(path, max_bytes=max_bytes))
        except FileRefused as refused:
            if refused.code == "not_found":
                return None
            raise

    async def write(self, container_id: str, path: str, data: bytes, *, owner: tuple[int, int] | None = None) -> None:
        await self._in_folder(container_id, lambda root: root.write(path, data))

    async def own(self, container_id: str, *, image: str, always: bool = False) -> None:
        """There are no users to give it to."""

    async def folder(self, container_id: str) -> Path | None:
        place = self._folders.data_of(container_id)
        return place if await asyncio.to_thread(place.is_dir) else None

    async def make(self, container_id: str) -> Path:
        place = self._folders.data_of(container_id)
        await asyncio.to_thread(place.mkdir, parents=True, exist_ok=True, mode=0o700)
        return place

    async def gateway(self) -> str:
        return "127.0.0.1"
