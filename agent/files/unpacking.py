"""Writing out an archive that `agent.files.unpack` has approved of. What fails half-way leaves nothing new behind, and no old file is lost to half of
a new one: others may fill the disk, or the quota, at any moment (SECURITY B10)."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat as stats

from agent.files.beneath import TEMPORARY, FileRefused
from agent.files.entries import remove_tree, rename_new, write_all
from agent.files.tree import CHUNK, Spend, Tree
from agent.files.unpack import Archive, Member, _clean, _Content


class _Made:
    """What was not there before, so that it can be taken back."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._known: set[str] = {""}
        self._folders: list[str] = []
        self.files: list[str] = []

    def folder(self, path: str) -> None:
        """It, and those above. Raises FileRefused."""
        if path in self._known:
            return
        above: list[str] = []
        at = path
        while at not in self._known:
            above.append(at)
            at = at.rpartition("/")[0]
        fresh = [one for one in above if not self._is_there(one)]
        self._folders += reversed(fresh)
        self._tree.make_folders(path, owner=self._tree.owner)
        self._known.update(above)

    def _is_there(self, path: str) -> bool:
        try:
            with self._tree.place(path) as (parent, name):
                os.stat(name, dir_fd=parent, follow_symlinks=False)
        except (FileRefused, FileNotFoundError):
            return False
        return True

    def undo(self) -> None:
        """As far as it can: what the container has changed or taken meanwhile is its own."""
        for paths, remove in ((self.files, os.unlink), (self._folders, os.rmdir)):
            for path in reversed(paths):
                with contextlib.suppress(FileRefused, OSError), self._tree.place(path) as (parent, name):
                    remove(name, dir_fd=parent)


def unpack(tree: Tree, archive: Archive, *, target: str, overwrite: bool, spend: Spend) -> None:
    """Write what `check` has approved of.

    Raises:
        FileRefused: all files, links and folders that were not there before are gone again; what was replaced until then stays replaced.
    """
    made = _Made(tree)
    try:
        made.folder(target)
        for member, content in archive.members():
            path = "/".join(part for part in (target, _clean(member)) if part)
            if not path or path == target:
                continue
            if member.kind == "folder":
                made.folder(path)
                continue
            made.folder(path.rpartition("/")[0])
            with tree.place(path) as (parent, name):
                is_new = _put(tree, parent, name, member, content, overwrite=overwrite, spend=spend, path=path)
            if is_new:
                made.files.append(path)
    except BaseException:
        made.undo()
        raise


def _put(tree: Tree, parent: int, name: str, member: Member, content: _Content | None, *, overwrite: bool, spend: Spend, path: str) -> bool:
    """Beside its place first, whole; then into it at once. True: there was nothing of that name before. Raises FileRefused."""
    draft = f"{TEMPORARY}{secrets.token_hex(8)}.tmp"
    try:
        if member.kind == "link":
            os.symlink(member.target, draft, dir_fd=parent)
        else:
            _write(parent, draft, content, member.mode, spend)
        tree._own(draft, parent)
        try:
            rename_new(parent, draft, parent, name)
            return True
        except FileExistsError:
            if not overwrite or stats.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                raise FileRefused("exists", f"{path} is there already: move it away, or unpack with overwriting.") from None
        os.rename(draft, name, src_dir_fd=parent, dst_dir_fd=parent)
        return False
    except BaseException:
        with contextlib.suppress(OSError):
            remove_tree(parent, draft)
        raise


def _write(parent: int, name: str, content: _Content | None, mode: int, spend: Spend) -> None:
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=parent)
    try:
        while content is not None and (data := content.read(CHUNK)):
            spend(len(data))
            write_all(descriptor, data)
        os.fchmod(descriptor, (mode or 0o644) & 0o777)
    finally:
        os.close(descriptor)
