"""A node played in-process: it answers `logs.read` over real Redis and ships live batches, as badly as a test wants."""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agent.protocol.frames import LogFrame, pack_log
from lormas.common import live
from tests.nodes.rig import Panel, panel_of_a_module

panel_process = panel_of_a_module()


@pytest.fixture
def panel(transactional_db: None, panel_process: Panel) -> Panel:
    """A real daphne on the test's database; `said` is what it wrote in this test."""
    if not panel_process.alive:
        panel_process.start()
    panel_process.mark()
    return panel_process


class PlayedNode:
    """Holds a log and ships it."""

    def __init__(self) -> None:
        self.node_id = uuid.uuid4()
        self.container_id = str(uuid.uuid4())
        self.lines: list[list[Any]] = []
        self.reads = 0
        self.watches = 0
        self.refusals = 0
        self.cleared = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._tap = await live.hub().tap(f"node:{self.node_id}")
        self._task = asyncio.create_task(self._serve())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        await self._tap.close()

    async def _serve(self) -> None:
        async for raw in self._tap:
            question = json.loads(raw)
            if question["op"] == "watch":
                self.watches += 1
            if question["op"] == "rpc" and question["kind"] == "logs.read":
                self.reads += 1
                if self.refusals:
                    self.refusals -= 1
                    await live.hub().reply(question["reply"], {"ok": False, "error": {"code": "link_lost", "detail": "The link broke."}})
                    continue
                await live.hub().reply(question["reply"], {"ok": True, "data": self.read(**question["payload"])})

    def read(self, *, after: int = -1, tail: int = 0, limit: int = 1000, **_: Any) -> dict[str, Any]:
        last = self.lines[-1][0] if self.lines else 0
        found = [line for line in self.lines if line[0] > max(after, self.cleared)][:limit] if after >= 0 else self.lines[-tail:] if tail else []
        return {"lines": found, "first_seq": 1, "last_seq": last, "more": bool(found) and found[-1][0] < last, "gaps": []}

    def write(self, count: int, *, stream: str = "application") -> LogFrame:
        """Add lines to the store; the batch that would be shipped."""
        begin = len(self.lines) + 1
        batch = [[seq, "2026-01-01T00:00:00.000000Z", stream, f"line {seq}"] for seq in range(begin, begin + count)]
        self.lines += batch
        return LogFrame(str(uuid.uuid4()), self.container_id, begin, begin + count - 1, count, json.dumps(batch, separators=(",", ":")).encode())

    async def ship(self, frame: LogFrame) -> None:
        await live.hub().publish(f"log:{self.container_id}", pack_log(frame))


@pytest.fixture
async def shipper() -> AsyncIterator[PlayedNode]:
    played = PlayedNode()
    await played.start()
    yield played
    await played.stop()
    await live.hub().close()


class Viewer:
    """Collects what a browser would get."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.changed = asyncio.Event()
        self.pace = 0.0

    async def send(self, data: bytes) -> None:
        if self.pace:
            await asyncio.sleep(self.pace)
        self.messages.append(json.loads(data))
        self.changed.set()

    @property
    def seqs(self) -> list[int]:
        return [line[0] for m in self.messages if m["type"] == "log" for line in m["lines"]]

    async def until(self, count: int, seconds: float = 60) -> None:
        async with asyncio.timeout(seconds):
            while len(self.seqs) < count:
                self.changed.clear()
                await self.changed.wait()


@pytest.fixture
def viewer() -> Viewer:
    return Viewer()
