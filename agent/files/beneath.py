"""One folder of this machine as the root of all paths. Synchronous: call it in a thread.

Every path is relative to the folder (a leading `/` means the folder itself, as for whoever is inside). No path string of the machine is
ever built from one: everything goes through descriptors. Links are followed only while they stay inside. Writing is atomic: a death at any
moment leaves the old content or the new one, and owner and mode of a file that was there stay.
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat as stats
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from agent.files.openat2 import open_beneath

NAME_BYTES = 255
PATH_BYTES = 4096
CHUNK = 1024 * 1024
TEMPORARY = ".lormas-"


class FileRefused(Exception):
    """`code`: bad_path | outside | not_found | not_a_file | not_a_folder | too_large | disk_full | failed. `detail` is for a person."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Content:
    """A file's bytes with what must survive a rewrite."""

    data: bytes
    mode: int = 0o644
    uid: int = -1
    gid: int = -1


def clean_relative(path: str) -> str:
    """`/a//./b` -> `a/b`; "" is the folder itself.

    Raises:
        FileRefused: `bad_path`: a NUL, `..` in any spelling of a separator, or a name longer than a file system takes.
    """
    if "\0" in path:
        raise FileRefused("bad_path", "A path can't hold a NUL character.")
    if ".." in path.replace("\\", "/").split("/"):
        raise FileRefused("bad_path", "A path can't hold '..'.")
    parts = [part for part in path.split("/") if part not in ("", ".")]
    try:
        sizes = [len(os.fsencode(part)) for part in parts]
    except UnicodeEncodeError:
        raise FileRefused("bad_path", "This path can't be written as a file's name.") from None
    if any(size > NAME_BYTES for size in sizes) or sum(sizes) + len(sizes) > PATH_BYTES:
        raise FileRefused("bad_path", "The path or a name in it is too long.")
    return "/".join(parts)


def _told(error: OSError, path: str) -> FileRefused:
    shown = path or "/"
    match error.errno:
        case errno.ENOENT:
            return FileRefused("not_found", f"There is no {shown}.")
        case errno.EXDEV | errno.ELOOP:
            return FileRefused("outside", f"{shown} is, or lies behind, a link that leads out of the container's folder.")
        case errno.ENOTDIR:
            return FileRefused("not_a_folder", f"A part of {shown} is a file, not a folder.")
        case errno.EISDIR:
            return FileRefused("not_a_file", f"{shown} is a folder.")
        case errno.ENXIO | errno.ENODEV:
            return FileRefused("not_a_file", f"{shown} is not a plain file.")
        case errno.ENOSPC | errno.EDQUOT:
            return FileRefused("disk_full", "No space is left on the node.")
        case _:
            return FileRefused("failed", f"{shown}: {error.strerror or error}")


class Beneath:
    """A folder, open as long as this is; use it as a context manager. Raises FileNotFoundError or another OSError if it can't be opened."""

    as_root = False
    """It is somebody's whole file system: absolute links begin here. Otherwise they lead out."""
    no_devices: frozenset[int] = frozenset()
    """File systems that are not entered (st_dev)."""

    def __init__(self, folder: Path) -> None:
        self._root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __enter__(self) -> Beneath:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        if self._root >= 0:
            os.close(self._root)
            self._root = -1

    # -------------------------------------------------------------------------------------------------------------- opening

    @contextlib.contextmanager
    def _opened(self, path: str, flags: int, *, links: bool = True) -> Iterator[int]:
        try:
            descriptor = open_beneath(self._root, path or ".", flags, links=links, as_root=self.as_root)
        except OSError as error:
            raise _told(error, path) from error
        try:
            if self.no_devices and os.fstat(descriptor).st_dev in self.no_devices:
                raise FileRefused("denied", f"{path} is a view of the kernel, not a file of the container.")
            yield descriptor
        finally:
            os.close(descriptor)

    def _real(self, path: str) -> str:
        """The path behind links that stay inside; of what is not there yet, the place where it will be."""
        try:
            with self._opened(path, os.O_PATH) as descriptor:
                real = Path(f"/proc/self/fd/{descriptor}").readlink()
                root = Path(f"/proc/self/fd/{self._root}").readlink()
        except FileRefused as refused:
            if refused.code == "not_found" and not self._is_link(path):
                folder, _, name = path.rpartition("/")
                return "/".join(part for part in (self._real(folder) if folder else "", name) if part)
            raise
        try:
            return "" if real == root else str(real.relative_to(root))
        except ValueError:
            raise FileRefused("outside", f"{path} leads out of the container's folder.") from None

    def _is_link(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        try:
            with self._opened(folder, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
                os.readlink(name, dir_fd=descriptor)
        except (OSError, FileRefused):
            return False
        return True

    # -------------------------------------------------------------------------------------------------------------- reading

    def stat(self, path: str) -> os.stat_result | None:
        """Of what is there, behind links that stay inside; None if there is nothing. Raises FileRefused."""
        path = clean_relative(path)
        try:
            with self._opened(path, os.O_PATH) as descriptor:
                return os.fstat(descriptor)
        except FileRefused as refused:
            if refused.code == "not_found":
                return None
            raise

    def names(self, path: str = "") -> list[str]:
        """What is in a folder, sorted. Raises FileRefused."""
        path = clean_relative(path)
        with self._opened(path, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
            return sorted(os.listdir(descriptor))  # noqa: PTH208 - by descriptor

    def read(self, path: str, *, max_bytes: int) -> Content:
        """A plain file. A pipe or device is refused without waiting for it. Raises FileRefused."""
        path = clean_relative(path)
        with self._opened(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY) as descriptor:
            found = os.fstat(descriptor)
            if not stats.S_ISREG(found.st_mode):
                raise FileRefused("not_a_file", f"{path or '/'} is not a plain file.")
            data = bytearray()
            while chunk := os.read(descriptor, min(CHUNK, max_bytes + 1 - len(data))):
                data += chunk
                if len(data) > max_bytes:
                    raise FileRefused("too_large", f"{path} is larger than {max_bytes} bytes.")
            return Content(bytes(data), stats.S_IMODE(found.st_mode) & 0o777, found.st_uid, found.st_gid)

    # -------------------------------------------------------------------------------------------------------------- writing

    def write(self, path: str, data: bytes, *, mode: int = 0o644, owner: tuple[int, int] | None = None) -> None:
        """All of it or nothing. What is there keeps its owner and mode; `mode` and `owner` are for new files (and new folders above them).

        Raises FileRefused.
        """
        path = clean_relative(path)
        if not path:
            raise FileRefused("not_a_file", "/ is a folder.")
        self.make_folders(path.rpartition("/")[0], owner=owner)
        folder, _, name = self._real(path).rpartition("/")
        with self._opened(folder, os.O_RDONLY | os.O_DIRECTORY, links=False) as parent:
            try:
                there = os.stat(name, dir_fd=parent, follow_symlinks=False)
            except FileNotFoundError:
                there = None
            if there is not None and not stats.S_ISREG(there.st_mode):
                raise FileRefused("not_a_file", f"{path} is not a plain file.")
            if there is not None:
                mode, owner = stats.S_IMODE(there.st_mode), (there.st_uid, there.st_gid)
            try:
                _replace(parent, name, data, mode=mode & 0o777, owner=owner)
            except OSError as error:
                raise _told(error, path) from error

    def make_folders(self, path: str, *, mode: int = 0o755, owner: tuple[int, int] | None = None) -> None:
        """The folder and those above it; no-op where they are. Raises FileRefused."""
        path = clean_relative(path)
        try:
            with self._opened(path, os.O_PATH | os.O_DIRECTORY):
                return
        except FileRefused as refused:
            if refused.code != "not_found":
                raise
        at = ""
        for part in path.split("/"):
            with self._opened(at, os.O_RDONLY | os.O_DIRECTORY) as parent:
                try:
                    os.mkdir(part, mode, dir_fd=parent)
                    if owner is not None:
                        os.chown(part, *owner, dir_fd=parent, follow_symlinks=False)
                except FileExistsError:
                    pass
                except OSError as error:
                    raise _told(error, path) from error
            at = f"{at}/{part}" if at else part

    def remove(self, path: str) -> None:
        """A file, a link (never what it leads to) or an empty folder; no-op if it is gone. The folder itself is refused. Raises FileRefused."""
        path = clean_relative(path)
        folder, _, name = path.rpartition("/")
        if not name:
            raise FileRefused("bad_path", "The container's folder itself can't be removed.")
        try:
            with self._opened(folder, os.O_RDONLY | os.O_DIRECTORY) as parent:
                try:
                    os.unlink(name, dir_fd=parent)
                except IsADirectoryError:
                    os.rmdir(name, dir_fd=parent)
        except FileRefused as refused:
            if refused.code != "not_found":
                raise
        except FileNotFoundError:
            pass
        except OSError as error:
            raise _told(error, path) from error

    # ------------------------------------------------------------------------------------------------------------ ownership

    def own(self, uid: int, gid: int) -> int:
        """Give the folder and all in it to one owner; links themselves, never what they lead to. Other file systems below are left alone.

        Returns how many entries changed hands. Raises FileRefused.
        """
        try:
            top = os.fstat(self._root)
            changed = 0
            if (top.st_uid, top.st_gid) != (uid, gid):
                os.fchown(self._root, uid, gid)
                changed += 1
            return changed + _own_below(self._root, uid, gid, top.st_dev)
        except OSError as error:
            raise _told(error, "") from error


def _own_below(folder: int, uid: int, gid: int, device: int) -> int:
    changed = 0
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries]
    for name in names:
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if found.st_dev != device:
                continue
            if (found.st_uid, found.st_gid) != (uid, gid):
                os.chown(name, uid, gid, dir_fd=folder, follow_symlinks=False)
                changed += 1
            if stats.S_ISDIR(found.st_mode):
                below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
                try:
                    changed += _own_below(below, uid, gid, device)
                finally:
                    os.close(below)
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno not in (errno.ELOOP, errno.ENOTDIR):  # swapped for a link under our hands: not ours to follow
                raise
    return changed


def _replace(parent: int, name: str, data: bytes, *, mode: int, owner: tuple[int, int] | None) -> None:
    """Temporary file beside it, on disk, then over it."""
    draft = f"{TEMPORARY}{secrets.token_hex(8)}.tmp"
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=parent)
    try:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(descriptor, view) :]
            if owner is not None and owner != (os.geteuid(), os.getegid()):
                with contextlib.suppress(PermissionError):  # an agent without root can only give files to itself
                    os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(draft, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft, dir_fd=parent)
        raise
