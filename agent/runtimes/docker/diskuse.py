"""How much of the disk containers' data folders take: walked now and then in the background, never while somebody waits for a sample."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from agent.files import FileRefused
from agent.runtimes.base import RuntimeFailure

EVERY_SECONDS = 60.0


class DiskUse:
    """`measure`: bytes of one container's folder, None where it can't be walked from here (it is not known then). One walk at a time."""

    def __init__(self, measure: Callable[[str], Awaitable[int | None]]) -> None:
        self._measure = measure
        self._known: dict[str, tuple[float, int | None]] = {}
        self._walk: asyncio.Task[None] | None = None

    def of(self, container_ids: list[str]) -> dict[str, int | None]:
        """What is known of these; what is old is walked anew in the background."""
        now = time.monotonic()
        old = [one for one in container_ids if now - self._known.get(one, (-1e9, 0))[0] > EVERY_SECONDS]
        if old and (self._walk is None or self._walk.done()):
            self._walk = asyncio.create_task(self._go(old), name="disk use")
        return {one: self._known[one][1] for one in container_ids if one in self._known}

    def forget(self, container_id: str) -> None:
        self._known.pop(container_id, None)

    async def close(self) -> None:
        if self._walk is not None:
            self._walk.cancel()
            await asyncio.gather(self._walk, return_exceptions=True)

    async def _go(self, container_ids: list[str]) -> None:
        for container_id in container_ids:
            try:
                found = await self._measure(container_id)
            except (RuntimeFailure, FileRefused, OSError):
                found = None
            self._known[container_id] = (time.monotonic(), found)
