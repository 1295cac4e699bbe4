"""What a database that does not do its work means to whoever asked, and acts that are tried again when two of them met (SECURITY R27, R28, R30)."""

from __future__ import annotations

import errno
import functools
import sqlite3
import time
from collections.abc import Callable
from typing import Final, ParamSpec, TypeVar

import structlog
from django.db import DatabaseError, InterfaceError, OperationalError, connections, transaction
from django.db.models import Model, QuerySet
from psycopg_pool import PoolTimeout

from lormas.common.errors import Problem

log = structlog.get_logger(__name__)
P = ParamSpec("P")
T = TypeVar("T")
M = TypeVar("M", bound=Model)
TRIES: Final = 3
PAUSE_SECONDS: Final = 0.05

_MET: Final = frozenset({"40001", "40P01"})
"""PostgreSQL: serialization failure, deadlock."""
_FULL: Final = frozenset({"53100"})
_AWAY: Final = frozenset({"57P01", "57P02", "57P03", "53300"})
"""Being shut down, crashed, starting up, too many connections; besides all of class 08 (connection)."""


class Unavailable(Problem):
    """503: the database is away for a moment. `extra["retry_after"]` seconds."""

    status, code, title = 503, "database_unavailable", "Not available"


class Met(Problem):
    """503: two changes met, and the database undid this one. `extra["retry_after"]` seconds."""

    status, code, title = 503, "changes_met", "Two changes met"


class StorageFull(Problem):
    """507: no room left where the panel keeps its data."""

    status, code, title = 507, "storage_full", "Storage is full"


def trouble(error: BaseException) -> Problem | None:
    """The problem that an error of the database, or a full disk, means for who asked; None if it is a mistake of ours, which is a 500."""
    if isinstance(error, PoolTimeout):
        return _unavailable()
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):  # a form's file that found no place, say
        return StorageFull("There is no room left on the panel's disk for what this takes; free some space and send it again.")
    if not isinstance(error, DatabaseError | InterfaceError):
        return None
    cause = error.__cause__ if error.__cause__ is not None else error
    state = str(getattr(cause, "sqlstate", None) or "")
    lite = getattr(cause, "sqlite_errorcode", None)
    primary = lite & 0xFF if isinstance(lite, int) else None
    if state in _MET or primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Met("Another change was made at the same moment, and this one was undone whole. Send it again.", extra={"retry_after": 1})
    if state in _FULL or primary == sqlite3.SQLITE_FULL:
        return StorageFull("There is no room left where the panel keeps its data. Nothing was changed; free some space and send it again.")
    if state in _AWAY or state.startswith("08") or (isinstance(error, OperationalError | InterfaceError) and not state and primary is None):
        return _unavailable()
    if primary == sqlite3.SQLITE_IOERR:
        return StorageFull("The panel can't write its data: the disk is full or fails. Nothing was changed.", code="storage_failed")
    return None


def _unavailable() -> Unavailable:
    return Unavailable(
        "The panel's database does not answer at the moment. Nothing was changed; try again in a few seconds.", extra={"retry_after": 5}
    )


def one(found: QuerySet[M]) -> M | None:
    """The row of a query that can have no more than one, or None. For paths that are walked often: `first()` orders the query, and to order a wide
    row costs Django half of what it costs to read it."""
    return next(iter(found.order_by()[:1]), None)


def give_back() -> None:
    """At the end of a job in a thread that lives on: psycopg's pool gets its connection, SQLite's stays with the thread for a while."""
    for connection in connections.all(initialized_only=True):
        if connection.in_atomic_block:
            connection.close()
        else:
            connection.close_if_unusable_or_obsolete()


def again(act: Callable[[], T]) -> T:
    """Do `act` in a transaction; where it met another one and was undone, once more, three times in all.

    For acts that lock many rows. Inside a transaction of the caller it is done once: that one has been undone, too.

    Raises:
        Whatever `act` raises; the last deadlock or serialization failure.
    """
    for left in range(TRIES - 1, -1, -1):
        try:
            with transaction.atomic():
                return act()
        except OperationalError as error:
            if not left or not isinstance(trouble(error), Met) or transaction.get_connection().in_atomic_block:
                raise
            log.info("database.again", left=left, error=str(error)[:200])
            time.sleep(PAUSE_SECONDS * (TRIES - left))
    raise AssertionError("unreachable")


def done_again(act: Callable[P, T]) -> Callable[P, T]:
    """`again` as a decorator, for services that lock many rows."""

    @functools.wraps(act)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        return again(lambda: act(*args, **kwargs))

    return wrapped


__all__ = ["TRIES", "Met", "StorageFull", "Unavailable", "again", "done_again", "give_back", "one", "trouble"]
