"""Opening a path below a folder so that the kernel itself refuses to leave it; a strict walk where the kernel can't.

`openat2` with RESOLVE_BENEATH (Linux 5.6) follows links inside of the folder and refuses those that lead out, also while somebody swaps a
folder for a link. Without it (old kernels, some sandboxes) each component is opened by itself and no link is followed at all.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import stat
import struct

_OPENAT2 = 437
"""On every architecture: new system calls share their numbers."""
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10
TRIES = 100
"""The kernel answers EAGAIN when somebody renames around; a folder that never comes to rest is refused."""

_libc = ctypes.CDLL(None, use_errno=True)
_missing = platform.system() != "Linux"


def _kernel_open(root: int, path: str, flags: int, mode: int, resolve: int) -> int:
    how = struct.pack("=QQQ", flags | os.O_CLOEXEC, mode, resolve)
    found: int = _libc.syscall(_OPENAT2, ctypes.c_int(root), ctypes.c_char_p(os.fsencode(path)), ctypes.c_char_p(how), ctypes.c_size_t(len(how)))
    if found < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), path)
    return found


def open_beneath(root: int, path: str, flags: int, *, mode: int = 0, links: bool = True, as_root: bool = False) -> int:
    """A descriptor of `path` (relative, without `..`; "." = the folder itself) below the folder that `root` is open on.

    `links` False: no link is followed, inside or not. `as_root`: absolute links begin at this folder, as they do for who has it
    as `/`. Raises OSError: EXDEV or ELOOP where a link leads out or is not to be followed.
    """
    global _missing
    if not _missing:
        resolve = (RESOLVE_IN_ROOT if as_root else RESOLVE_BENEATH) | RESOLVE_NO_MAGICLINKS | (0 if links else RESOLVE_NO_SYMLINKS)
        for _ in range(TRIES):
            try:
                return _kernel_open(root, path, flags, mode, resolve)
            except OSError as error:
                if error.errno == errno.EAGAIN:
                    continue
                if error.errno not in (errno.ENOSYS, errno.EPERM, errno.EINVAL):
                    raise
                if error.errno != errno.ENOSYS and _kernel_can(root):
                    raise
                _missing = True
                break
        else:
            raise OSError(errno.EXDEV, "the folder changes while it is being opened", path)
    return walk(root, path, flags, mode=mode)


def _kernel_can(root: int) -> bool:
    """Is the refusal about this path, or is the system call itself not allowed here?"""
    try:
        os.close(_kernel_open(root, ".", os.O_PATH | os.O_DIRECTORY, 0, RESOLVE_BENEATH))
    except OSError:
        return False
    return True


def walk(root: int, path: str, flags: int, *, mode: int = 0) -> int:
    """As `open_beneath`, component by component; any link on the way is ELOOP."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise OSError(errno.EXDEV, "leads out of the folder", path)
    at = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=root)
    try:
        for part in parts[:-1]:
            below = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = below
        found = os.open(parts[-1] if parts else ".", flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=at)
        if flags & os.O_PATH and stat.S_ISLNK(os.fstat(found).st_mode):  # O_PATH opens the link itself
            os.close(found)
            raise OSError(errno.ELOOP, "a link", path)
        return found
    except NotADirectoryError as error:
        # A link where a folder was wanted, without following it.
        raise OSError(errno.ELOOP if _is_link(at, error.filename) else errno.ENOTDIR, "not a folder", path) from error
    finally:
        os.close(at)


def _is_link(folder: int, name: str | bytes | None) -> bool:
    try:
        os.readlink(os.fsdecode(name or ""), dir_fd=folder)
    except OSError:
        return False
    return True
