"""Django's SQLite backend, with connections that are kept when a thread is done with them and given to the next one.

Under ASGI each request has a thread of its own, so a connection of Django's lives for one request; and a new one reads the whole schema first, which
for ours costs 2 ms: more than most requests spend on their queries. A connection is kept only where no transaction is open in it, `KEPT` a file.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sqlite3
import threading
import weakref
from pathlib import Path
from typing import Any

from django.db.backends.sqlite3 import base

from lormas.common.sqlite3.creation import DatabaseCreation

KEPT = 4

_lock = threading.Lock()
_idle: dict[tuple[str, int, int, int], list[sqlite3.Connection]] = {}


def _key(name: str) -> tuple[str, int, int, int] | None:
    """The file as it is now, in this process: one that was put in its place, or a fork of us, is another one. None: not a file that is there."""
    try:
        found = Path(name).stat()
    except OSError:
        return None
    return name, found.st_dev, found.st_ino, os.getpid()


class DatabaseWrapper(base.DatabaseWrapper):
    """See the module."""

    creation_class = DatabaseCreation
    _opened_as: tuple[str, int, int, int] | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._cursors: weakref.WeakSet[Any] = weakref.WeakSet()

    def create_cursor(self, name: str | None = None) -> Any:
        made = super().create_cursor(name)
        self._cursors.add(made)
        return made

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        self._opened_as = None if self.is_in_memory_db() else _key(str(self.settings_dict["NAME"]))
        kept: sqlite3.Connection | None = None
        if self._opened_as is not None:
            with _lock:
                idle = _idle.get(self._opened_as)
                kept = idle.pop() if idle else None
        if kept is not None:
            return kept
        made = super().get_new_connection(conn_params)
        if self._opened_as is None and not self.is_in_memory_db():  # the file was made just now
            self._opened_as = _key(str(self.settings_dict["NAME"]))
        return made

    def _close(self) -> None:
        connection, opened_as = self.connection, self._opened_as
        for cursor in list(self._cursors):
            cursor.close()  # one that was not read to its end would hold the next owner in the past
        if connection is None or opened_as is None or self.in_atomic_block or _key(opened_as[0]) != opened_as or not _fit_to_keep(connection):
            super()._close()  # type: ignore[misc]
            return
        with _lock:
            idle = _idle.setdefault(opened_as, [])
            if len(idle) < KEPT:
                idle.append(connection)
                return
        super()._close()  # type: ignore[misc]


def _fit_to_keep(connection: Any) -> bool:
    """As it was when it was new: outside of a transaction, and with foreign keys enforced."""
    with contextlib.suppress(sqlite3.Error):
        if connection.in_transaction:
            connection.rollback()
        return bool(connection.execute("PRAGMA foreign_keys").fetchone() == (1,))
    return False


def forget() -> None:
    """Close what is kept (but not what a process before a fork kept: to close that would let go of its locks)."""
    with _lock:
        kept = [connection for key in list(_idle) if key[3] == os.getpid() for connection in _idle.pop(key)]
    for connection in kept:
        connection.close()


atexit.register(forget)
