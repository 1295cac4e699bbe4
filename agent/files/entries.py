"""Small acts by descriptor that trees, archives and the trash share. None follows a link in its last name."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat as stats
from collections.abc import Iterator

from agent.files.beneath import FileRefused

DEEPEST = 64
_RENAME_NOREPLACE = 1
_libc = ctypes.CDLL(None, use_errno=True)


def etag_of(found: os.stat_result) -> str:
    return f"{found.st_mtime_ns:x}-{found.st_size:x}-{found.st_ino:x}"


def type_of(mode: int) -> str:
    return "file" if stats.S_ISREG(mode) else "folder" if stats.S_ISDIR(mode) else "link" if stats.S_ISLNK(mode) else "other"


def printable(name: str) -> str:
    """As JSON can carry it: bytes that are no UTF-8 stay recognisable (and make a name that can't be asked for)."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def usage_of(folder: int, device: int, deep: int) -> tuple[int, int]:
    size = count = 0
    with os.scandir(folder) as entries:
        for found in entries:
            with contextlib.suppress(OSError):  # gone since
                seen = found.stat(follow_symlinks=False)
                count += 1
                size += seen.st_blocks * 512
                if stats.S_ISDIR(seen.st_mode) and seen.st_dev == device and deep < 4 * DEEPEST:
                    with open_folder(folder, found.name) as inside:
                        more, entries_below = usage_of(inside, device, deep + 1)
                        size, count = size + more, count + entries_below
    return size, count


@contextlib.contextmanager
def open_folder(parent: int, name: str) -> Iterator[int]:
    descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def names_in(folder: int) -> list[str]:
    """By descriptor."""
    return os.listdir(folder)


def real_path(descriptor: int) -> str:
    """Where the kernel says that it is; for comparing only."""
    return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 - compared as text


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def rename_new(from_folder: int, name: str, to_folder: int, new_name: str) -> None:
    """Rename that never replaces. Raises FileExistsError, OSError."""
    source, target = os.fsencode(name), os.fsencode(new_name)
    done = _libc.renameat2(ctypes.c_int(from_folder), source, ctypes.c_int(to_folder), target, ctypes.c_uint(_RENAME_NOREPLACE))
    if done == 0:
        return
    number = ctypes.get_errno()
    if number == errno.EEXIST:
        raise FileExistsError(number, os.strerror(number), new_name)
    if number not in (errno.ENOSYS, errno.EINVAL) or not _is_free(to_folder, new_name):
        raise OSError(number, os.strerror(number), new_name)
    os.rename(name, new_name, src_dir_fd=from_folder, dst_dir_fd=to_folder)


def _is_free(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return True
    return False


def remove_tree(parent: int, name: str) -> None:
    """By descriptors, never through a link. Raises OSError."""
    try:
        os.unlink(name, dir_fd=parent)
        return
    except IsADirectoryError:
        pass
    except PermissionError:
        if not stats.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            raise
    for _ in range(3):  # somebody may be writing into it meanwhile
        with open_folder(parent, name) as inside:
            for below in names_in(inside):
                with contextlib.suppress(FileNotFoundError):
                    remove_tree(inside, below)
        try:
            os.rmdir(name, dir_fd=parent)
            return
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
    raise OSError(errno.ENOTEMPTY, "it is being written into", name)


def change_mode(parent: int, name: str, mode: int, *, recursive: bool, path: str, top: bool, deep: int) -> int:
    held = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        found = os.fstat(held)
        kind = type_of(found.st_mode)
        if kind not in ("file", "folder"):
            if top:
                raise FileRefused("not_a_file", f"{path} is a link or special file: its mode can't be changed.")
            return 0
        if deep > DEEPEST:
            raise FileRefused("too_deep", f"{path} is nested more than {DEEPEST} folders deep.")
        changed = 0
        if kind == "folder" and recursive:
            with open_folder(parent, name) as inside:
                for below in names_in(inside):
                    with contextlib.suppress(FileNotFoundError):
                        changed += change_mode(inside, below, mode, recursive=True, path=f"{path}/{below}", top=False, deep=deep + 1)
        wanted = mode | ((mode & 0o444) >> 2) if kind == "folder" and recursive else mode  # a folder that may be read must be entered
        os.chmod(f"/proc/self/fd/{held}", wanted)  # noqa: PTH101 - by descriptor: exactly what was looked at
        return changed + 1
    finally:
        os.close(held)
