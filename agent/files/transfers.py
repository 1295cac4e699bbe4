"""Content of files in and out, through a pipe with credit (see `agent.protocol.bulk`). Nobody's slowness costs more than its window."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import secrets
import stat as stats
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import ExitStack
from typing import Any, Protocol

from agent.files import archives, trash
from agent.files.beneath import TEMPORARY, FileRefused, clean_relative
from agent.files.desk import FileDesk, OpenFiles, _plain
from agent.files.entries import etag_of, write_all
from agent.files.tree import CHUNK, writable_name
from agent.protocol import files as ask
from agent.protocol.bulk import FRAME_BYTES
from agent.recordings import Recordings
from agent.runtimes.base import RuntimeFailure

SEND_SECONDS = 120.0
"""A receiver that takes nothing for so long has gone."""


class Pipe(Protocol):
    """One bulk socket."""

    async def head(self, data: dict[str, Any]) -> None: ...

    async def send(self, data: bytes) -> None:
        """At most FRAME_BYTES; waits for credit."""

    def content(self) -> AsyncIterator[bytes]:
        """What the panel sends, until its end. Raises RuntimeFailure if the panel goes away before."""


Transfer = Callable[[str, Any, Pipe], Awaitable[dict[str, Any]]]


class Transfers:
    """Carries out the kinds of `agent.protocol.bulk`; each returns the data of the end. `more`: those of other rooms."""

    def __init__(self, desk: FileDesk, recordings: Recordings, *, more: Mapping[str, Transfer] | None = None) -> None:
        self._desk = desk
        self._recordings = recordings
        self._more = more or {}

    async def run(self, kind: str, container_id: str, payload: Any, pipe: Pipe) -> dict[str, Any]:
        """Raises RuntimeFailure."""
        if kind in self._more:
            return await self._more[kind](container_id, payload, pipe)
        match kind:
            case "files.read":
                return await self._read(container_id, payload, pipe)
            case "files.write":
                return await self._write(container_id, payload, pipe)
            case "files.upload":
                return await self._upload(container_id, payload, pipe)
            case "recording.read":
                return await self._recording(container_id, payload, pipe)
        raise RuntimeFailure("unknown_command", f"This agent does not know {kind[:64]!r}.")

    # ---------------------------------------------------------------------------------------------------------------- out

    async def _read(self, container_id: str, asked: ask.FilesRead, pipe: Pipe) -> dict[str, Any]:
        opened = await self._desk.open(container_id, asked)
        try:
            if not asked.paths or len(asked.paths) > 1000:
                raise RuntimeFailure("bad_path", "Name 1 to 1000 paths.")
            first = await self._desk.thread(_first, opened, asked.paths)
            if asked.archive or len(asked.paths) > 1 or first["type"] == "folder":
                await self._pack(opened, asked, first, pipe)
            else:
                await self._file(opened, asked, pipe)
        finally:
            opened.tree.close()
        return {}

    async def _file(self, opened: OpenFiles, asked: ask.FilesRead, pipe: Pipe) -> None:
        with ExitStack() as held:

            def begin() -> tuple[int, os.stat_result]:
                opened.check_real(asked.paths[0])
                return held.enter_context(opened.tree.reading(asked.paths[0]))

            descriptor, found = await self._desk.thread(begin)
            if asked.max_bytes and found.st_size > asked.max_bytes:
                raise RuntimeFailure("too_large", f"{asked.paths[0]} has {found.st_size} bytes; at most {asked.max_bytes} are shown: download it.")
            name = clean_relative(asked.paths[0]).rpartition("/")[2]
            await pipe.head(
                {
                    "name": name,
                    "type": "file",
                    "size": found.st_size,
                    "mode": stats.S_IMODE(found.st_mode),
                    "etag": etag_of(found),
                    "modified_at_unix": found.st_mtime,
                    "archive": False,
                }
            )
            at = max(0, asked.offset)
            # Never more than was announced, even of a file that grows: its length has been promised already.
            left = max(0, found.st_size - at)
            left = left if asked.length < 0 else min(left, asked.length)
            await self._send(descriptor, at, left, pipe)

    async def _send(self, descriptor: int, at: int, left: int, pipe: Pipe) -> None:
        while left > 0:
            data = await self._desk.thread(os.pread, descriptor, min(CHUNK, left), at)
            if not data:
                raise RuntimeFailure("changed", "The file has become shorter while it was read.")
            at, left = at + len(data), left - len(data)
            for start in range(0, len(data), FRAME_BYTES):
                await pipe.send(data[start : start + FRAME_BYTES])

    async def _pack(self, opened: OpenFiles, asked: ask.FilesRead, first: dict[str, Any], pipe: Pipe) -> None:
        kind = asked.archive or "tar.gz"
        opened.check(*asked.paths)
        stem = first["name"].strip("/") or "files"
        await pipe.head({**first, "name": f"{stem}.{kind}" if len(asked.paths) == 1 else f"files.{kind}", "type": "file", "archive": True, "size": 0})
        sink = Outlet(pipe, asyncio.get_running_loop())

        def work() -> None:
            archives.PACKERS[kind](opened.tree, asked.paths, sink, shown=opened.shown)
            sink.flush()

        await self._desk.whole(work, stop=sink.close, seconds=10)

    async def _recording(self, container_id: str, asked: ask.RecordingRead, pipe: Pipe) -> dict[str, Any]:
        file = await self._desk.thread(self._recordings.file, container_id, asked.id)
        descriptor = await self._desk.thread(os.open, file, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(descriptor).st_size
            await pipe.head({"name": file.name, "size": size, "type": "file", "archive": False})
            await self._send(descriptor, 0, size, pipe)
        finally:
            os.close(descriptor)
        return {}

    # ----------------------------------------------------------------------------------------------------------------- in

    async def _write(self, container_id: str, asked: ask.FilesWrite, pipe: Pipe) -> dict[str, Any]:
        opened = await self._desk.open(container_id, asked)
        draft: _Draft | None = None
        try:
            draft = await self._desk.thread(_Draft, opened, asked)
            await pipe.head({})
            await self._pour(pipe, draft.descriptor, opened, hold=draft.hold)
            async with self._desk.commits.setdefault(container_id, asyncio.Lock()):  # of two that saw the same etag one is told
                return await self._desk.thread(draft.commit)
        except BaseException:
            opened.purse.stale()  # what came is thrown away
            raise
        finally:
            if draft is not None:
                await self._desk.thread(draft.close)
            opened.tree.close()

    async def _pour(self, pipe: Pipe, descriptor: int, opened: OpenFiles, *, most: int = -1, hold: Callable[[int], None] | None = None) -> int:
        """Everything that comes, counted before it is written; returns how much it was. Two chunks are held at most."""
        total, waiting = 0, bytearray()

        def write(data: bytes) -> None:
            opened.spend(len(data))
            if hold is not None:
                hold(len(data))
            write_all(descriptor, data)

        writing: asyncio.Future[None] | None = None
        try:
            async for data in pipe.content():
                total += len(data)
                if 0 <= most < total:
                    raise RuntimeFailure("too_large", "More came than was announced.")
                waiting += data
                if len(waiting) >= CHUNK:  # one chunk is written while the next one comes
                    if writing is not None:
                        await writing
                    writing = asyncio.ensure_future(self._desk.thread(write, bytes(waiting)))
                    waiting.clear()
            if writing is not None:
                await writing
            if waiting:
                await self._desk.thread(write, bytes(waiting))
        finally:
            if writing is not None:  # the descriptor is the thread's until it has ended
                await asyncio.wait({writing})
                if not writing.cancelled():
                    writing.exception()  # was told already, or another one is
        return total

    async def _upload(self, container_id: str, asked: ask.FilesUpload, pipe: Pipe) -> dict[str, Any]:
        opened = await self._desk.open(container_id, asked)
        held = ExitStack()
        try:

            def begin() -> tuple[int, int, trash.Upload]:
                uploads, part, note = held.enter_context(trash.upload_part(opened.tree, asked.id))
                have = os.fstat(part).st_size
                if asked.offset > have or asked.offset + asked.length > note.size:
                    raise FileRefused("offset_mismatch", f"Of this upload {have} of {note.size} bytes are here: go on from there.")
                opened.check_real(writable_name(note.path))
                os.ftruncate(part, asked.offset)  # a piece that is sent again replaces what came of it
                os.lseek(part, asked.offset, os.SEEK_SET)
                return uploads, part, note

            uploads, part, note = await self._desk.thread(begin)
            await pipe.head({"offset": asked.offset})
            try:
                got = await self._pour(pipe, part, opened, most=asked.length)
            except RuntimeFailure as failure:
                opened.purse.stale()
                if failure.code in ("quota_exceeded", "disk_full"):  # what came of a piece without room makes none scarcer for others
                    await self._desk.thread(os.ftruncate, part, asked.offset)
                raise
            if got != asked.length:
                raise RuntimeFailure("offset_mismatch", f"{got} bytes came instead of {asked.length}.")
            if asked.offset + got < note.size:
                return {"offset": asked.offset + got, "entry": None}

            def finish() -> dict[str, Any]:
                trash.finish_upload(opened.tree, uploads, asked.id, part, note)
                return {"offset": note.size, "entry": _plain(opened.tree.entry(note.path)), "path": note.path}

            async with self._desk.commits.setdefault(container_id, asyncio.Lock()):
                return await self._desk.thread(finish)
        finally:
            await self._desk.thread(held.close)
            opened.tree.close()


def _first(opened: OpenFiles, paths: list[str]) -> dict[str, Any]:
    opened.check(*paths)
    found = opened.tree.entry(paths[0])
    if found.type == "link":
        listed, _ = opened.tree.listing(clean_relative(paths[0]).rpartition("/")[0], offset=0, limit=100_000, shown=opened.shown)
        found = next((one for one in listed if one.name == found.name), found)
        return {**_plain(found), "type": found.target_type or "file"}
    return _plain(found)


class Outlet:
    """A packer's sink, used in a thread: hands pieces to the pipe and waits until they are taken."""

    def __init__(self, pipe: Pipe, loop: asyncio.AbstractEventLoop) -> None:
        self._pipe = pipe
        self._loop = loop
        self._waiting = bytearray()
        self._closed = False

    def close(self) -> None:
        self._closed = True

    def write(self, data: bytes, /) -> int:
        self._waiting += data
        while len(self._waiting) >= FRAME_BYTES:
            self._hand(bytes(self._waiting[:FRAME_BYTES]))
            del self._waiting[:FRAME_BYTES]
        return len(data)

    def flush(self) -> None:
        if self._waiting:
            self._hand(bytes(self._waiting))
            self._waiting.clear()

    def _hand(self, data: bytes) -> None:
        waited = 0.0
        sent = asyncio.run_coroutine_threadsafe(self._pipe.send(data), self._loop)
        while not self._closed and waited < SEND_SECONDS:
            try:
                sent.result(0.5)
                return
            except TimeoutError:
                waited += 0.5
        sent.cancel()
        raise FileRefused("cancelled", "Nobody takes the archive any more.")


class _Draft:
    """A file being written beside the one it will replace. Blocking."""

    def __init__(self, opened: OpenFiles, asked: ask.FilesWrite) -> None:
        self._opened = opened
        self._asked = asked
        self._path = path = writable_name(asked.path)
        if not path:
            raise FileRefused("not_a_file", "/ is a folder.")
        opened.check_real(path)
        if asked.size >= 0 and asked.size > opened.counted().left():
            opened.purse.spend(asked.size)
        tree = opened.tree
        folder = path.rpartition("/")[0]
        if folder and asked.parents:
            tree.make_folders(folder, owner=tree.owner)
        self._held = ExitStack()
        real = tree._real(path)  # behind links that stay inside, as an editor would write
        self._parent, self._name = self._held.enter_context(tree.place(real))
        self._draft = f"{TEMPORARY}{secrets.token_hex(8)}.tmp"
        self.descriptor = -1
        self._is_nameless = False
        self._held_bytes = 0
        try:
            self._check()
            self.descriptor = self._open()
        except BaseException:
            self._held.close()
            raise

    def _open(self) -> int:
        """Without a name where the file system can do that: then an agent that dies leaves nothing behind."""
        try:
            descriptor = os.open(".", os.O_WRONLY | os.O_TMPFILE | os.O_CLOEXEC, 0o600, dir_fd=self._parent)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.ENOENT, errno.EINVAL):
                raise
            return os.open(self._draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=self._parent)
        self._is_nameless = True
        return descriptor

    def hold(self, count: int) -> None:
        """Before so many bytes are written."""
        if self._is_nameless:
            self._held_bytes += count
            self._opened.purse.hold(count)

    def _check(self) -> os.stat_result | None:
        """The conditions, as the file is now. Raises FileRefused `changed`."""
        try:
            there = os.stat(self._name, dir_fd=self._parent, follow_symlinks=False)
        except FileNotFoundError:
            there = None
        asked = self._asked
        if there is not None and not stats.S_ISREG(there.st_mode):
            raise FileRefused("not_a_file", f"{self._path} is not a plain file.")
        wanted = [one.strip().removeprefix("W/").strip('"') for one in asked.if_match.split(",")] if asked.if_match else []
        if wanted and (there is None or ("*" not in wanted and etag_of(there) not in wanted)):
            raise FileRefused("changed", f"{self._path} has changed since you read it." if there else f"{self._path} is gone since you read it.")
        if asked.if_none_match and there is not None:
            raise FileRefused("changed", f"{self._path} is there already.")
        return there

    def commit(self) -> dict[str, Any]:
        there = self._check()
        mode, owner = (
            (stats.S_IMODE(there.st_mode) & 0o777, (there.st_uid, there.st_gid)) if there else (self._asked.mode & 0o777, self._opened.tree.owner)
        )
        if owner is not None and owner != (os.geteuid(), os.getegid()):
            with contextlib.suppress(PermissionError):
                os.fchown(self.descriptor, *owner)
        os.fchmod(self.descriptor, mode)
        os.fsync(self.descriptor)
        if self._is_nameless:
            os.link(f"/proc/self/fd/{self.descriptor}", self._draft, dst_dir_fd=self._parent, follow_symlinks=True)
            self._is_nameless = False
        os.rename(self._draft, self._name, src_dir_fd=self._parent, dst_dir_fd=self._parent)
        self._draft = ""
        return {"entry": _plain(self._opened.tree._look(self._parent, self._name, self._path)), "created": there is None}

    def close(self) -> None:
        self._opened.purse.hold(-self._held_bytes)
        self._held_bytes = 0
        if self._draft and self.descriptor >= 0 and not self._is_nameless:
            with contextlib.suppress(OSError):
                os.unlink(self._draft, dir_fd=self._parent)
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
        self._held.close()
