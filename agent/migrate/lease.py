"""A node that has not heard of its panel for so long that its containers may be started elsewhere stops them by itself (docs/adr/0017).

The panel waits twice as long before it does so, so that whoever is right about the network, no container runs twice. Counted from the last frame
heard, over restarts of the agent too; an agent that is not started again can't stop anything (see docs/operations/moving.md).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable

from agent.outbox import Outbox

log = logging.getLogger(__name__)

TICK_SECONDS = 1.0
NOTE_SECONDS = 10.0


class Lease:
    """`stop` is called once each time that it runs out, and again every so often while the panel stays away (somebody may start things by hand)."""

    def __init__(self, outbox: Outbox, *, stop: Callable[[], Awaitable[None]]) -> None:
        self._outbox = outbox
        self._stop = stop
        self.seconds = 0.0
        """0 = there is none: what runs goes on."""
        self._heard_before = 0.0

    async def load(self) -> None:
        """Once, when the outbox is open."""
        with contextlib.suppress(ValueError):
            self.seconds = float(await self._outbox.get("lease_seconds") or 0)
            self._heard_before = float(await self._outbox.get("heard_at_unix") or 0)

    async def take(self, seconds: float) -> None:
        """As the panel says at each welcome."""
        if seconds != self.seconds:
            self.seconds = max(0.0, seconds)
            await self._outbox.put("lease_seconds", str(self.seconds))

    async def run(self, heard: Callable[[], float]) -> None:
        """For ever. `heard`: when the panel was last heard of, by the monotonic clock; 0 = no session now."""
        silent = time.time() - self._heard_before if self._heard_before else 0.0
        last = time.clock_gettime(time.CLOCK_BOOTTIME) - max(0.0, min(silent, self.seconds))
        noted = stopped = 0.0
        while True:
            await asyncio.sleep(TICK_SECONDS)
            now = time.clock_gettime(time.CLOCK_BOOTTIME)
            at = heard()
            if at:
                last = max(last, now - (time.monotonic() - at))
            if self.seconds <= 0:
                continue
            if at and now - noted >= NOTE_SECONDS:
                noted = now
                await self._outbox.put("heard_at_unix", str(time.time() - (now - last)))
            if now - last > self.seconds and now - stopped > self.seconds / 2:
                stopped = now
                log.warning("nothing heard of the panel for too long: what runs here is stopped", extra={"seconds": round(now - last)})
                try:
                    await self._stop()
                except Exception:  # it must be tried again, whatever the engine did
                    log.exception("containers could not be stopped")
                    stopped = 0.0
