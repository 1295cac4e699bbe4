"""A database that is full, away, or undoes one of two that met: whoever asked is told so, nothing is half done, and it goes on by itself."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.db import IntegrityError, OperationalError, connection, connections, transaction
from django.test import Client, RequestFactory
from rest_framework.test import APIClient

from accounts.models import User
from lormas.common.database import TRIES, Met, StorageFull, Unavailable, again, trouble


@contextlib.contextmanager
def full_disk() -> Iterator[None]:
    """SQLite may not grow by a page more, and has no free one left: it says what it says on a full disk."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE filler (x BLOB)")
        before = cursor.execute("PRAGMA max_page_count").fetchone()[0]
        cursor.execute(f"PRAGMA max_page_count = {cursor.execute('PRAGMA page_count').fetchone()[0]}")
        with contextlib.suppress(OperationalError):
            while True:
                cursor.execute("INSERT INTO filler VALUES (zeroblob(300))")
        try:
            yield
        finally:
            cursor.execute(f"PRAGMA max_page_count = {before}")
            cursor.execute("DROP TABLE filler")


@pytest.mark.sqlite
@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(settings.DATABASES["default"]["ENGINE"].endswith("postgresql"), reason="PostgreSQL's disk can't be filled for one test")
def test_a_full_disk_is_507_reading_goes_on_and_so_does_writing_once_there_is_room(root: User) -> None:
    """R30"""
    client = APIClient()
    client.force_authenticate(root)
    wish = {"name": "", "description": "d" * 180}
    with full_disk():
        refused = [client.post("/api/nodes", {**wish, "name": f"node-{n}"}, format="json") for n in range(40)]
        (last,) = [answer for answer in refused if answer.status_code != 201][:1]
        assert (last.status_code, last.json()["code"], last["Content-Type"]) == (507, "storage_full", "application/problem+json")
        assert "Nothing was changed" in last.json()["detail"]
        there = client.get("/api/nodes?page_size=200").json()["count"]
        assert there == sum(answer.status_code == 201 for answer in refused), "none is half there"
        page = Client(raise_request_exception=False)
        assert page.get("/login").status_code == 200
    assert client.post("/api/nodes", {**wish, "name": "after"}, format="json").status_code == 201


def test_what_the_database_says_becomes_what_a_person_can_do() -> None:
    """R27, R30: the codes of PostgreSQL and SQLite; a mistake of ours stays one."""
    import sqlite3

    import psycopg.errors as pg

    def from_(cause: Exception, outer: type[Exception] = OperationalError) -> Exception:
        error = outer(str(cause))
        error.__cause__ = cause
        return error

    lite = sqlite3.OperationalError("database or disk is full")
    lite.sqlite_errorcode = sqlite3.SQLITE_FULL
    for cause, kind in (
        (pg.DeadlockDetected(), Met),
        (pg.SerializationFailure(), Met),
        (pg.DiskFull(), StorageFull),
        (pg.AdminShutdown(), Unavailable),
        (pg.CannotConnectNow(), Unavailable),
        (pg.TooManyConnections(), Unavailable),
        (pg.OperationalError("connection refused"), Unavailable),
        (lite, StorageFull),
    ):
        assert type(trouble(from_(cause))) is kind, cause
    assert trouble(from_(pg.UniqueViolation(), IntegrityError)) is None
    assert trouble(from_(pg.UndefinedTable(), OperationalError)) is None
    assert trouble(ValueError()) is None


def test_pages_and_what_runs_before_any_view_say_it_too(rf: RequestFactory) -> None:
    """R27: the session of a page is read before its view is; then nobody knows who asks, and no query may be made for the answer."""
    import psycopg.errors as pg

    from lormas.errors import server_error

    for path, kind in (("/nodes", "text/html"), ("/api/nodes", "application/problem+json")):
        try:
            raise OperationalError("the server closed the connection") from pg.AdminShutdown()
        except OperationalError:
            answer = server_error(rf.get(path))
        assert (answer.status_code, answer["Retry-After"], answer["Content-Type"].split(";")[0]) == (503, "5", kind)
        assert b"does not answer" in answer.content
    try:
        raise ValueError("ours")
    except ValueError:
        assert server_error(rf.get("/api/nodes")).status_code == 500


def test_an_act_that_met_another_is_done_again_three_times_in_all(db: None) -> None:
    """R28"""
    import psycopg.errors as pg

    tried: list[int] = []

    def met() -> None:
        tried.append(1)
        error = OperationalError("deadlock detected")
        error.__cause__ = pg.DeadlockDetected()
        raise error

    with pytest.raises(OperationalError):
        again(met)
    assert len(tried) == 1, "inside a transaction of the caller's it is not for us to try again"


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_two_that_lock_in_opposite_order_both_come_through(roles: dict[str, Any]) -> None:
    """R28: a real deadlock; the one that PostgreSQL undoes is done again."""
    ids = [User.objects.create_user(f"p{n}@example.org", "correct horse battery", username=f"p{n}", role=roles["member"]).pk for n in range(2)]
    meet = threading.Barrier(2)
    runs: list[str] = []
    failed: list[BaseException] = []

    def one(name: str, order: list[Any]) -> None:
        first = True

        def act() -> None:
            nonlocal first
            runs.append(name)
            User.objects.filter(pk=order[0]).update(name=f"{name} was here")
            if first:
                first = False
                meet.wait(20)
            User.objects.filter(pk=order[1]).update(name=f"{name} was here")

        try:
            again(act)
        except BaseException as error:  # noqa: BLE001 - told by the assertion below
            failed.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=one, args=(name, order)) for name, order in (("a", ids), ("b", ids[::-1]))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failed == []
    assert len(runs) == 3, "one of them was undone once"
    assert len(set(User.objects.filter(pk__in=ids).values_list("name", flat=True))) == 1, "whole acts, one after the other"


@pytest.mark.django_db(transaction=True)
def test_it_gives_up_after_three(roles: dict[str, Any]) -> None:
    """R28: what can't come through is told, and nothing of it stays."""
    import psycopg.errors as pg

    person = User.objects.create_user("p@example.org", "correct horse battery", username="p", role=roles["member"], name="before")
    tried: list[int] = []

    def met() -> None:
        tried.append(1)
        User.objects.filter(pk=person.pk).update(name="after")
        error = OperationalError("could not serialize access")
        error.__cause__ = pg.SerializationFailure()
        raise error

    with pytest.raises(OperationalError):
        again(met)
    person.refresh_from_db()
    assert (len(tried), person.name) == (TRIES, "before")
    assert not transaction.get_connection().in_atomic_block
