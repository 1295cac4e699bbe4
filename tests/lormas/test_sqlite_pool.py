"""SQLite connections are kept for the next thread, and come to it as new ones do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError

from lormas.common.sqlite3 import base


@pytest.fixture
def wrapper(tmp_path: Path, django_db_blocker: Any) -> Iterator[Any]:
    """Makes wrappers as Django makes one a thread; all of one file."""
    made: list[Any] = []

    def make(name: str = "one.sqlite3") -> Any:
        usual = {"ATOMIC_REQUESTS": False, "AUTOCOMMIT": True, "CONN_MAX_AGE": 0, "CONN_HEALTH_CHECKS": False, "TIME_ZONE": None}
        options = {"init_command": "PRAGMA journal_mode=WAL; PRAGMA foreign_keys=ON;"}
        made.append(base.DatabaseWrapper({**usual, "NAME": str(tmp_path / name), "OPTIONS": options}, alias="default"))
        made[-1].inc_thread_sharing()
        return made[-1]

    with django_db_blocker.unblock():
        first = make()
        with first.cursor() as cursor:
            cursor.execute("CREATE TABLE things (id INTEGER PRIMARY KEY, of INTEGER REFERENCES things(id))")
            cursor.executemany("INSERT INTO things (id) VALUES (%s)", [(i,) for i in range(1, 501)])
        first.close()
        yield make
        for one in made:
            one.close()
        base.forget()


def raw_in_a_thread(one: Any) -> Any:
    found: list[Any] = []

    def work() -> None:
        one.ensure_connection()
        found.append(one.connection)
        one.close()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(20)
    return found[0]


def count(one: Any) -> int:
    with one.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM things")
        return int(cursor.fetchone()[0])


def test_the_next_thread_gets_what_the_last_one_closed(wrapper: Any) -> None:
    assert raw_in_a_thread(wrapper()) is raw_in_a_thread(wrapper())
    first, second = wrapper(), wrapper()
    first.ensure_connection()
    second.ensure_connection()
    assert first.connection is not second.connection, "never two at a time"


def test_what_was_not_finished_is_not_handed_on(wrapper: Any) -> None:
    one = wrapper()
    with one.cursor() as cursor:
        cursor.execute("BEGIN IMMEDIATE")
        cursor.execute("DELETE FROM things")
        cursor.execute("PRAGMA foreign_keys=OFF")
    one.close()
    other = wrapper()
    assert count(other) == 500
    with other.cursor() as cursor, pytest.raises(IntegrityError):
        cursor.execute("INSERT INTO things (id, of) VALUES (9000, 8000)")


def test_one_with_foreign_keys_off_and_one_inside_a_transaction_are_closed(wrapper: Any) -> None:
    one = wrapper()
    with one.cursor() as cursor:
        cursor.execute("PRAGMA foreign_keys=OFF")
    raw = one.connection
    one.close()
    inside = wrapper()
    inside.ensure_connection()
    assert inside.connection is not raw
    inside.in_atomic_block = True
    raw = inside.connection
    inside.close()
    inside.in_atomic_block = False
    assert raw_in_a_thread(wrapper()) is not raw


def test_a_reader_that_stopped_half_way_holds_nobody_in_the_past(wrapper: Any) -> None:
    one = wrapper()
    one.ensure_connection()
    half_read = one.create_cursor()
    half_read.execute("SELECT id FROM things")
    half_read.fetchone()
    raw = one.connection
    one.close()
    writer, reader = wrapper(), wrapper()
    reader.ensure_connection()
    assert reader.connection is raw
    with writer.cursor() as cursor:
        cursor.execute("DELETE FROM things WHERE id > 100")
    assert count(reader) == 100


def test_another_file_of_the_same_name_is_another_one(wrapper: Any, tmp_path: Path) -> None:
    one = wrapper()
    raw = raw_in_a_thread(one)
    file = tmp_path / "one.sqlite3"
    file.rename(tmp_path / "old.sqlite3")
    (tmp_path / "old.sqlite3").with_name("new.sqlite3").touch()
    (tmp_path / "new.sqlite3").rename(file)
    assert raw_in_a_thread(wrapper()) is not raw
