"""How much a container's folder may still take: counted while it is written, by all who write at the same time (SECURITY B10)."""

from __future__ import annotations

import time

from agent.files.beneath import FileRefused
from agent.files.tree import Tree

FRESH_SECONDS = 10.0
FLOOR_BYTES = 64 * 1024 * 1024
"""So much of the node's disk is never taken."""


class Purse:
    """One container's. `spend` may be called from several threads: each counts before it writes."""

    def __init__(self) -> None:
        self.used = 0
        self.entries = 0
        self.free = 0
        self.quota = 0
        self._looked_at = -1e9

    def look(self, tree: Tree, *, quota: int) -> None:
        """Count anew if what we know is old. Blocking."""
        self.quota = quota
        if time.monotonic() - self._looked_at < FRESH_SECONDS:
            return
        self.used, self.entries = tree.usage()
        self.free = tree.free_bytes()
        self._looked_at = time.monotonic()

    def stale(self) -> None:
        """Something was removed."""
        self._looked_at = -1e9

    def left(self) -> int:
        """Bytes that may still be written."""
        room = max(0, self.free - FLOOR_BYTES)
        return min(room, max(0, self.quota - self.used)) if self.quota else room

    def spend(self, count: int) -> None:
        """Raises FileRefused `quota_exceeded`, `disk_full`."""
        if self.quota and self.used + count > self.quota:
            raise FileRefused(
                "quota_exceeded",
                f"The container's files may take {self.quota} bytes and take {self.used}: delete something, or raise its disk limit.",
            )
        if count > self.free - FLOOR_BYTES:
            raise FileRefused("disk_full", "The node's disk is full.")
        self.used += count
        self.free -= count
