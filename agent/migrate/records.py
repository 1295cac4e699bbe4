"""A tree of files as a row of entries in one fixed order, its digest, and the records in which it travels. Synchronous: call it in a thread.

The order is that of the path's parts as bytes, a folder before what is in it, so that "everything up to here" is one path. An entry is a folder,
file, link, pipe, or a further name of a file (hard link). Sockets and devices are left out: they mean nothing elsewhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat as stats
from collections.abc import Callable, Iterator
from typing import Protocol

import msgspec

from agent.files.beneath import FileRefused
from agent.files.entries import open_folder

PART = ".lormas-moving-part"
"""In the folder itself while a file comes in; no entry."""
DEEPEST = 200
CHUNK = 256 * 1024
MOST_HEAD_BYTES = 64 * 1024


class Entry(msgspec.Struct, array_like=True, frozen=True):
    """One entry. `target`: what a link says, or under which path the file of a further name came."""

    path: bytes
    kind: str
    """folder | file | link | pipe | again"""
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    size: int = 0
    target: bytes = b""


class Head(msgspec.Struct, array_like=True, frozen=True):
    """What a record begins with, behind four bytes of its length; of a file `size - offset` bytes of content follow."""

    entry: Entry
    offset: int = 0


class Sink(Protocol):
    def write(self, data: bytes, /) -> int: ...


Found = tuple[Entry, int, str]
"""An entry, the folder it is in, its name there (of the root itself: -1 and "")."""


def parts(path: bytes) -> tuple[bytes, ...]:
    """For comparing: in the order in which entries come."""
    return tuple(path.split(b"/")) if path else ()


def walk(root: int) -> Iterator[Found]:
    """All of it, the root first. Raises FileRefused `too_deep`."""
    found = os.fstat(root)
    yield _entry(b"", found, "folder"), -1, ""
    yield from _below(root, b"", {}, 0)


def _below(folder: int, path: bytes, seen: dict[tuple[int, int], bytes], deep: int) -> Iterator[Found]:
    if deep > DEEPEST:
        raise FileRefused("too_deep", f"Folders are nested more than {DEEPEST} deep.")
    for name in sorted(os.listdir(folder), key=os.fsencode):
        if not path and name == PART:
            continue
        with contextlib.suppress(FileNotFoundError):
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            here = path + b"/" + os.fsencode(name) if path else os.fsencode(name)
            if stats.S_ISDIR(found.st_mode):
                yield _entry(here, found, "folder"), folder, name
                with open_folder(folder, name) as inside:
                    yield from _below(inside, here, seen, deep + 1)
            elif stats.S_ISREG(found.st_mode):
                first = seen.setdefault((found.st_dev, found.st_ino), here) if found.st_nlink > 1 else here
                yield (_entry(here, found, "file") if first == here else Entry(here, "again", target=first)), folder, name
            elif stats.S_ISLNK(found.st_mode):
                yield _entry(here, found, "link", target=os.fsencode(os.readlink(name, dir_fd=folder))), folder, name
            elif stats.S_ISFIFO(found.st_mode):
                yield _entry(here, found, "pipe"), folder, name


def _entry(path: bytes, found: os.stat_result, kind: str, *, target: bytes = b"") -> Entry:
    is_file = kind == "file"
    mode = 0 if kind == "link" else stats.S_IMODE(found.st_mode)
    return Entry(path, kind, mode, found.st_uid, found.st_gid, found.st_mtime_ns if is_file else 0, found.st_size if is_file else 0, target)


@contextlib.contextmanager
def opened(folder: int, name: str, entry: Entry) -> Iterator[int]:
    """A file's descriptor. Raises FileRefused `changed` if it is no longer what was seen."""
    descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    try:
        now = os.fstat(descriptor)
        if not stats.S_ISREG(now.st_mode) or now.st_size != entry.size:
            raise changed(entry)
        yield descriptor
    finally:
        os.close(descriptor)


def changed(entry: Entry) -> FileRefused:
    return FileRefused("changed", f"{os.fsdecode(entry.path)!r} changed while it was read: something still writes into its folder.")


def count(root: int) -> tuple[int, int]:
    """(entries, bytes of content)."""
    entries = size = 0
    for entry, _, _ in walk(root):
        entries += 1
        size += entry.size
    return entries, size


def digest(root: int, *, owners: bool, progress: Callable[[int], None] = lambda done: None) -> tuple[str, int, int]:
    """(SHA-256 over all entries and contents, entries, bytes). Two trees have the same one only if a program can't tell them apart.

    Times of files count in whole seconds (not every file system keeps more), those of folders and links not at all.
    """
    total = hashlib.sha256()
    entries = done = 0
    for entry, folder, name in walk(root):
        entries += 1
        plain = msgspec.structs.replace(entry, mtime_ns=entry.mtime_ns // 1_000_000_000)
        if not owners:
            plain = msgspec.structs.replace(plain, uid=0, gid=0)
        head = msgspec.msgpack.encode(plain)
        total.update(len(head).to_bytes(4, "big") + head)
        if entry.kind == "file":
            content = hashlib.sha256()
            with opened(folder, name, entry) as descriptor:
                left = entry.size
                while left:
                    data = os.read(descriptor, min(CHUNK, left))
                    if not data:
                        raise changed(entry)
                    content.update(data)
                    left -= len(data)
                    done += len(data)
                    progress(done)
            total.update(content.digest())
    return total.hexdigest(), entries, done


def send(root: int, sink: Sink, *, path: bytes, offset: int) -> None:
    """Records from a point on (path b"" and offset -1: all). Raises FileRefused `changed`."""
    begun = bool(path) or offset >= 0
    point = parts(path)
    for entry, folder, name in walk(root):
        start = 0
        if begun:
            here = parts(entry.path)
            if here < point or (here == point and offset < 0):
                continue
            if here == point and entry.kind == "file" and offset <= entry.size:
                start = offset
        head = msgspec.msgpack.encode(Head(entry, start))
        if len(head) > MOST_HEAD_BYTES:
            raise FileRefused("too_deep", "A path is too long to be moved.")
        sink.write(len(head).to_bytes(4, "big") + head)
        if entry.kind == "file":
            with opened(folder, name, entry) as descriptor:
                at = start
                while at < entry.size:
                    data = os.pread(descriptor, min(CHUNK, entry.size - at), at)
                    if not data:
                        raise changed(entry)
                    sink.write(data)
                    at += len(data)
