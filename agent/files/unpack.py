"""Unpacking an archive that somebody gave us: looked at whole first, then written; nothing of it can land outside or cost more than allowed.

Refused as a whole: names that lead out, hard links, devices and pipes, links that lead out, names below a link of the same archive, more than
`MOST_ENTRIES`, more bytes than fit, or a ratio that only a bomb has. Modes are masked to 0777. Archives inside are left packed.
"""

from __future__ import annotations

import bz2
import contextlib
import gzip
import os
import posixpath
import stat as stats
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

from agent.files.beneath import FileRefused, clean_relative
from agent.files.entries import DEEPEST
from agent.files.tree import CHUNK, HIDDEN, Shown

MOST_ENTRIES = 100_000
MOST_BYTES = 64 * 1024**3
RATIO = 200
RATIO_FREE_BYTES = 64 * 1024 * 1024
"""Ratios count only above this size: small files of zeros are no attack."""
READ_AT_ONCE = 1024 * 1024
"""The most that a reader may ask for: a forged header asks for gigabytes."""
MOST_DIRECTORY_BYTES = 32 * 1024 * 1024


def refused(detail: str) -> FileRefused:
    return FileRefused("unsafe_archive", detail)


def too_large(detail: str) -> FileRefused:
    return FileRefused("archive_too_large", detail)


@dataclass(frozen=True, slots=True)
class Member:
    """One entry as the archive claims it."""

    path: str
    kind: str
    """file | folder | link"""
    size: int
    mode: int
    target: str
    handle: Any


_FAULTS = (tarfile.TarError, zipfile.BadZipFile, EOFError, zlib.error, OSError, ValueError, NotImplementedError, RuntimeError, struct.error)


@contextlib.contextmanager
def _damaged() -> Iterator[None]:
    """What the readers of archives raise becomes FileRefused."""
    try:
        yield
    except (
        tarfile.TarError,
        zipfile.BadZipFile,
        EOFError,
        zlib.error,
        OSError,
        ValueError,
        NotImplementedError,
        RuntimeError,
        struct.error,
    ) as error:
        raise FileRefused("unsupported_archive", f"The archive is damaged or of an unknown kind: {str(error)[:200]}.") from error


class _Content:
    """A member's bytes."""

    def __init__(self, source: IO[bytes]) -> None:
        self._source = source

    def read(self, count: int) -> bytes:
        """Raises FileRefused."""
        with _damaged():
            return self._source.read(count)


class Archive:
    """A zip or tar over an open file; `members` may be walked more than once."""

    def __init__(self, descriptor: int, name: str) -> None:
        self._file = os.fdopen(os.dup(descriptor), "rb")
        self.packed_bytes = os.fstat(descriptor).st_size
        magic = os.pread(descriptor, 8, 0)
        self.kind = _kind(magic, name, self._file)
        if self.kind == "":
            self._file.close()
            raise FileRefused("unsupported_archive", "This is no archive that can be unpacked here: zip, tar, tar.gz and tar.bz2 can.")
        self._zip: zipfile.ZipFile | None = None

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        if self._zip is not None:
            self._zip.close()
        self._file.close()

    def members(self) -> Iterator[tuple[Member, _Content | None]]:
        """Each entry with its content. Raises FileRefused for what is no sound archive."""
        with _damaged():
            for member, content in self._zip_members() if self.kind == "zip" else self._tar_members():
                yield member, None if content is None else _Content(content)

    def _zip_members(self) -> Iterator[tuple[Member, IO[bytes] | None]]:
        if self._zip is None:
            _check_directory(self._file, self.packed_bytes)
            self._zip = zipfile.ZipFile(self._file)
        for found in self._zip.infolist():
            mode = found.external_attr >> 16
            is_link = stats.S_ISLNK(mode)
            kind = "folder" if found.is_dir() else "link" if is_link else "file"
            if mode and not found.is_dir() and stats.S_IFMT(mode) not in (0, stats.S_IFREG, stats.S_IFLNK):
                raise refused(f"{_shown(found.filename)} is a device or pipe.")
            if found.flag_bits & 0x1:
                raise FileRefused("unsupported_archive", "The archive is protected by a password.")
            target = ""
            if is_link:
                with self._zip.open(found) as content:
                    target = os.fsdecode(content.read(4097))
            member = Member(found.orig_filename.partition("\0")[0], kind, found.file_size, mode & 0o777, target, found)
            if kind != "file":
                yield member, None
                continue
            with self._zip.open(found) as content:
                yield member, content

    def _tar_members(self) -> Iterator[tuple[Member, IO[bytes] | None]]:
        self._file.seek(0)
        source: Any = self._file
        if self.kind == "tar.gz":
            source = gzip.GzipFile(fileobj=self._file)
        elif self.kind == "tar.bz2":
            source = bz2.BZ2File(self._file)
        with tarfile.open(fileobj=_Guard(source), mode="r:", ignore_zeros=False) as tar:  # type: ignore[call-overload]
            count = 0
            while (found := tar.next()) is not None:
                tar.members.clear()  # or all heads of the archive stay in memory
                count += 1
                if count > MOST_ENTRIES:
                    raise too_large(f"The archive holds more than {MOST_ENTRIES} entries.")
                if found.isdir():
                    kind = "folder"
                elif found.issym():
                    kind = "link"
                elif found.isreg():
                    kind = "file"
                else:
                    raise refused(f"{_shown(found.name)} is a {'hard link' if found.islnk() else 'device, pipe or something else'}.")
                member = Member(found.name, kind, found.size, found.mode & 0o777, found.linkname, found)
                content = tar.extractfile(found) if kind == "file" else None
                yield member, content


class _Guard:
    """Refuses to read more at once than an honest header can want."""

    def __init__(self, source: Any) -> None:
        self._source = source

    def read(self, count: int = -1) -> bytes:
        if count < 0 or count > READ_AT_ONCE:
            raise too_large("A header of the archive claims to be larger than a megabyte.")
        found: bytes = self._source.read(count)
        return found

    def seek(self, *where: int) -> int:
        found: int = self._source.seek(*where)
        return found

    def tell(self) -> int:
        found: int = self._source.tell()
        return found

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    @property
    def closed(self) -> bool:
        return bool(self._source.closed)


def _kind(magic: bytes, name: str, file: IO[bytes]) -> str:
    if magic[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    if magic[:2] == b"\x1f\x8b":
        return "tar.gz"
    if magic[:3] == b"BZh":
        return "tar.bz2"
    file.seek(257)
    return "tar" if file.read(5) == b"ustar" or name.lower().endswith(".tar") else ""


def _check_directory(file: IO[bytes], size: int) -> None:
    """The zip's own table, before it is read into memory."""
    file.seek(max(0, size - 65_557))
    tail = file.read(65_557)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < 22:
        raise zipfile.BadZipFile("no end of central directory")
    entries, directory = struct.unpack_from("<HI", tail, at + 10)
    locator = tail.rfind(b"PK\x06\x07", 0, at)
    if locator >= 0 and (entries == 0xFFFF or directory == 0xFFFFFFFF):
        (where,) = struct.unpack_from("<Q", tail, locator + 8)
        file.seek(where)
        record = file.read(56)
        if record[:4] == b"PK\x06\x06" and len(record) == 56:
            entries, directory = struct.unpack_from("<Q", record, 32)[0], struct.unpack_from("<Q", record, 40)[0]
    if entries > MOST_ENTRIES or directory > MOST_DIRECTORY_BYTES:
        raise too_large(f"The archive holds more than {MOST_ENTRIES} entries.")


def _shown(name: str) -> str:
    return repr(name[:100])


def _clean(member: Member) -> str:
    """Its path inside of the target; "" = the target itself. Raises FileRefused."""
    name = member.path.rstrip("/") if member.kind == "folder" else member.path
    if name.startswith("/") or "\\" in name or (len(name) > 1 and name[1] == ":" and name[0].isalpha()):
        raise refused(f"{_shown(name)} is no path inside of the archive.")
    try:
        path = clean_relative(name)
    except FileRefused as error:
        raise refused(f"{_shown(name)}: {error.detail}") from error
    if path.count("/") > DEEPEST:
        raise refused(f"{_shown(name)} is nested more than {DEEPEST} folders deep.")
    if member.kind == "file" and (not path or member.path.endswith("/")):
        raise refused(f"{_shown(name)} is no file's name.")
    if any(ord(sign) < 32 or ord(sign) == 127 for sign in path):
        raise refused(f"{_shown(name)} holds control characters.")
    return path


def check(archive: Archive, *, target: str, most_bytes: int, shown: Shown) -> tuple[int, int]:
    """Look at every member, its content too. Returns (files, bytes). Raises FileRefused."""
    links: set[str] = set()
    others: set[str] = set()
    files = total = 0
    for count, (member, content) in enumerate(archive.members(), 1):
        if count > MOST_ENTRIES:
            raise too_large(f"The archive holds more than {MOST_ENTRIES} entries.")
        path = _clean(member)
        whole = "/".join(part for part in (target, path) if part)
        if whole == HIDDEN or whole.startswith(f"{HIDDEN}/"):
            raise refused(f"{_shown(path)} would land where the trash is.")
        if path and not shown(whole, member.kind == "folder"):
            raise FileRefused("denied", f"{whole} is not to be touched: its egg says so.")
        above = path
        while above:
            if above in links or (above != path and above in others):
                raise refused(f"{_shown(path)} lies below a link or file of the same archive, or is in it twice.")
            above = above.rpartition("/")[0]
        if member.kind == "link":
            _check_link(member, path)
            links.add(path)
        elif member.kind == "file":
            others.add(path)
            files += 1
            total = _measure(content, total, most_bytes=most_bytes, packed=archive.packed_bytes)
    late = next((path for path in others if any(path.startswith(f"{link}/") for link in links)), None) if len(links) < 1000 else None
    if late is not None or (len(links) >= 1000 and _below_any(others, links)):
        raise refused(f"{_shown(late or '')} lies below a link of the same archive.")
    return files, total


def _below_any(paths: set[str], links: set[str]) -> bool:
    for path in paths:
        above = path.rpartition("/")[0]
        while above:
            if above in links:
                return True
            above = above.rpartition("/")[0]
    return False


def _check_link(member: Member, path: str) -> None:
    target = member.target
    if not target or len(target) > 4096 or target.startswith("/") or "\\" in target or "\0" in target:
        raise refused(f"The link {_shown(path)} leads out of the archive.")
    if posixpath.normpath(posixpath.join(posixpath.dirname(path), target)).split("/")[0] == "..":
        raise refused(f"The link {_shown(path)} leads out of the archive.")


def _measure(content: _Content | None, total: int, *, most_bytes: int, packed: int) -> int:
    while content is not None and (data := content.read(CHUNK)):
        total += len(data)
        if total > most_bytes:
            raise too_large(f"Unpacked it would take more than the {most_bytes} bytes that are free.")
        if total > RATIO_FREE_BYTES and total > packed * RATIO:
            raise too_large(f"It unpacks to more than {RATIO} times its size: that is what archive bombs do.")
    return total
