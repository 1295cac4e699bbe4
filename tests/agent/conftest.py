"""An agent's inside without its link: what it would send is kept in a list."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from agent.acts import Acts
from agent.dispatcher import Dispatcher
from agent.engine import EngineWatch
from agent.outbox import Outbox
from agent.protocol import messages as wire
from agent.protocol.commands import CreatePayload
from agent.reconcile import Reconciler
from tests.agent.tiny import TinyLogs, TinyRuntime


class Inside:
    """Outbox, reconciler and dispatcher on a tiny runtime."""

    def __init__(self, folder: Path, runtime: TinyRuntime, logs: TinyLogs) -> None:
        self.folder = folder
        self.runtime = runtime
        self.logs = logs
        self.sent: list[wire.Frame] = []
        self.outbox = Outbox(folder / "journal.sqlite3")

        async def changed(up: bool) -> None:
            pass

        self.engine = EngineWatch(runtime, on_change=changed)
        self.reconciler = Reconciler(runtime=runtime, outbox=self.outbox, logs=logs, engine=self.engine, emit=self.sent.append)
        self.dispatcher = Dispatcher(outbox=self.outbox, acts=Acts(runtime, logs), reconciler=self.reconciler, emit=self.sent.append)
        self.reconciler.busy = self.dispatcher.busy

    def of(self, kind: type) -> list[Any]:
        return [message for message in self.sent if isinstance(message, kind)]

    def result(self, command_id: str) -> wire.Result | None:
        return next((r for r in self.of(wire.Result) if r.command_id == command_id), None)

    async def settled(self, command: wire.Command, seconds: float = 60) -> wire.Result:
        await self.until(lambda: self.result(command.id), seconds)
        found = self.result(command.id)
        assert found is not None
        return found

    async def until(self, check: Callable[[], Any], seconds: float = 60) -> Any:
        end = time.monotonic() + seconds
        while not (found := check()):
            assert time.monotonic() < end, f"not within {seconds} s; sent: {self.sent}; calls: {self.runtime.calls}"
            await asyncio.sleep(0.005)
        return found

    async def run(self, command: wire.Command) -> wire.Result:
        await self.dispatcher.receive(command)
        return await self.settled(command)


Open = Callable[..., Any]


@pytest.fixture
def inside(tmp_path: Path) -> Open:
    """`async with inside() as i`; the same folder and runtime again are what a restarted agent finds."""

    @contextlib.asynccontextmanager
    async def make(runtime: TinyRuntime | None = None, logs: TinyLogs | None = None) -> AsyncIterator[Inside]:
        made = Inside(tmp_path, runtime or TinyRuntime(), logs or TinyLogs())
        await made.outbox.open()
        try:
            yield made
        finally:
            await made.dispatcher.close()
            await made.outbox.close()

    return make


def spec_of(container_id: str, image: str = "busybox") -> wire.ContainerSpec:
    return wire.ContainerSpec(container_id=container_id, name="x", image=image)


def command_of(kind: str, container_id: str = "", *, epoch: int = 1, deadline_seconds: float = 60, payload: Any = None) -> wire.Command:
    container_id = container_id or str(uuid.uuid4())
    if payload is None and kind == "container.create":
        payload = CreatePayload(spec=spec_of(container_id))
    import msgspec

    return wire.Command(
        id=str(uuid.uuid4()),
        kind=kind,
        epoch=epoch,
        container_id=container_id,
        deadline_unix=time.time() + deadline_seconds,
        payload=msgspec.to_builtins(payload) if payload is not None else {},
    )
