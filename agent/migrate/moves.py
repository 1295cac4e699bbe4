"""What a node does for a container that moves: have its place ready, hand its files over, take them in, read them for comparison.

Safe to run again after a death half-way. A container that is here, or files that are not of this move, are never written over.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

from agent import crash
from agent.files.desk import FileDesk
from agent.files.transfers import Outlet, Pipe
from agent.migrate import receiver, records
from agent.protocol import moving as ask
from agent.runtimes.base import Runtime, RuntimeFailure

Progress = Callable[[int, str], None]
FEED_BYTES = 1024 * 1024


class Numbers(Protocol):
    """The part of `agent.logs.LogService` that is needed here."""

    async def go_on_behind(self, container_id: str, seq: int) -> None: ...


class Moves:
    """`folder` is where notes about copies that come in are kept."""

    def __init__(self, runtime: Runtime, logs: Numbers, desk: FileDesk, folder: Path) -> None:
        self._runtime = runtime
        self._logs = logs
        self._desk = desk
        self._folder = folder

    def _file(self, container_id: str) -> Path:
        return self._folder / f"{container_id}.json"

    async def forget(self, container_id: str) -> None:
        """It is here, or gone for good: no copy is on its way any more."""
        await self._desk.thread(lambda: self._file(container_id).unlink(missing_ok=True))

    # -------------------------------------------------------------------------------------------------------------- coming

    async def receive(self, container_id: str, payload: ask.ReceivePayload, *, ready_image: Callable[[], Awaitable[None]]) -> dict[str, Any]:
        """See `ReceivePayload`. Raises RuntimeFailure."""
        self._need()
        await self._nobody_here(container_id)
        note = await self._desk.thread(receiver.read_note, self._file(container_id))
        there = await self._runtime.data.folder(container_id)
        if note is None and there is not None and await self._desk.thread(lambda: any(there.iterdir())):
            raise RuntimeFailure("in_use", "Files of this container from earlier are kept on the node: remove that old copy first.")
        await ready_image()
        if note is None or note.move != payload.move:
            # The note first: from now on the folder is a copy that may be thrown away.
            await self._desk.thread(receiver.write_note, self._file(container_id), receiver.Note(payload.move))
            if there is not None:
                await self._desk.thread(receiver.empty, there)
        place = await self._runtime.data.make(container_id)
        crash.point("move_received")
        await self._logs.go_on_behind(container_id, payload.log_seq)
        found = await self._desk.thread(os.statvfs, place)
        return {"free_bytes": found.f_bavail * found.f_frsize}

    async def take(self, container_id: str, asked: ask.TreeWrite, pipe: Pipe) -> dict[str, Any]:
        """Bulk `tree.write`."""
        self._need()
        await self._nobody_here(container_id)
        file = self._file(container_id)
        note = await self._desk.thread(receiver.read_note, file)
        place = await self._runtime.data.folder(container_id)
        if note is None or note.move != asked.move or place is None:
            raise RuntimeFailure("not_found", "Nothing was made ready for this move.")
        if asked.fresh:
            note = receiver.Note(asked.move)
            await self._desk.thread(receiver.write_note, file, note)
            await self._desk.thread(receiver.empty, place)
        taking = await self._desk.thread(receiver.Receiver, place, file, note)
        try:
            await pipe.head({"path": note.path, "offset": note.offset, "bytes": note.bytes, "begun": note.begun})
            waiting = bytearray()
            async for data in pipe.content():
                waiting += data
                if len(waiting) >= FEED_BYTES:
                    await self._desk.thread(taking.feed, bytes(waiting))
                    waiting.clear()
                    crash.point("move_taking")
            await self._desk.thread(taking.feed, bytes(waiting))
            await self._desk.thread(taking.finish)
            return {"bytes": note.bytes, "entries": note.entries}
        finally:
            await asyncio.shield(self._desk.thread(taking.close))

    async def _nobody_here(self, container_id: str) -> None:
        if await self._runtime.inspect(container_id) is not None:
            raise RuntimeFailure("in_use", "An old copy of this container is kept on the node: remove it there first.")

    # --------------------------------------------------------------------------------------------------------------- going

    async def hand_over(self, container_id: str, asked: ask.TreeRead, pipe: Pipe) -> dict[str, Any]:
        """Bulk `tree.read`."""
        with await self._still(container_id) as root:
            entries, size = await self._desk.thread(records.count, root)
            await pipe.head({"entries": entries, "bytes": size})
            sink = Outlet(pipe, asyncio.get_running_loop())

            def work() -> None:
                records.send(root, sink, path=bytes.fromhex(asked.path), offset=asked.offset)
                sink.flush()

            await self._desk.whole(work, stop=sink.close, seconds=10)
        return {"entries": entries, "bytes": size}

    async def digest(self, container_id: str, payload: ask.DigestPayload, *, progress: Progress) -> dict[str, Any]:
        """See `DigestPayload`. Raises RuntimeFailure."""
        loop = asyncio.get_running_loop()
        with await self._still(container_id) as root:
            _, size = await self._desk.thread(records.count, root)

            def tell(done: int) -> None:
                loop.call_soon_threadsafe(progress, 100 * done // max(1, size), "Reading its files")

            crash.point("move_digest")
            found, entries, done = await self._desk.thread(lambda: records.digest(root, owners=payload.owners, progress=tell))
        return {"digest": found, "entries": entries, "bytes": done}

    async def _still(self, container_id: str) -> _Opened:
        """Its folder, while nothing of it runs."""
        self._need()
        there = await self._runtime.inspect(container_id)
        if there is not None and there.state not in ("created", "exited"):
            raise RuntimeFailure("running", f"The container is {there.state} here: its files don't hold still.")
        place = await self._runtime.data.folder(container_id)
        if place is None:
            raise RuntimeFailure("not_found", "The container has no folder of its own on this node.")
        return _Opened(await self._desk.thread(os.open, place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))

    def _need(self) -> None:
        if "move" not in self._runtime.capabilities:
            raise RuntimeFailure("unsupported", "The agent can't reach the folders of its containers: run it on the engine's machine as root.")


class _Opened:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def __enter__(self) -> int:
        return self._descriptor

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)
