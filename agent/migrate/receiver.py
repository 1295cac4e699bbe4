"""The records of a tree made into files below one folder, so that it can go on after a death. Synchronous: call it in a thread.

What is noted as there (`Note`) is there; what came behind the last note comes again and is laid over what it left. Nothing is ever followed: folders
of a path are opened without links, files are written beside and renamed.
"""

from __future__ import annotations

import contextlib
import os
import stat as stats
import time
from pathlib import Path

import msgspec

from agent.files.beneath import FileRefused
from agent.files.entries import names_in, remove_tree, write_all
from agent.files.openat2 import open_beneath
from agent.files.quota import FLOOR_BYTES
from agent.migrate.records import MOST_HEAD_BYTES, PART, Entry, Head

NOTE_BYTES = 8 * 1024 * 1024
NOTE_ENTRIES = 256
NOTE_SECONDS = 2.0


class Note(msgspec.Struct):
    """How far a move's copy is; a file of its own in the agent's folder."""

    move: str
    path: str = ""
    """Hex."""
    offset: int = -1
    bytes: int = 0
    entries: int = 0
    begun: bool = False
    whole: bool = False
    """All came."""


def read_note(file: Path) -> Note | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Note)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def write_note(file: Path, note: Note) -> None:
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    draft = file.with_suffix(".tmp")
    draft.write_bytes(msgspec.json.encode(note))
    draft.replace(file)


class Receiver:
    """Takes bytes as they come. `close` it."""

    def __init__(self, folder: Path, file: Path, note: Note) -> None:
        self._root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._file = file
        self.note = note
        self._waiting = bytearray()
        self._head: Head | None = None
        self._left = 0
        self._part = -1
        self._parent: tuple[str, int] | None = None
        self._since = (note.bytes, note.entries, time.monotonic())

    def feed(self, data: bytes) -> None:
        """Raises FileRefused, OSError."""
        view = memoryview(data)
        while view:
            if self._head is not None and self._left:
                piece = view[: self._left]
                self._room(len(piece))
                write_all(self._part, piece)
                self._left -= len(piece)
                self.note.bytes += len(piece)
                view = view[len(piece) :]
                if self._left:
                    self._maybe_note()
                else:
                    self._done()
                continue
            need = 4 if len(self._waiting) < 4 else 4 + int.from_bytes(self._waiting[:4], "big")
            if need > 4 + MOST_HEAD_BYTES:
                raise FileRefused("bad_payload", "This is no record of a tree.")
            taken = view[: need - len(self._waiting)]
            self._waiting += taken
            view = view[len(taken) :]
            if len(self._waiting) >= 4 and len(self._waiting) == 4 + int.from_bytes(self._waiting[:4], "big"):
                self._begin(bytes(self._waiting[4:]))
                self._waiting.clear()

    def finish(self) -> None:
        """Nothing more comes. Raises FileRefused `changed` if a record is not whole."""
        if self._waiting or self._head is not None:
            raise FileRefused("changed", "The last record is not whole.")
        self.note.whole = True
        self._write_note()

    def close(self) -> None:
        for descriptor in (self._part, self._parent[1] if self._parent else -1, self._root):
            if descriptor >= 0:
                os.close(descriptor)
        self._part, self._parent, self._root = -1, None, -1

    # ------------------------------------------------------------------------------------------------------------ a record

    def _room(self, count: int) -> None:
        found = os.fstatvfs(self._root)
        if found.f_bavail * found.f_frsize < count + FLOOR_BYTES:
            raise FileRefused("disk_full", "The node's disk is full.")

    def _begin(self, raw: bytes) -> None:
        try:
            head = msgspec.msgpack.decode(raw, type=Head)
        except msgspec.MsgspecError as error:
            raise FileRefused("bad_payload", f"This is no record of a tree: {error}") from error
        entry = head.entry
        if any(part in (b"", b".", b"..") or b"\0" in part for part in entry.path.split(b"/")) and entry.path:
            raise FileRefused("bad_path", "A path leads out of the folder.")
        self._head, self._left = head, 0
        if entry.kind == "file":
            self._left = entry.size - head.offset
            flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            if not head.offset:
                with contextlib.suppress(FileNotFoundError):
                    remove_tree(self._root, PART)
            self._part = os.open(PART, flags, 0o600, dir_fd=self._root)
            os.ftruncate(self._part, head.offset)
            os.lseek(self._part, head.offset, os.SEEK_SET)
            if self._left:
                return
        self._done()

    def _place(self, path: str) -> tuple[int, str]:
        folder, _, name = path.rpartition("/")
        if self._parent is None or self._parent[0] != folder:
            if self._parent is not None:
                os.close(self._parent[1])
                self._parent = None
            self._parent = (folder, open_beneath(self._root, folder or ".", os.O_RDONLY | os.O_DIRECTORY, links=False))
        return self._parent[1], name

    def _done(self) -> None:
        head, self._head = self._head, None
        assert head is not None
        entry = head.entry
        if entry.path:
            parent, name = self._place(os.fsdecode(entry.path))
            self._make(entry, parent, name)
        else:
            _dress(self._root, entry)
        self.note.entries += 1
        self.note.path, self.note.offset, self.note.begun = entry.path.hex(), -1, True
        self._maybe_note()

    def _make(self, entry: Entry, parent: int, name: str) -> None:
        if entry.kind == "file":
            _dress(self._part, entry)
            os.utime(self._part, ns=(entry.mtime_ns, entry.mtime_ns))
            os.close(self._part)
            self._part = -1
            _clear(parent, name, folders_only=True)
            os.rename(PART, name, src_dir_fd=self._root, dst_dir_fd=parent)
            return
        if entry.kind == "folder":
            try:
                os.mkdir(name, 0o700, dir_fd=parent)
            except FileExistsError:
                if not _is_folder(parent, name):
                    remove_tree(parent, name)
                    os.mkdir(name, 0o700, dir_fd=parent)
            made = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            try:
                _dress(made, entry)
            finally:
                os.close(made)
            return
        _clear(parent, name)
        if entry.kind == "link":
            os.symlink(entry.target, os.fsencode(name), dir_fd=parent)
        elif entry.kind == "pipe":
            os.mkfifo(name, 0o600, dir_fd=parent)
        elif entry.kind == "again":
            folder, _, first = os.fsdecode(entry.target).rpartition("/")
            source = open_beneath(self._root, folder or ".", os.O_RDONLY | os.O_DIRECTORY, links=False)
            try:
                os.link(first, name, src_dir_fd=source, dst_dir_fd=parent, follow_symlinks=False)
            finally:
                os.close(source)
            return
        else:
            raise FileRefused("bad_payload", f"Entries of kind {entry.kind[:16]!r} are not known here.")
        _own(parent, name, entry)

    # --------------------------------------------------------------------------------------------------------------- notes

    def _maybe_note(self) -> None:
        size, entries, at = self._since
        now = time.monotonic()
        if self.note.bytes - size >= NOTE_BYTES or self.note.entries - entries >= NOTE_ENTRIES or now - at >= NOTE_SECONDS:
            self._write_note()

    def _write_note(self) -> None:
        """In the middle of a file: so much of it is in the part beside."""
        note = self.note
        if self._head is not None and self._head.entry.kind == "file":
            done = self._head.entry.size - self._left
            note = msgspec.structs.replace(note, path=self._head.entry.path.hex(), offset=done, begun=True)
        write_note(self._file, note)
        self._since = (self.note.bytes, self.note.entries, time.monotonic())


def _is_folder(parent: int, name: str) -> bool:
    return stats.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)


def _clear(parent: int, name: str, *, folders_only: bool = False) -> None:
    with contextlib.suppress(FileNotFoundError):
        if not folders_only or _is_folder(parent, name):
            remove_tree(parent, name)


def _dress(descriptor: int, entry: Entry) -> None:
    """Owner first: giving a file away takes its special bits."""
    with contextlib.suppress(PermissionError):
        os.fchown(descriptor, entry.uid, entry.gid)
    os.fchmod(descriptor, entry.mode)


def _own(parent: int, name: str, entry: Entry) -> None:
    with contextlib.suppress(PermissionError):
        os.chown(name, entry.uid, entry.gid, dir_fd=parent, follow_symlinks=False)
    if entry.kind == "pipe":
        os.chmod(name, entry.mode, dir_fd=parent)


def empty(folder: Path) -> None:
    """All that is in it goes."""
    root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in names_in(root):
            remove_tree(root, name)
    finally:
        os.close(root)
