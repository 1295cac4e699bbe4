"""How much a container's folder may still take: counted while it is written, by all who write at the same time (SECURITY B10)."""

from __future__ import annotations

import threading
import time

from agent.files.beneath import FileRefused
from agent.files.tree import Tree

FRESH_SECONDS = 10.0
LOOKING_SHARE = 20
"""A folder is counted again after so many times what counting it took: of a huge one that is more than FRESH_SECONDS."""
FLOOR_BYTES = 64 * 1024 * 1024
"""So much of the node's disk is never taken."""


class Purse:
    """One container's. `spend` may be called from several threads: each counts before it writes."""

    def __init__(self) -> None:
        self.used = 0
        self.entries = 0
        self.free = 0
        self.quota = 0
        self._old_at = -1e9
        self._spent = 0
        self._held = 0
        self._lock = threading.Lock()
        self._counting = threading.Lock()

    def look(self, tree: Tree, *, quota: int) -> None:
        """Count anew if what we know is old: the container writes, too. The disk is asked each time, since everybody fills it. Blocking."""
        self.quota = quota
        if time.monotonic() >= self._old_at and self._counting.acquire(blocking=self._old_at < 0):
            try:
                self._count(tree)
            finally:
                self._counting.release()
        self.free = tree.free_bytes()

    def _count(self, tree: Tree) -> None:
        if time.monotonic() < self._old_at:  # another thread has, while this one waited
            return
        began, before = time.monotonic(), self._spent
        used, entries = tree.usage()
        took = time.monotonic() - began
        with self._lock:
            # What was spent while we counted may have been seen or not: it counts, if need be twice until the next time.
            self.used, self.entries = used + self._held + self._spent - before, entries
        self._old_at = time.monotonic() + max(FRESH_SECONDS, LOOKING_SHARE * took)

    def stale(self) -> None:
        """Something was removed."""
        self._old_at = -1e9

    def hold(self, count: int) -> None:
        """So many bytes (less, if negative) lie in files that have no name yet, where no counting finds them."""
        with self._lock:
            self._held += count

    def left(self) -> int:
        """Bytes that may still be written."""
        room = max(0, self.free - FLOOR_BYTES)
        return min(room, max(0, self.quota - self.used)) if self.quota else room

    def spend(self, count: int) -> None:
        """Raises FileRefused `quota_exceeded`, `disk_full`."""
        with self._lock:
            if self.quota and self.used + count > self.quota:
                raise FileRefused(
                    "quota_exceeded",
                    f"The container's files may take {self.quota} bytes and take {self.used}: delete something, or raise its disk limit.",
                )
            if count > self.free - FLOOR_BYTES:
                raise FileRefused("disk_full", "The node's disk is full.")
            self._spent += count
            self.used += count
            self.free -= count
