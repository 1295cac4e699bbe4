"""Packing and unpacking below one folder. An archive from outside is looked at whole before its first byte is written (SECURITY B07-B09).

Packed: plain files, folders, links as links; never the hidden folder, nor what the egg denies, nor pipes and devices.
"""

from __future__ import annotations

import contextlib
import os
import stat as stats
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from typing import IO, Any, Protocol

from agent.files.entries import DEEPEST, names_in, type_of
from agent.files.tree import CHUNK, HIDDEN, Shown, Tree

LEVEL = 5
"""Of gzip: most of what 9 gains, at a third of its time."""


class Sink(Protocol):
    """Where a packed archive goes: only forwards."""

    def write(self, data: bytes, /) -> int: ...


class _Told:
    """A sink that tells its position, as zipfile wants; it can't be sought."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._at = 0

    def write(self, data: Any) -> int:
        size = len(data)
        self._sink.write(bytes(data))
        self._at += size
        return size

    def tell(self) -> int:
        return self._at

    def flush(self) -> None:
        """Nothing is kept back."""


class _Gzip:
    """A sink that compresses. (Of tarfile's own streams only newer Pythons take a level.)"""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._packer = zlib.compressobj(LEVEL, zlib.DEFLATED, zlib.MAX_WBITS | 16)

    def write(self, data: bytes, /) -> int:
        if packed := self._packer.compress(data):
            self._sink.write(packed)
        return len(data)

    def finish(self) -> None:
        self._sink.write(self._packer.flush())


def _walk(parent: int, name: str, path: str, shown: Shown, real: str, deep: int = 0) -> Iterator[tuple[str, os.stat_result, int, str]]:
    """(path in the archive, what it is, folder it is in, its name there), a folder before what is in it."""
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return
    is_folder = stats.S_ISDIR(found.st_mode)
    if deep > DEEPEST or real == HIDDEN or real.startswith(f"{HIDDEN}/") or not shown(real, is_folder):
        return
    yield path, found, parent, name
    if is_folder:
        try:
            inside = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        except OSError:
            return
        try:
            for below in sorted(names_in(inside)):
                yield from _walk(inside, below, f"{path}/{below}", shown, f"{real}/{below}" if real else below, deep + 1)
        finally:
            os.close(inside)


@contextlib.contextmanager
def _content(parent: int, name: str, size: int) -> Iterator[IO[bytes] | None]:
    """A plain file's bytes, exactly `size` of them (a file that shrinks meanwhile is filled with zeros: the head was written already)."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
    except OSError:
        yield None
        return
    try:
        yield _Exactly(descriptor, size) if stats.S_ISREG(os.fstat(descriptor).st_mode) else None  # type: ignore[misc]
    finally:
        os.close(descriptor)


class _Exactly:
    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._left = size

    def read(self, count: int = -1) -> bytes:
        wanted = self._left if count < 0 else min(count, self._left)
        if not wanted:
            return b""
        data = os.read(self._descriptor, min(wanted, CHUNK)) or b"\0" * min(wanted, CHUNK)
        self._left -= len(data)
        return data


def _roots(tree: Tree, paths: list[str]) -> Iterator[tuple[int, str, str, str]]:
    """(parent, name, name in the archive, path) of what is to be packed."""
    for path in paths:
        clean = path.strip("/")
        if not clean:
            with tree._opened("", os.O_RDONLY | os.O_DIRECTORY) as root:
                for name in sorted(names_in(root)):
                    if name != HIDDEN:
                        yield root, name, name, name
            continue
        with tree.place(clean) as (parent, name):
            yield parent, name, name, clean


def pack_tar(tree: Tree, paths: list[str], sink: Sink, *, shown: Shown) -> None:
    """As tar.gz."""
    packed = _Gzip(sink)
    with tarfile.open(fileobj=_Told(packed), mode="w|", format=tarfile.PAX_FORMAT, bufsize=CHUNK) as out:  # type: ignore[call-overload]
        for parent, name, stored, real in _roots(tree, paths):
            for path, found, folder, last in _walk(parent, name, stored, shown, real):
                kind = type_of(found.st_mode)
                if kind == "other":
                    continue
                member = tarfile.TarInfo(path)
                member.mode, member.mtime, member.uid, member.gid = (
                    stats.S_IMODE(found.st_mode) & 0o777,
                    int(found.st_mtime),
                    found.st_uid,
                    found.st_gid,
                )
                if kind == "folder":
                    member.type = tarfile.DIRTYPE
                    out.addfile(member)
                elif kind == "link":
                    member.type = tarfile.SYMTYPE
                    with contextlib.suppress(OSError):
                        member.linkname = os.readlink(last, dir_fd=folder)
                        out.addfile(member)
                else:
                    member.size = found.st_size
                    with _content(folder, last, found.st_size) as content:
                        if content is not None:
                            out.addfile(member, content)
    packed.finish()


def pack_zip(tree: Tree, paths: list[str], sink: Sink, *, shown: Shown) -> None:
    """As zip (links are stored as links, as Info-ZIP does)."""
    with zipfile.ZipFile(_Told(sink), "w", zipfile.ZIP_DEFLATED, allowZip64=True, strict_timestamps=False) as out:  # type: ignore[call-overload]
        for parent, name, stored, real in _roots(tree, paths):
            for path, found, folder, last in _walk(parent, name, stored, shown, real):
                kind = type_of(found.st_mode)
                if kind == "other":
                    continue
                member = zipfile.ZipInfo(path + ("/" if kind == "folder" else ""), date_time=_dos_time(found.st_mtime))
                member.external_attr = (found.st_mode & 0o170777) << 16 | (0x10 if kind == "folder" else 0)
                member.compress_type = zipfile.ZIP_DEFLATED if kind == "file" else zipfile.ZIP_STORED
                if kind == "folder":
                    out.writestr(member, b"")
                elif kind == "link":
                    with contextlib.suppress(OSError):
                        out.writestr(member, os.fsencode(os.readlink(last, dir_fd=folder)))
                else:
                    with _content(folder, last, found.st_size) as content:
                        if content is None:
                            continue
                        with out.open(member, "w", force_zip64=found.st_size > 2**31) as target:
                            while data := content.read(CHUNK):
                                target.write(data)


def _dos_time(unix: float) -> tuple[int, int, int, int, int, int]:
    import time

    found = time.gmtime(max(unix, 315532800))
    return found.tm_year, found.tm_mon, found.tm_mday, found.tm_hour, found.tm_min, found.tm_sec


PACKERS: dict[str, Callable[..., None]] = {"tar.gz": pack_tar, "zip": pack_zip}
