"""Backups for the panel: the bulk kinds `backup.read` and `backup.write`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

from agent.backups import swapping
from agent.backups.packing import Summed, pack
from agent.backups.unpacking import Incoming, Side, Unpacked
from agent.files.beneath import FileRefused
from agent.files.desk import FileDesk, OpenFiles
from agent.files.entries import open_folder
from agent.files.quota import FLOOR_BYTES
from agent.files.transfers import SEND_SECONDS, Outlet, Pipe
from agent.protocol import backups as ask
from agent.protocol.files import FileScope
from agent.runtimes.base import Runtime, RuntimeFailure

log = logging.getLogger(__name__)

PLACE_SECONDS = 20.0
LET_GO_SECONDS = 30.0


class Backups:
    """One at a time per container. `notes`: a folder of the agent's own that tells, over its deaths, where a restore was under way."""

    def __init__(self, desk: FileDesk, runtime: Runtime, notes: Path) -> None:
        self._desk = desk
        self._runtime = runtime
        self._notes = notes
        self._locks: dict[str, asyncio.Lock] = {}
        self._clearing: set[asyncio.Task[None]] = set()

    async def run(self, kind: str, container_id: str, payload: Any, pipe: Pipe) -> dict[str, Any]:
        """Raises RuntimeFailure."""
        lock = self._locks.setdefault(container_id, asyncio.Lock())
        if lock.locked():
            raise RuntimeFailure("busy", "A backup or restore of this container is under way on its node.", retryable=True)
        async with lock:
            if kind == "backup.read":
                return await self._read(container_id, payload, pipe)
            return await self._write(container_id, payload, pipe)

    async def recover(self) -> None:
        """Once after a start, before any command: no container may see half of its old files and half of the new."""
        for note in await self._desk.thread(self._noted):
            try:
                async with asyncio.timeout(PLACE_SECONDS):
                    opened = await self._open(note.name)
                try:
                    if await self._desk.thread(swapping.go_on, opened.tree):
                        log.warning("a restore was finished after a death", extra={"container": note.name})
                finally:
                    opened.tree.close()
            except (RuntimeFailure, TimeoutError) as failure:
                log.warning("a restore can't be finished now", extra={"container": note.name, "reason": str(failure)})
                if isinstance(failure, TimeoutError) or failure.code != "no_such_container":
                    continue
            note.unlink(missing_ok=True)

    async def close(self) -> None:
        """What is being removed goes on at the next start."""
        for task in list(self._clearing):
            task.cancel()
        await asyncio.gather(*self._clearing, return_exceptions=True)

    def _noted(self) -> list[Path]:
        return sorted(self._notes.iterdir()) if self._notes.is_dir() else []

    async def _open(self, container_id: str) -> OpenFiles:
        opened = await self._desk.open(container_id, FileScope())
        if opened.place.is_whole:
            opened.tree.close()
            raise RuntimeFailure(
                "no_data_folder", "This container has no data folder: its files are those of its image. Give it a mount of kind `data` to keep some."
            )
        return opened

    # ---------------------------------------------------------------------------------------------------------------- out

    async def _read(self, container_id: str, asked: ask.BackupRead, pipe: Pipe) -> dict[str, Any]:
        opened = await self._open(container_id)
        try:
            content_bytes, entries = await self._desk.thread(opened.tree.usage)
            await pipe.head({"content_bytes": content_bytes, "entries": entries})
            loop = asyncio.get_running_loop()
            outlet = Outlet(pipe, loop)
            summed = Summed(outlet)

            def tell(done: int) -> None:
                asyncio.run_coroutine_threadsafe(pipe.head({"done_bytes": done}), loop)

            def work() -> dict[str, Any]:
                packed = pack(opened.tree, summed, ignore=asked.ignore, tell=tell)
                outlet.flush()
                return {"files": packed.files, "content_bytes": packed.content_bytes, "left_out": packed.left_out}

            done = await self._desk.whole(work, stop=outlet.close, seconds=LET_GO_SECONDS)
            return {**done, "size_bytes": summed.size_bytes, "sha256": summed.sha256}
        finally:
            opened.tree.close()

    # ----------------------------------------------------------------------------------------------------------------- in

    async def _write(self, container_id: str, asked: ask.BackupWrite, pipe: Pipe) -> dict[str, Any]:
        await self._must_rest(container_id)
        opened = await self._open(container_id)
        inlet: _Inlet | None = None
        try:
            await self._desk.thread(swapping.go_on, opened.tree)
            restore_id = secrets.token_hex(8)
            note = self._notes / container_id
            await self._desk.thread(self._note, note)
            inlet = _Inlet(pipe, asyncio.get_running_loop())
            await pipe.head({})
            try:
                done: Unpacked = await self._desk.whole(
                    lambda: self._unpack(opened, asked, restore_id, inlet), stop=inlet.close, seconds=LET_GO_SECONDS
                )
                await self._must_rest(container_id)
                await self._desk.whole(lambda: self._swap(opened, restore_id), stop=lambda: None, seconds=LET_GO_SECONDS)
            except BaseException:
                with contextlib.suppress(RuntimeFailure):
                    await asyncio.shield(self._desk.thread(self._clear, opened, restore_id, note))
                raise
            opened.purse.stale()
            self._clear_later(container_id, restore_id, note)
            return {"files": done.files, "content_bytes": done.content_bytes}
        finally:
            if inlet is not None:
                inlet.close()
            opened.tree.close()

    async def _must_rest(self, container_id: str) -> None:
        seen = await self._runtime.inspect(container_id)
        if seen is not None and seen.state in ("running", "paused", "restarting"):
            raise RuntimeFailure("running", "The container runs: its files can't be replaced under it. Stop it first.")

    def _note(self, note: Path) -> None:
        self._notes.mkdir(parents=True, exist_ok=True, mode=0o700)
        note.touch()

    def _unpack(self, opened: OpenFiles, asked: ask.BackupWrite, restore_id: str, inlet: _Inlet) -> Unpacked:
        taken = 0

        def spend(count: int) -> None:
            nonlocal taken
            taken += count
            if asked.quota_bytes and taken > asked.quota_bytes:
                raise FileRefused(
                    "quota_exceeded", f"The backup holds more than the {asked.quota_bytes} bytes that the container may have: raise its disk limit."
                )
            if count > opened.tree.free_bytes() - FLOOR_BYTES:  # asked each time: others fill the disk meanwhile
                raise FileRefused("disk_full", "The node's disk has no room for the new files beside the old ones.")

        with opened.tree.hidden(swapping.RESTORES) as restores:
            swapping.begin(restores, restore_id)
            with open_folder(restores, restore_id) as place, open_folder(place, "new") as new:
                incoming = Incoming(inlet.piece)
                side = Side(new, owner=opened.place.owner, spend=spend)
                try:
                    done = side.fill(incoming)
                finally:
                    side.close()
                incoming.rest()
        if (incoming.sha256, incoming.size_bytes) != (asked.sha256, asked.size_bytes):
            raise FileRefused(
                "checksum_mismatch",
                f"What came is not the backup: {incoming.size_bytes} of {asked.size_bytes} bytes, checksum {incoming.sha256[:12]}…",
            )
        return done

    def _swap(self, opened: OpenFiles, restore_id: str) -> None:
        with opened.tree.hidden(swapping.RESTORES) as restores:
            swapping.swap(opened.tree, restores, restore_id)

    def _clear(self, opened: OpenFiles, restore_id: str, note: Path) -> None:
        with opened.tree.hidden(swapping.RESTORES) as restores:
            swapping.clear(opened.tree, restores, restore_id)
        note.unlink(missing_ok=True)

    def _clear_later(self, container_id: str, restore_id: str, note: Path) -> None:
        """The old files may be many: nobody waits until they are gone."""

        async def work() -> None:
            try:
                opened = await self._open(container_id)
                try:
                    await self._desk.thread(self._clear, opened, restore_id, note)
                    opened.purse.stale()
                finally:
                    opened.tree.close()
            except RuntimeFailure as failure:
                log.warning("old files are left", extra={"container": container_id, "reason": failure.detail})

        task = asyncio.create_task(work(), name=f"clear after restore {container_id}")
        self._clearing.add(task)
        task.add_done_callback(self._clearing.discard)


class _Inlet:
    """A pipe's content for a thread, piece by piece; the next one comes while one is worked on."""

    def __init__(self, pipe: Pipe, loop: asyncio.AbstractEventLoop) -> None:
        self._content = pipe.content()
        self._loop = loop
        self._closed = False
        self._coming: Future[bytes | None] | None = None

    def close(self) -> None:
        """Nobody waits for what still comes. From any thread."""
        self._closed = True
        coming = self._coming
        if coming is not None:
            coming.cancel()

    async def _next(self) -> bytes | None:
        return await anext(self._content, None)

    def _ask(self) -> Future[bytes | None]:
        return asyncio.run_coroutine_threadsafe(self._next(), self._loop)

    def piece(self) -> bytes | None:
        """None: that was all. Raises FileRefused."""
        coming = self._coming or self._ask()
        waited = 0.0
        while not self._closed and waited < SEND_SECONDS * 2:
            try:
                found = coming.result(0.5)
            except TimeoutError:
                waited += 0.5
            except CancelledError:
                break
            except RuntimeFailure as failure:
                raise FileRefused(failure.code, failure.detail) from failure
            else:
                self._coming = self._ask() if found is not None else None
                return found
        coming.cancel()
        raise FileRefused("cancelled", "Nothing comes any more.")
