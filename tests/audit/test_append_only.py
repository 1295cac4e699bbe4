"""The journal can be added to, and shows whether it was touched in any other way."""

from __future__ import annotations

import re
import threading
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import DatabaseError, connection, transaction

from audit import chain, guard, retention
from audit.models import Entry, Pruning, Seal
from audit.services import SYSTEM, Target, record
from lormas.common import clock

pytestmark = pytest.mark.django_db


def write(count: int = 5, **fields: Any) -> list[Entry]:
    made = [record("test.act", actor=SYSTEM, target=Target("thing", str(index), "Thing"), **fields) for index in range(count)]
    chain.seal_pending()
    return made


def kinds() -> list[str]:
    return [finding.kind for finding in chain.verify()]


@pytest.fixture
def unguarded(db: None) -> None:
    """Somebody with the database's own password: no trigger stops them."""
    with connection.cursor() as cursor:
        for statement in guard.removal(connection.vendor):
            cursor.execute(statement)


@pytest.mark.parametrize("table", guard.TABLES)
@pytest.mark.parametrize("act", ["UPDATE {} SET digest = 'x'", "DELETE FROM {}"])
def test_the_schema_refuses_update_and_delete(table: str, act: str) -> None:
    """I04: by whatever program."""
    write()
    Pruning.objects.create(up_to=1, head="x", rows=0, time=clock.now(), digest="forged")
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(act.format(table))
    assert Entry.objects.count() == 5


@pytest.mark.postgres
def test_the_schema_refuses_truncate() -> None:
    """I04"""
    for table in guard.TABLES:
        with pytest.raises(DatabaseError, match="append-only"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"TRUNCATE {table}")


def test_an_untouched_journal_is_whole_whatever_its_rows_hold() -> None:
    """Numbers, times, addresses and texts read back from either database as they were signed."""
    odd = {
        "f": 1e16,
        "big": 2**60,
        "small": 0.1,
        "none": None,
        "list": [1, {"a": True}],
        "text": "日本 \x00 \ud7ff é",
        "e": 1e300,
        "nan": float("nan"),
    }
    write(after=odd, before={"x": -0.0})
    assert kinds() == []
    out = StringIO()
    call_command("verify_audit", stdout=out)
    assert "5 rows, 5 seals" in out.getvalue()


@pytest.mark.parametrize("column", ["action", "actor_id", "actor_label", "target_id", "message", "outcome", "request_id"])
def test_a_changed_row_is_found(unguarded: None, column: str) -> None:
    """I04"""
    rows = write()
    Entry.objects.filter(pk=rows[2].pk).update(**{column: "forged"})
    (finding,) = chain.verify()
    assert (finding.kind, finding.entry_id) == ("changed", rows[2].pk)
    with pytest.raises(CommandError) as told:
        call_command("verify_audit", stderr=StringIO())
    assert told.value.returncode == 1


def test_a_changed_time_or_difference_is_found(unguarded: None) -> None:
    rows = write(after={"a": 1})
    Entry.objects.filter(pk=rows[0].pk).update(time=clock.now() - timedelta(days=1))
    Entry.objects.filter(pk=rows[1].pk).update(after={"a": 2})
    assert kinds() == ["changed", "changed"]


def test_a_removed_row_is_found_with_its_seal_and_without(unguarded: None) -> None:
    rows = write()
    Entry.objects.filter(pk=rows[1].pk).delete()
    assert kinds() == ["removed"]
    Seal.objects.filter(entry_id=rows[1].pk).delete()
    assert kinds() == ["removed"]


def test_an_end_that_was_cut_off_is_found_by_whom_kept_it(unguarded: None) -> None:
    write()
    kept = chain.head()
    last = Seal.objects.order_by("-number").first()
    assert last is not None
    Entry.objects.filter(pk=last.entry_id).delete()
    last.delete()
    assert kinds() == [], "the chain by itself can't know"
    assert [finding.kind for finding in chain.verify(known=kept)] == ["removed"]
    with pytest.raises(CommandError):
        call_command("verify_audit", head=str(kept), stderr=StringIO())


def test_an_inserted_row_is_found_sealed_or_not(unguarded: None) -> None:
    rows = write()
    fields = {"time": clock.now(), "actor_kind": "user", "action": "x.y"}
    Entry.objects.create(**fields)
    Entry.objects.create(**fields, digest=rows[0].digest)
    assert kinds() == ["inserted", "changed"]
    chain.seal_pending()
    assert kinds() == ["inserted", "changed"]


def test_a_seal_that_was_moved_is_found(unguarded: None) -> None:
    rows = write()
    first, second = rows[0].pk, rows[1].pk
    Seal.objects.filter(entry_id=first).update(entry_id=-1)
    Seal.objects.filter(entry_id=second).update(entry_id=first)
    Seal.objects.filter(entry_id=-1).update(entry_id=second)
    assert kinds() == ["broken", "broken"]


def test_a_row_that_nobody_sealed_is_told_after_a_while_and_sealed_by_the_sweep() -> None:
    record("test.act", actor=SYSTEM)
    assert kinds() == []
    assert [finding.kind for finding in chain.verify(now=clock.now() + timedelta(minutes=6))] == ["unsealed"]
    assert chain.seal_pending(everything=True) == 1
    assert [finding.kind for finding in chain.verify(now=clock.now() + timedelta(minutes=6))] == []


def test_a_rotated_key_still_verifies_while_it_is_configured(settings: Any) -> None:
    """I08"""
    old = settings.FIELD_KEYS
    write(2)
    settings.FIELD_KEYS = ["a-new-key-a-new-key-a-new-key", *old]
    write(2)
    assert kinds() == []
    settings.FIELD_KEYS = ["a-new-key-a-new-key-a-new-key"]
    assert kinds() == ["key", "key"]


def test_retention_is_the_one_door_and_says_what_went(unguarded: None, monkeypatch: Any) -> None:
    rows = write(6)
    long_ago = clock.now() - timedelta(days=100)
    for row in rows[:4]:
        row.time = long_ago
        row.digest = chain.digest(row)
        row.save()
    Seal.objects.all().delete()
    chain.seal_pending()
    with connection.cursor() as cursor:
        for statement in guard.statements(connection.vendor):
            cursor.execute(statement)
    with pytest.raises(ValueError, match="at least 7 days"):
        retention.prune(days=1)
    assert retention.prune(days=30) == 4
    chain.seal_pending()
    assert Entry.objects.filter(action="test.act").count() == 2
    assert Entry.objects.get(action="audit.prune").after == {"rows": 4, "older_than_days": 30, "up_to": 4}
    assert kinds() == []
    write(2)
    assert kinds() == []
    assert retention.prune(days=30) == 0
    with pytest.raises(DatabaseError, match="append-only"), transaction.atomic():
        Entry.objects.filter(action="audit.prune").delete()


def test_a_forged_pruning_is_found(unguarded: None) -> None:
    """The door opens to whoever writes into its table; that they did is not hidden."""
    rows = write()
    Pruning.objects.create(up_to=3, head="x" * 64, rows=3, time=clock.now(), digest="forged:00")
    Entry.objects.filter(pk__in=[row.pk for row in rows[:3]]).delete()
    Seal.objects.filter(number__lte=3).delete()
    assert kinds()[:2] == ["pruning", "removed"]


@pytest.mark.django_db(transaction=True)
def test_rivals_make_one_chain_without_a_gap(eventually: Any) -> None:
    """Acts that commit at the same time, on either database: each row has one seal, each number is used once."""
    start = threading.Barrier(4)
    errors: list[Exception] = []

    def rival(name: int) -> None:
        start.wait(30)
        try:
            for index in range(10):
                with transaction.atomic():
                    record("test.rival", actor=SYSTEM, target=Target("thing", f"{name}-{index}"))
                    if index % 3 == 2:
                        record("test.second", actor=SYSTEM)
        except Exception as error:  # noqa: BLE001 - told by the test itself
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=rival, args=(name,)) for name in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert errors == []
    chain.seal_pending(everything=True)
    assert list(Seal.objects.values_list("number", flat=True)) == list(range(1, 53))
    assert Entry.objects.count() == 52
    assert kinds() == []


def test_the_triggers_are_there_after_all_migrations() -> None:
    """A later migration that makes a table anew on SQLite would lose them: it must install them again."""
    with connection.cursor() as cursor:
        if connection.vendor == "sqlite":
            cursor.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
        else:
            cursor.execute("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal")
        there = {row[0] for row in cursor.fetchall()}
    wanted = {found[0] for text in guard.statements(connection.vendor) if (found := re.findall(r"CREATE TRIGGER (\w+)", text))}
    assert wanted and wanted <= there
