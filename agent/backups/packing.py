"""A data folder as tar.gz into a sink. Blocking: call it in a thread."""

from __future__ import annotations

import hashlib
import os
import stat as stats
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from agent.backups.gzips import packer
from agent.files.archives import Sink, _content, _Told
from agent.files.denylist import Denylist
from agent.files.entries import names_in, open_folder, type_of
from agent.files.tree import CHUNK, HIDDEN, Tree

TOLD_BYTES = 8 * 1024 * 1024
DEEPEST = 256
ITSELF = "."
"""The first member: the folder itself. Whom it belongs to is somebody else on another node, and so is whatever belongs to the same one below."""


@dataclass(slots=True)
class Packed:
    """What went in, and what could not (pipes, sockets, devices, what can't be read): counted, never passed over in silence."""

    files: int = 0
    content_bytes: int = 0
    left_out: int = 0


class Summed:
    """A sink that compresses, counts and sums on the way to another one."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._packer = packer()
        self._sum = hashlib.sha256()
        self.size_bytes = 0

    def write(self, data: Any, /) -> int:
        self._hand(self._packer.compress(data))
        return len(data)

    def finish(self) -> None:
        self._hand(self._packer.flush())

    def _hand(self, packed: bytes) -> None:
        if packed:
            self._sum.update(packed)
            self.size_bytes += len(packed)
            self._sink.write(packed)

    @property
    def sha256(self) -> str:
        return self._sum.hexdigest()


class _Counted:
    """A file's bytes, told as they pass."""

    def __init__(self, content: Any, passed: Callable[[int], None]) -> None:
        self._content = content
        self._passed = passed

    def read(self, count: int = -1) -> bytes:
        data: bytes = self._content.read(count)
        self._passed(len(data))
        return data


Found = tuple[str, os.stat_result, int, str]
"""(path, what it is, folder it is in, its name there)"""


def _below(folder: int, path: str, ignored: Denylist, packed: Packed, device: int, deep: int) -> Iterator[Found]:
    """All below an open folder, each folder before what is in it. Other file systems are left out, and so are names that are gone meanwhile."""
    for name in sorted(names_in(folder)):
        if not path and name == HIDDEN:
            continue
        inner = f"{path}/{name}" if path else name
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            continue
        is_folder = stats.S_ISDIR(found.st_mode)
        if ignored.denies(inner, is_folder=is_folder):
            continue
        if found.st_dev != device or deep > DEEPEST:
            packed.left_out += 1
            continue
        yield inner, found, folder, name
        if is_folder:
            with ExitStack() as held:
                try:
                    inside = held.enter_context(open_folder(folder, name))
                except FileNotFoundError:
                    continue
                except OSError:  # what is in it can't be read
                    packed.left_out += 1
                    continue
                yield from _below(inside, inner, ignored, packed, device, deep + 1)


def pack(tree: Tree, sink: Summed, *, ignore: list[str], tell: Callable[[int], None]) -> Packed:
    """All below the root but the hidden folder and what is ignored. `tell(bytes so far)` now and then. The sink is finished.

    A file that changes while it is read is kept as long as it was when it was looked at: what is cut off meanwhile reads as zeros.
    """
    packed = Packed()
    told = 0

    def passed(count: int) -> None:
        nonlocal told
        packed.content_bytes += count
        if packed.content_bytes - told >= TOLD_BYTES:
            told = packed.content_bytes
            tell(told)

    top = os.fstat(tree._root)
    options: dict[str, Any] = {
        "mode": "w|",
        "format": tarfile.PAX_FORMAT,
        "bufsize": CHUNK,
        "copybufsize": CHUNK,
    }
    with tarfile.open(fileobj=_Told(sink), **options) as out:  # type: ignore[call-overload]
        itself = tarfile.TarInfo(ITSELF)
        itself.type, itself.mode, itself.mtime = tarfile.DIRTYPE, stats.S_IMODE(top.st_mode) & 0o777, int(top.st_mtime)
        itself.uid, itself.gid = top.st_uid, top.st_gid
        out.addfile(itself)
        for path, found, folder, name in _below(tree._root, "", Denylist(ignore), packed, top.st_dev, 0):
            member = tarfile.TarInfo(path)
            member.mode, member.mtime = stats.S_IMODE(found.st_mode) & 0o777, int(found.st_mtime)
            member.uid, member.gid = found.st_uid, found.st_gid
            kind = type_of(found.st_mode)
            if kind == "folder":
                member.type = tarfile.DIRTYPE
                out.addfile(member)
            elif kind == "link":
                member.type = tarfile.SYMTYPE
                try:
                    member.linkname = os.readlink(name, dir_fd=folder)
                except OSError:
                    continue
                out.addfile(member)
                packed.files += 1
            elif kind == "file":
                member.size = found.st_size
                with _content(folder, name, found.st_size) as content:
                    if content is None:
                        packed.left_out += 1
                        continue
                    out.addfile(member, _Counted(content, passed))  # type: ignore[arg-type]
                    packed.files += 1
            else:
                packed.left_out += 1
            out.members.clear()  # or all heads stay in memory
    sink.finish()
    return packed
