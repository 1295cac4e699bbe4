"""What a person does with the files below one folder: look, move, copy, change, remove. Synchronous: call it in a thread.

Everything goes by descriptors below the root (see `beneath`): the folders of a path are resolved by the kernel and can't lead out, and what the
last name stands for is never followed where something is changed. So a link is moved, copied and deleted as a link.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat as stats
from collections.abc import Callable, Iterator

from agent.files.beneath import Beneath, FileRefused, _told, clean_relative
from agent.files.entries import (
    DEEPEST,
    change_mode,
    etag_of,
    names_in,
    open_folder,
    printable,
    real_path,
    remove_tree,
    rename_new,
    type_of,
    usage_of,
    write_all,
)
from agent.files.openat2 import open_beneath
from agent.protocol.files import FileEntry

HIDDEN = ".lormas"
"""Trash and unfinished uploads, in the root; never listed, reached or packed."""
CHUNK = 256 * 1024

Spend = Callable[[int], None]
"""Called before so many more bytes are written; raises FileRefused if they don't fit."""


Shown = Callable[[str, bool], bool]
"""(path, is it a folder) -> may it be seen and touched? What the egg denies is as if it were not there."""


def nothing(_: int) -> None:
    """No quota."""


def writable_name(path: str) -> str:
    """A path for something new. Raises FileRefused for what would be hidden, or is no file's name."""
    path = clean_relative(path)
    if path == HIDDEN or path.startswith(f"{HIDDEN}/"):
        raise FileRefused("denied", f"{HIDDEN} is where Lormas keeps the trash: choose another name.")
    if any(ord(sign) < 32 or ord(sign) == 127 for sign in path):
        raise FileRefused("bad_path", "A name can't hold control characters.")
    return path


class Tree(Beneath):
    """See the module. `owner`: who new files and folders belong to (None = whoever runs this)."""

    owner: tuple[int, int] | None = None

    # ------------------------------------------------------------------------------------------------------------ looking

    @contextlib.contextmanager
    def place(self, path: str) -> Iterator[tuple[int, str]]:
        """(descriptor of the folder that holds it, its name there). Raises FileRefused; the root itself has no place."""
        path = clean_relative(path)
        folder, _, name = path.rpartition("/")
        if not name:
            raise FileRefused("bad_path", "This can't be done with the container's folder itself.")
        if path == HIDDEN or path.startswith(f"{HIDDEN}/"):
            raise FileRefused("not_found", f"There is no {path}.")
        with self._opened(folder, os.O_RDONLY | os.O_DIRECTORY) as parent:
            if not folder or self._is_visible(parent):
                yield parent, name
            else:
                raise FileRefused("not_found", f"There is no {path}.")

    def _is_visible(self, folder: int) -> bool:
        """Not inside of the hidden folder, by whatever link it was reached."""
        try:
            hidden = os.open(HIDDEN, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._root)
        except OSError:
            return True
        try:
            inside = os.path.relpath(real_path(folder), real_path(hidden))
            return inside != "." and inside.startswith("..")
        finally:
            os.close(hidden)

    def entry(self, path: str) -> FileEntry:
        """Of the thing itself. Raises FileRefused."""
        path = clean_relative(path)
        if not path:
            return self._entry("/", os.fstat(self._root), -1)
        with self.place(path) as (parent, name):
            return self._look(parent, name, path)

    def _look(self, parent: int, name: str, path: str) -> FileEntry:
        try:
            return self._entry(name, os.stat(name, dir_fd=parent, follow_symlinks=False), parent)
        except OSError as error:
            raise _told(error, path) from error

    def _entry(self, name: str, found: os.stat_result, parent: int) -> FileEntry:
        kind = type_of(found.st_mode)
        target = target_type = ""
        if kind == "link":
            with contextlib.suppress(OSError):
                target = printable(os.readlink(name, dir_fd=parent))
        return FileEntry(
            name=printable(name),
            type=kind,  # type: ignore[arg-type]
            size=found.st_size if kind == "file" else 0,
            mode=stats.S_IMODE(found.st_mode),
            uid=found.st_uid,
            gid=found.st_gid,
            modified_at_unix=round(found.st_mtime, 3),
            etag=etag_of(found),
            target=target,
            target_type=target_type,  # type: ignore[arg-type]
        )

    def listing(self, path: str, *, offset: int, limit: int, shown: Shown) -> tuple[list[FileEntry], int]:
        """A page of a folder, folders first, then by name; and how many there are. `shown(path, is_folder)` leaves out. Raises FileRefused."""
        path = clean_relative(path)
        with self._opened(path, os.O_RDONLY | os.O_DIRECTORY) as folder:
            if not self._is_visible(folder):
                raise FileRefused("not_found", f"There is no {path}.")
            names: list[tuple[bool, str]] = []
            with os.scandir(folder) as entries:
                for found in entries:
                    if not path and found.name == HIDDEN:
                        continue
                    is_folder = found.is_dir(follow_symlinks=False)
                    if shown(f"{path}/{found.name}" if path else found.name, is_folder):
                        names.append((not is_folder, found.name))
            names.sort(key=lambda one: (one[0], one[1].casefold(), one[1]))
            page: list[FileEntry] = []
            for _, name in names[offset : offset + limit]:
                with contextlib.suppress(FileRefused):  # gone since
                    one = self._look(folder, name, name)
                    page.append(self._behind(path, one) if one.type == "link" else one)
            return page, len(names)

    def _behind(self, path: str, link: FileEntry) -> FileEntry:
        """A link with what is behind it, if that is inside."""
        import msgspec

        try:
            with self._opened(f"{path}/{link.name}" if path else link.name, os.O_PATH) as descriptor:
                kind = type_of(os.fstat(descriptor).st_mode)
        except FileRefused:
            return link
        return msgspec.structs.replace(link, target_type=kind)

    @contextlib.contextmanager
    def reading(self, path: str) -> Iterator[tuple[int, os.stat_result]]:
        """A plain file, open; links that stay inside are followed. A pipe or device is refused before it is opened. Raises FileRefused."""
        path = clean_relative(path)
        with self._opened(path, os.O_PATH) as held:
            found = os.fstat(held)
            if stats.S_ISDIR(found.st_mode):
                raise FileRefused("not_a_file", f"{path or '/'} is a folder.")
            if not stats.S_ISREG(found.st_mode):
                raise FileRefused("not_a_file", f"{path} is not a plain file.")
            if not self._is_visible(held):
                raise FileRefused("not_found", f"There is no {path}.")
            try:
                descriptor = os.open(f"/proc/self/fd/{held}", os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY)
            except OSError as error:
                raise _told(error, path) from error
        try:
            yield descriptor, found
        finally:
            os.close(descriptor)

    # ----------------------------------------------------------------------------------------------------------- changing

    def _own(self, name: str, parent: int) -> None:
        if self.owner is not None and self.owner != (os.geteuid(), os.getegid()):
            with contextlib.suppress(PermissionError):
                os.chown(name, *self.owner, dir_fd=parent, follow_symlinks=False)

    def create(self, path: str, kind: str) -> FileEntry:
        path = writable_name(path)
        self.make_folders(path.rpartition("/")[0], owner=self.owner)
        with self.place(path) as (parent, name):
            try:
                if kind == "folder":
                    os.mkdir(name, 0o755, dir_fd=parent)
                else:
                    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644, dir_fd=parent))
            except FileExistsError:
                raise FileRefused("exists", f"{path} is there already.") from None
            except OSError as error:
                raise _told(error, path) from error
            self._own(name, parent)
            return self._look(parent, name, path)

    def move(self, source: str, target: str, *, overwrite: bool) -> None:
        """Rename within this folder. Raises FileRefused: `exists`, `into_itself`."""
        source, target = clean_relative(source), writable_name(target)
        if source == target:
            return
        if target.startswith(f"{source}/"):
            raise FileRefused("into_itself", f"{source} can't be moved into itself.")
        self.make_folders(target.rpartition("/")[0], owner=self.owner)
        with self.place(source) as (from_folder, name), self.place(target) as (to_folder, new_name):
            self._look(from_folder, name, source)
            try:
                if overwrite:
                    os.rename(name, new_name, src_dir_fd=from_folder, dst_dir_fd=to_folder)
                else:
                    rename_new(from_folder, name, to_folder, new_name)
            except FileExistsError:
                raise FileRefused("exists", f"{target} is there already.") from None
            except OSError as error:
                if error.errno == errno.EINVAL:
                    raise FileRefused("into_itself", f"{source} can't be moved into itself.") from error
                if error.errno in (errno.ENOTEMPTY, errno.EISDIR, errno.ENOTDIR):
                    raise FileRefused("exists", f"{target} is there and can't be replaced by this.") from error
                raise _told(error, target) from error

    def free_name(self, path: str, *, suffix: str = "") -> str:
        """`path`, or with ` (2)`, ` (3)`... before its extension if it is taken."""
        folder, _, name = path.rpartition("/")
        stem, dot, extension = name.partition(".") if not name.startswith(".") else (name, "", "")
        for number in range(1, 1000):
            mark = suffix if number == 1 else f"{suffix} ({number})"
            found = "/".join(part for part in (folder, f"{stem}{mark}{dot}{extension}") if part)
            try:
                self.entry(found)
            except FileRefused as refused:
                if refused.code == "not_found":
                    return found
                raise
        raise FileRefused("exists", f"There are too many of {path} already.")

    def copy(self, source: str, target: str, spend: Spend, *, shown: Shown) -> str:
        """Of a file or a whole folder; returns where it went. Nothing is replaced. What was made is removed again if it fails half-way."""
        source = clean_relative(source)
        target = writable_name(target) if target else self.free_name(source, suffix=" copy")
        if target == source or target.startswith(f"{source}/"):
            raise FileRefused("into_itself", f"{source} can't be copied into itself.")
        self.make_folders(target.rpartition("/")[0], owner=self.owner)
        with self.place(source) as (from_folder, name), self.place(target) as (to_folder, new_name):
            try:
                os.stat(new_name, dir_fd=to_folder, follow_symlinks=False)
            except FileNotFoundError:
                pass
            else:
                raise FileRefused("exists", f"{target} is there already.")
            try:
                self._copy(from_folder, name, to_folder, new_name, spend, shown, source, 0)
            except BaseException as error:
                with contextlib.suppress(FileRefused, OSError):
                    remove_tree(to_folder, new_name)
                if isinstance(error, OSError):
                    raise _told(error, source) from error
                raise
        return target

    def _copy(self, parent: int, name: str, to_parent: int, new: str, spend: Spend, shown: Shown, path: str, deep: int) -> None:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
        kind = type_of(found.st_mode)
        if deep > DEEPEST:
            raise FileRefused("too_deep", f"{path} is nested more than {DEEPEST} folders deep.")
        if not shown(path, kind == "folder"):
            if deep:
                return
            raise FileRefused("denied", f"{path} is not to be touched: its egg says so.")
        if kind == "link":
            os.symlink(os.readlink(name, dir_fd=parent), new, dir_fd=to_parent)
            self._own(new, to_parent)
        elif kind == "file":
            self._copy_file(parent, name, to_parent, new, spend)
        elif kind == "folder":
            os.mkdir(new, 0o700, dir_fd=to_parent)
            with open_folder(parent, name) as inside, open_folder(to_parent, new) as made:
                for below in names_in(inside):
                    if deep == 0 and below == HIDDEN and not path:
                        continue
                    self._copy(inside, below, made, below, spend, shown, f"{path}/{below}", deep + 1)
                os.fchmod(made, stats.S_IMODE(found.st_mode) & 0o777)
            self._own(new, to_parent)

    def _copy_file(self, parent: int, name: str, to_parent: int, new: str, spend: Spend) -> None:
        source = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=parent)
        try:
            found = os.fstat(source)
            if not stats.S_ISREG(found.st_mode):
                return
            target = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=to_parent)
            try:
                while data := os.read(source, CHUNK):
                    spend(len(data))
                    write_all(target, data)
                os.fchmod(target, stats.S_IMODE(found.st_mode) & 0o777)
            finally:
                os.close(target)
        finally:
            os.close(source)
        self._own(new, to_parent)

    def chmod(self, path: str, mode: int, *, recursive: bool) -> int:
        """Only 0777 of it (B09). A link is refused (B05); below a folder links and special files are passed over. Returns how many changed."""
        mode &= 0o777
        path = clean_relative(path)
        with self.place(path) as (parent, name):
            try:
                return change_mode(parent, name, mode, recursive=recursive, path=path, top=True, deep=0)
            except OSError as error:
                raise _told(error, path) from error

    def delete(self, path: str) -> None:
        """For good: a link itself, a folder with all in it."""
        path = clean_relative(path)
        with self.place(path) as (parent, name):
            try:
                remove_tree(parent, name)
            except OSError as error:
                raise _told(error, path) from error

    def usage(self) -> tuple[int, int]:
        """(bytes on disk, entries) of all below the root, the hidden folder too. Other file systems are left out."""
        return usage_of(self._root, os.fstat(self._root).st_dev, 0)

    def free_bytes(self) -> int:
        """On the file system."""
        found = os.fstatvfs(self._root)
        return found.f_bavail * found.f_frsize

    @contextlib.contextmanager
    def hidden(self, name: str) -> Iterator[int]:
        """Descriptor of `.lormas/<name>`, made if need be. If the container put something else there it is refused."""
        at = os.dup(self._root)
        try:
            for part in (HIDDEN, name):
                with contextlib.suppress(FileExistsError):
                    os.mkdir(part, 0o700, dir_fd=at)
                below = open_beneath(at, part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, links=False)
                os.close(at)
                at = below
            yield at
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise FileRefused("disk_full", "No space is left on the node.") from error
            raise FileRefused("failed", f"The folder {HIDDEN} of the container is not usable: {error.strerror}.") from error
        finally:
            os.close(at)
