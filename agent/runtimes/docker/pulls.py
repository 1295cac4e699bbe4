"""Pulls of one node: a few at a time, and never so many bytes that its disk is left without room (SECURITY J07)."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from agent.protocol.messages import RegistryAuth
from agent.runtimes.base import ProgressCallback, PullProgress, RuntimeFailure
from agent.runtimes.docker import images
from agent.runtimes.docker.wire import Wire
from agent.runtimes.policy import LocalPolicy

MIB = 1024 * 1024


class PullDesk:
    """The only door to the engine's pull. The floor and the number at a time are the node's own policy; the panel can't loosen them."""

    def __init__(self, wire: Wire, policy: LocalPolicy, *, is_local: bool) -> None:
        self._wire = wire
        self._floor_percent = policy.image_disk_floor_percent
        self._places = asyncio.Semaphore(policy.pulls_at_once)
        self._is_local = is_local
        self.storage_root = ""
        """Where the engine keeps images, as it says itself."""

    def room(self) -> tuple[int, int]:
        """(total, free) bytes of the engine's disk; (0, 0) where this agent can't see it, and then nothing is refused."""
        if not self._is_local or not self.storage_root or not Path(self.storage_root).is_dir():
            return 0, 0
        try:
            usage = shutil.disk_usage(self.storage_root)
        except OSError:
            return 0, 0
        return usage.total, usage.free

    def _check(self, image: str, coming_bytes: int = 0) -> None:
        """Raises `disk_full` if the floor is reached, or would be with the bytes that are still to come."""
        total, free = self.room()
        floor = int(total * self._floor_percent / 100)
        if not total or free - coming_bytes >= floor:
            return
        coming = f"; {image} brings {coming_bytes // MIB} MiB more" if coming_bytes else ""
        raise RuntimeFailure(
            "disk_full",
            f"The node's disk has {free // MIB} MiB free of {total // MIB} MiB{coming}, and {self._floor_percent:g} % stay free of images: "
            "remove images that nothing uses, or choose another node.",
        )

    async def pull(self, image: str, *, auth: RegistryAuth | None, progress: ProgressCallback | None, timeout_seconds: float) -> None:
        """In line behind the others; the time limit counts from its turn. Raises as `images.pull`, and `disk_full` by the floor.

        How many bytes come is told by the registry layer by layer: a pull that turns out too large is broken off, and the engine drops it.
        """
        self._check(image)

        def tell(pulled: PullProgress) -> None:
            self._check(image, max(0, pulled.total_bytes - pulled.done_bytes))
            if progress is not None:
                progress(pulled)

        if progress is not None and self._places.locked():
            progress(PullProgress(done_bytes=0, total_bytes=0, message="Waits for other pulls of this node"))
        async with self._places:
            self._check(image)
            await images.pull(self._wire, image, auth=auth, progress=tell, timeout_seconds=timeout_seconds)
