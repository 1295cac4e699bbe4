"""The trash of a container, and its unfinished uploads: in the hidden folder of its own data folder, so that quota and rename hold.

What lies there may have been touched by the container itself: names and notes are read as hostile. Synchronous.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import secrets
import stat as stats
import time
from collections.abc import Iterator
from typing import Any

import msgspec

from agent.files.beneath import FileRefused, clean_relative
from agent.files.entries import names_in, remove_tree, rename_new, type_of, write_all
from agent.files.tree import Tree, writable_name

TRASH = "trash"
UPLOADS = "uploads"
NOTE_BYTES = 8192
STALE_SECONDS = 86400.0
_ID = re.compile(r"^[0-9a-f]{24}$")
_turns = itertools.count()


class Item(msgspec.Struct):
    """Note beside a thing in the trash."""

    path: str
    deleted_at_unix: float
    by: str = ""


class Upload(msgspec.Struct):
    """Note beside the part of an upload."""

    path: str
    size: int
    overwrite: bool = False


def new_id() -> str:
    """Sorts by time; those of one millisecond by their turn."""
    return f"{time.time_ns() // 1_000_000:012x}{next(_turns) & 0xFFFF:04x}{secrets.token_hex(4)}"


def checked_id(text: str) -> str:
    if not _ID.match(text):
        raise FileRefused("not_found", "There is no such entry (any more).")
    return text


def _note(folder: int, name: str, kind: Any) -> Any:
    try:
        descriptor = os.open(f"{name}.json", os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return None
    try:
        if not stats.S_ISREG(os.fstat(descriptor).st_mode):
            return None
        found = msgspec.json.decode(os.read(descriptor, NOTE_BYTES), type=kind)
        found.path = clean_relative(found.path)
        return found
    except (msgspec.MsgspecError, FileRefused, OSError):
        return None
    finally:
        os.close(descriptor)


def _write_note(folder: int, name: str, note: Any) -> None:
    """Raises OSError; no half of it is left then."""
    descriptor = os.open(f"{name}.json", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=folder)
    try:
        write_all(descriptor, msgspec.json.encode(note))
    except OSError:
        _forget(folder, name)
        raise
    finally:
        os.close(descriptor)


def _forget(folder: int, name: str) -> None:
    for one in (f"{name}.json", name):
        with contextlib.suppress(FileNotFoundError):
            remove_tree(folder, one)


def _ids(folder: int) -> list[str]:
    return sorted({name.removesuffix(".json") for name in names_in(folder) if _ID.match(name.removesuffix(".json"))}, reverse=True)


# ------------------------------------------------------------------------------------------------------------------- trash


def put(tree: Tree, path: str, *, by: str) -> str:
    """Move a thing there; returns its id. Raises FileRefused."""
    path = clean_relative(path)
    with tree.place(path) as (parent, name), tree.hidden(TRASH) as trash:
        tree._look(parent, name, path)
        item_id = new_id()
        try:
            _write_note(trash, item_id, Item(path=path, deleted_at_unix=round(time.time(), 3), by=by[:128]))
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise FileRefused("disk_full", "The node's disk has no room for a note of where it was: delete it for good instead.") from error
        try:
            rename_new(parent, name, trash, item_id)
        except OSError as error:
            _forget(trash, item_id)
            raise FileRefused("failed", f"{path} can't be moved to the trash ({error.strerror}): delete it for good instead.") from error
        return item_id


def items(tree: Tree) -> Iterator[dict[str, Any]]:
    """Newest first."""
    with tree.hidden(TRASH) as trash:
        for item_id in _ids(trash):
            note = _note(trash, item_id, Item)
            try:
                found = os.stat(item_id, dir_fd=trash, follow_symlinks=False)
            except FileNotFoundError:
                continue
            if note is not None:
                yield {
                    "id": item_id,
                    "path": note.path,
                    "type": type_of(found.st_mode),
                    "size": found.st_size if stats.S_ISREG(found.st_mode) else 0,
                    "deleted_at_unix": note.deleted_at_unix,
                    "by": note.by,
                }


def restore(tree: Tree, item_id: str) -> str:
    """Back to where it was, or beside it; returns where. Raises FileRefused."""
    checked_id(item_id)
    with tree.hidden(TRASH) as trash:
        note = _note(trash, item_id, Item)
        if note is None:
            raise FileRefused("not_found", "There is no such entry in the trash (any more).")
        path = tree.free_name(writable_name(note.path))
        tree.make_folders(path.rpartition("/")[0], owner=tree.owner)
        with tree.place(path) as (parent, name):
            try:
                rename_new(trash, item_id, parent, name)
            except OSError as error:
                raise FileRefused("failed", f"{path} can't be restored: {error.strerror}.") from error
        _forget(trash, item_id)
        return path


def empty(tree: Tree, ids: list[str]) -> int:
    """For good; all of it without ids. Returns how many went."""
    with tree.hidden(TRASH) as trash:
        wanted = [checked_id(one) for one in ids] if ids else _ids(trash)
        gone = 0
        for item_id in wanted:
            if item_id in _ids(trash):
                _forget(trash, item_id)
                gone += 1
        return gone


def purge(tree: Tree, *, kept_seconds: float) -> None:
    """What has been there for longer goes, by our own clock in its id, not by what the note says."""
    before = (time.time() - kept_seconds) * 1000
    with tree.hidden(TRASH) as trash:
        for item_id in _ids(trash):
            if int(item_id[:12], 16) < before:
                _forget(trash, item_id)


# ----------------------------------------------------------------------------------------------------------------- uploads


def begin_upload(tree: Tree, note: Upload) -> str:
    """An empty part; returns its id. Stale ones of others go."""
    with tree.hidden(UPLOADS) as uploads:
        stale = (time.time() - STALE_SECONDS) * 1000
        for old in _ids(uploads):
            if int(old[:12], 16) < stale:
                _forget(uploads, old)
        upload_id = new_id()
        _write_note(uploads, upload_id, note)
        try:
            os.close(os.open(upload_id, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=uploads))
        except OSError:
            _forget(uploads, upload_id)
            raise
        return upload_id


@contextlib.contextmanager
def upload_part(tree: Tree, upload_id: str) -> Iterator[tuple[int, int, Upload]]:
    """(folder of the parts, the part open for reading and writing, its note). Raises FileRefused `not_found`."""
    checked_id(upload_id)
    with tree.hidden(UPLOADS) as uploads:
        note = _note(uploads, upload_id, Upload)
        try:
            part = os.open(upload_id, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=uploads)
        except OSError:
            part = -1
        if note is None or part < 0:
            if part >= 0:
                os.close(part)
            raise FileRefused("not_found", "There is no such upload (any more): begin it anew.")
        try:
            if not stats.S_ISREG(os.fstat(part).st_mode):
                raise FileRefused("not_found", "There is no such upload (any more): begin it anew.")
            yield uploads, part, note
        finally:
            os.close(part)


def cancel_upload(tree: Tree, upload_id: str) -> None:
    with tree.hidden(UPLOADS) as uploads:
        _forget(uploads, checked_id(upload_id))


def finish_upload(tree: Tree, uploads: int, upload_id: str, part: int, note: Upload) -> None:
    """Put the part where it belongs. Raises FileRefused `exists`."""
    path = writable_name(note.path)
    tree.make_folders(path.rpartition("/")[0], owner=tree.owner)
    mode, owner = 0o644, tree.owner
    with tree.place(path) as (parent, name):
        try:
            there = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            there = None
        if there is not None:
            if not note.overwrite:
                raise FileRefused("exists", f"{path} has come into being meanwhile: upload it under another name, or overwrite it.")
            if not stats.S_ISREG(there.st_mode):
                raise FileRefused("not_a_file", f"{path} is not a plain file.")
            mode, owner = stats.S_IMODE(there.st_mode) & 0o777, (there.st_uid, there.st_gid)
        os.fchmod(part, mode)
        if owner is not None:
            with contextlib.suppress(PermissionError):
                os.fchown(part, *owner)
        os.fsync(part)
        try:
            if there is not None:
                os.rename(upload_id, name, src_dir_fd=uploads, dst_dir_fd=parent)
            else:
                rename_new(uploads, upload_id, parent, name)
        except FileExistsError:
            raise FileRefused("exists", f"{path} has come into being meanwhile.") from None
    _forget(uploads, upload_id)
