"""A tar.gz that comes in pieces into an empty folder: nothing is followed, nothing leads out, nothing is believed before its checksum is right."""

from __future__ import annotations

import ctypes
import hashlib
import os
import tarfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from agent.backups.gzips import Unpacker
from agent.backups.packing import DEEPEST, ITSELF
from agent.files.beneath import FileRefused
from agent.files.entries import write_all
from agent.files.openat2 import open_beneath
from agent.files.tree import CHUNK, HIDDEN

MOST_HEADER_BYTES = 1024 * 1024
_libc = ctypes.CDLL(None, use_errno=True)


def unsafe(detail: str) -> FileRefused:
    return FileRefused("unsafe_archive", detail)


class Incoming:
    """What a tar reader reads: content out of packed pieces, which are counted and summed as they come."""

    def __init__(self, piece: Callable[[], bytes | None]) -> None:
        self._piece = piece
        self._unpacker = Unpacker()
        self._waiting = b""
        self._sum = hashlib.sha256()
        self.size_bytes = 0

    def read(self, count: int) -> bytes:
        while True:
            if self._unpacker.is_over:
                return b""
            if not self._waiting:
                piece = self._piece()
                if piece is None:
                    raise unsafe("The archive ends in its middle.")
                self._sum.update(piece)
                self.size_bytes += len(piece)
                self._waiting = piece
            try:
                content, self._waiting = self._unpacker.feed(self._waiting, most=count)
            except ValueError as error:
                raise unsafe(f"The archive is damaged: {error}.") from error
            if content:
                return content

    def rest(self) -> None:
        """To its very end, so that the sum is of all of it."""
        with suppress(FileRefused):
            while self.read(CHUNK):
                pass
        while (piece := self._piece()) is not None:
            self._sum.update(piece)
            self.size_bytes += len(piece)

    @property
    def sha256(self) -> str:
        return self._sum.hexdigest()


class _Head(tarfile.TarInfo):
    """A head of bounded size: a forged one claims gigabytes, and the reader would ask for them at once."""

    def _proc_member(self, archive: tarfile.TarFile) -> Any:
        longs = (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK)
        if self.type in longs and self.size > MOST_HEADER_BYTES:
            raise unsafe("A header of the archive claims to be larger than a megabyte.")
        return super()._proc_member(archive)  # type: ignore[misc]


@dataclass(slots=True)
class Unpacked:
    """What came out."""

    files: int = 0
    content_bytes: int = 0
    folders: list[tuple[str, int, int, int, float]] = field(default_factory=list)


def parts_of(name: str) -> list[str]:
    """Of a member's name. Raises FileRefused."""
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if name.startswith("/") or ".." in parts or "\0" in name or not parts or len(parts) > DEEPEST + 2 or parts[0] == HIDDEN:
        raise unsafe(f"{name[:100]!r} is no name that a backup has.")
    return parts


class Side:
    """An empty folder that an archive is unpacked into. `owner`: who the data folder belongs to here; `spend` is asked before bytes are written."""

    def __init__(self, folder: int, *, owner: tuple[int, int] | None, spend: Callable[[int], None]) -> None:
        self._folder = folder
        self._owner = owner
        self._spend = spend
        self._as_root = os.geteuid() == 0
        self._was = (-1, -1)
        self._last: tuple[str, int] = ("", os.dup(folder))
        self.unpacked = Unpacked()

    def close(self) -> None:
        os.close(self._last[1])

    def fill(self, incoming: Incoming) -> Unpacked:
        """Raises FileRefused, OSError."""
        try:
            with tarfile.open(fileobj=incoming, mode="r|", tarinfo=_Head, bufsize=CHUNK) as archive:  # type: ignore[call-overload]
                while (member := archive.next()) is not None:
                    archive.members.clear()
                    if member.name == ITSELF and member.isdir():
                        self._was = (member.uid, member.gid)
                    else:
                        self._put(archive, member)
        except tarfile.TarError as error:
            raise unsafe(f"The archive is damaged: {str(error)[:200]}.") from error
        for path, mode, uid, gid, mtime in reversed(self.unpacked.folders):
            inside = open_beneath(self._folder, path, os.O_RDONLY | os.O_DIRECTORY, links=False)
            try:
                self._dress(inside, mode, uid, gid, mtime)
            finally:
                os.close(inside)
        _libc.syncfs(ctypes.c_int(self._folder))
        return self.unpacked

    def _parent(self, parts: list[str]) -> int:
        path = "/".join(parts)
        if self._last[0] == path:
            return self._last[1]
        found = open_beneath(self._folder, path or ".", os.O_RDONLY | os.O_DIRECTORY, links=False)
        os.close(self._last[1])
        self._last = (path, found)
        return found

    def _put(self, archive: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        parts = parts_of(member.name)
        parent, name = self._parent(parts[:-1]), parts[-1]
        uid, gid = self._of(member)
        if member.isdir():
            os.mkdir(name, 0o700, dir_fd=parent)
            self.unpacked.folders.append(("/".join(parts), member.mode & 0o777, uid, gid, member.mtime))
            return
        if member.issym():
            os.symlink(member.linkname, name, dir_fd=parent)
            if self._as_root:
                os.chown(name, uid, gid, dir_fd=parent, follow_symlinks=False)
        elif member.isreg():
            self._spend(member.size)
            self._write(archive, member, parent, name, uid, gid)
            self.unpacked.content_bytes += member.size
        else:
            raise unsafe(f"{member.name[:100]!r} is of a kind that no backup holds.")
        self.unpacked.files += 1

    def _write(self, archive: tarfile.TarFile, member: tarfile.TarInfo, parent: int, name: str, uid: int, gid: int) -> None:
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=parent)
        try:
            content = archive.extractfile(member)
            while content is not None and (data := content.read(CHUNK)):
                write_all(descriptor, data)
            self._dress(descriptor, member.mode & 0o777, uid, gid, member.mtime)
        finally:
            os.close(descriptor)

    def _of(self, member: tarfile.TarInfo) -> tuple[int, int]:
        return self._owner if self._owner is not None and (member.uid, member.gid) == self._was else (member.uid, member.gid)

    def _dress(self, descriptor: int, mode: int, uid: int, gid: int, mtime: float) -> None:
        if self._as_root:
            os.fchown(descriptor, uid, gid)
        os.fchmod(descriptor, mode)
        with suppress(OSError, OverflowError):
            os.utime(descriptor, (mtime, mtime))
