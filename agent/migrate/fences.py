"""Containers that must not run here, because they live elsewhere by now (SECURITY R39). Kept on disk."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Iterable

from agent.outbox import Outbox
from agent.protocol.messages import StopSpec
from agent.runtimes.base import Runtime, RuntimeFailure

log = logging.getLogger(__name__)

STOP_SECONDS = 30.0
WANTS_RUNNING = frozenset({"container.create", "container.install", "container.start", "container.restart", "container.unpause"})
_NAME = "fences"


class Fences:
    """By container the placement epoch that is over. `raise_` before anything else is done for a panel that names one."""

    def __init__(self, runtime: Runtime, outbox: Outbox) -> None:
        self._runtime = runtime
        self._outbox = outbox
        self._over: dict[str, int] = {}
        self._stopping: dict[str, asyncio.Task[None]] = {}

    async def load(self) -> None:
        """Once, when the outbox is open."""
        with contextlib.suppress(ValueError):
            self._over = {str(key): int(epoch) for key, epoch in json.loads(await self._outbox.get(_NAME) or "{}").items()}

    async def _save(self) -> None:
        await self._outbox.put(_NAME, json.dumps(self._over))

    def holds(self, container_id: str) -> bool:
        return container_id in self._over

    async def raise_(self, container_ids: Iterable[str], *, epoch: int | None = None) -> None:
        """These must not run here any more: on disk first, then stopped. `epoch` None: the highest that is known of each is over."""
        ids = list(container_ids)
        for container_id in ids:
            known = self._outbox.known(container_id)
            self._over[container_id] = max(self._over.get(container_id, 0), (known.epoch if known else 0) if epoch is None else epoch)
        if ids:
            await self._save()
        await asyncio.gather(*(self.stop(container_id) for container_id in ids))

    async def lift(self, container_id: str, *, epoch: int, kind: str) -> bool:
        """A command wants something of it: may it? A higher epoch that wants it running ends the fence."""
        over = self._over.get(container_id)
        if over is None or kind not in WANTS_RUNNING:
            return True
        if epoch <= over:
            return False
        del self._over[container_id]
        await self._save()
        return True

    async def forget(self, container_id: str) -> None:
        """It is gone from here."""
        if self._over.pop(container_id, None) is not None:
            await self._save()

    def seen(self, container_id: str, state: str) -> None:
        """Somebody looked: one that runs although it must not is stopped."""
        if state not in ("running", "paused", "restarting") or container_id not in self._over or container_id in self._stopping:
            return
        task = asyncio.ensure_future(self.stop(container_id))
        self._stopping[container_id] = task
        task.add_done_callback(lambda _: self._stopping.pop(container_id, None))

    async def stop(self, container_id: str) -> None:
        """Ask, then kill; gone is as good."""
        log.warning("container must not run here, stopping it", extra={"container": container_id})
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await self._runtime.stop(container_id, StopSpec())
        except (RuntimeFailure, TimeoutError, OSError) as error:
            log.error("fenced container did not stop, killing it", extra={"container": container_id, "reason": str(error)})
            with contextlib.suppress(RuntimeFailure, TimeoutError, OSError):
                async with asyncio.timeout(STOP_SECONDS):
                    await self._runtime.kill(container_id)
