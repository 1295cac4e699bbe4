"""Does the engine answer? Asked every few seconds, so that the panel knows within 15 s when it does not (SECURITY R12, R13)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from agent.runtimes.base import EngineInfo, Runtime, RuntimeFailure

log = logging.getLogger(__name__)

PROBE_SECONDS = 3.0
PROBE_TIMEOUT_SECONDS = 4.0
FAILURES_BEFORE_DOWN = 2
"""One slow answer is no outage."""


class EngineWatch:
    """`error` is "" while the engine answers. `on_change(up)` is awaited when that changes."""

    def __init__(self, runtime: Runtime, *, on_change: Callable[[bool], Awaitable[None]]) -> None:
        self._runtime = runtime
        self._on_change = on_change
        self._failures = 0
        self.info: EngineInfo | None = None
        self.error = ""

    @property
    def up(self) -> bool:
        return not self.error

    async def probe(self) -> bool:
        """Ask once; True if it answered."""
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                self.info = await self._runtime.info()
        except (RuntimeFailure, TimeoutError, OSError) as error:
            self._failures += 1
            if self._failures >= FAILURES_BEFORE_DOWN and not self.error:
                self.error = str(error) or f"It did not answer within {PROBE_TIMEOUT_SECONDS:g} s."
                log.error("engine is down", extra={"reason": self.error})
                await self._on_change(False)
            return False
        self._failures = 0
        if self.error:
            self.error = ""
            log.info("engine is back")
            await self._on_change(True)
        return True

    async def run(self) -> None:
        """For ever."""
        while True:
            await self.probe()
            await asyncio.sleep(PROBE_SECONDS if self._failures == 0 else 1.0)
