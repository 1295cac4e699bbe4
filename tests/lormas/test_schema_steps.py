"""The schema moves in steps that are whole or not at all, can be taken back, and leave the running version what it needs (SECURITY R47)."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.db import connection, migrations, models
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

from lormas.common import steps

ROOT = Path(__file__).parents[2]


def test_each_step_is_one_transaction_with_a_way_back_and_takes_nothing_from_the_last_release() -> None:
    """R47: forward from each released state is a walk over these; the tests' own database is one from nothing."""
    executor = steps.WholeExecutor(None)
    assert steps.judge(executor) == {}
    assert set(steps.ALLOWED) <= {".".join(node) for node in executor.loader.disk_migrations}, "an excuse for what is not there any more"
    for version, leaves in steps.RELEASED.items():
        for room, name in leaves.items():
            assert (room, name) in executor.loader.graph.nodes, f"{version} has {room}.{name}: a panel of that version can't be upgraded"


def test_after_a_release_its_code_is_held_against_each_new_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """R47: as if an earlier state of ours had been released."""
    monkeypatch.setattr(steps, "RELEASED", {"0.0.1": {**steps.RELEASED["before 0.1"], "containers": "0001_initial"}})
    monkeypatch.setattr(steps, "LAST_RELEASE", "0.0.1")
    found = steps.judge(steps.WholeExecutor(None))
    assert "containers.0001_initial" not in found
    assert found["containers.0014_words_of_the_health_check"] == [
        "Add field health_text to container: code that runs inserts rows without it: give it null=True or a db_default"
    ]
    assert "containers.0015_backups_and_schedules" not in found, "tables that it doesn't know"


BEFORE = migrations.CreateModel(
    "Thing",
    [
        ("id", models.BigAutoField(primary_key=True)),
        ("name", models.CharField(max_length=64)),
        ("note", models.CharField(max_length=64, null=True)),
    ],
)
TAKES: list[tuple[Operation, str]] = [
    (migrations.RemoveField("thing", "name"), "still reads it"),
    (migrations.RenameField("thing", "name", "title"), "still reads it"),
    (migrations.DeleteModel("Thing"), "still reads it"),
    (migrations.RenameModel("Thing", "Object"), "still reads it"),
    (migrations.AlterModelTable("thing", "things"), "still reads it"),
    (migrations.AddField("thing", "size", models.IntegerField(default=0)), "inserts rows without it"),
    (migrations.AlterField("thing", "note", models.CharField(max_length=64)), "may write nothing there"),
    (migrations.AlterField("thing", "name", models.CharField(max_length=32)), "may write longer words"),
    (migrations.AlterField("thing", "name", models.IntegerField()), "takes it for a CharField"),
    (migrations.AlterField("thing", "name", models.CharField(max_length=64, unique=True)), "the same twice"),
    (migrations.AlterField("thing", "name", models.CharField(max_length=64, db_column="title")), "by its old name"),
    (migrations.AddConstraint("thing", models.UniqueConstraint(fields=["name"], name="one")), "may write what it refuses"),
    (migrations.SeparateDatabaseAndState(database_operations=[migrations.RemoveField("thing", "name")]), "still reads it"),
]
GIVES: list[Operation] = [
    migrations.CreateModel("Other", [("id", models.BigAutoField(primary_key=True))]),
    migrations.AddField("thing", "size", models.IntegerField(null=True)),
    migrations.AddField("thing", "size", models.IntegerField(db_default=0)),
    migrations.AddIndex("thing", models.Index(fields=["name"], name="by_name")),
    migrations.AlterField("thing", "name", models.CharField(max_length=65)),
    migrations.AlterField("thing", "name", models.CharField(max_length=64, null=True)),
    migrations.SeparateDatabaseAndState(state_operations=[migrations.RemoveField("thing", "note")]),
]


def step(*made: Operation) -> migrations.Migration:
    migration = migrations.Migration("0002_next", "room")
    migration.operations = list(made)
    return migration


def thing() -> ProjectState:
    state = ProjectState()
    BEFORE.state_forwards("room", state)
    return state


def test_what_old_code_would_trip_over_is_found_and_what_only_adds_is_not() -> None:
    """R47: expand, then contract."""
    for operation, reason in TAKES:
        (said,) = steps.takes_away(step(operation), thing())
        assert reason in said, said
    for operation in GIVES:
        assert steps.takes_away(step(operation), thing()) == [], operation.describe()
    assert steps.one_way(step(migrations.RunSQL("SELECT 1"), migrations.RunPython(print))) == [
        "Raw SQL operation: has no way back",
        "Raw Python operation: has no way back",
    ]
    apart = step()
    apart.atomic = False
    assert "one transaction" in steps.one_way(apart)[0]


@pytest.fixture
def copy(transactional_db: None, tmp_path: Path) -> Iterator[dict[str, str]]:
    """A database with today's schema that is nobody else's; as environment variables."""
    of = connection.settings_dict
    if connection.vendor == "sqlite":
        with connection.cursor() as cursor:
            cursor.execute("VACUUM INTO %s", [str(tmp_path / "copy.sqlite3")])
        yield {"DB_PATH": str(tmp_path / "copy.sqlite3"), "DATABASE_URL": ""}
        return
    server: dict[str, Any] = {"host": of["HOST"], "port": of["PORT"], "user": of["USER"], "password": of["PASSWORD"], "dbname": "postgres"}
    name = f"{of['NAME']}_copy"
    address = {"DATABASE_URL": f"postgresql://{of['USER']}:{of['PASSWORD']}@{of['HOST']}:{of['PORT']}/{name}"}
    template = os.environ.get("LORMAS_TEST_TEMPLATE")  # the test's own can't be one: other threads may be connected to it
    with contextlib.closing(psycopg.connect(**server, autocommit=True)) as admin:
        admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        admin.execute(f'CREATE DATABASE "{name}"' + (f' TEMPLATE "{template}"' if template else ""))
        if not template:
            migrate = [sys.executable, "manage.py", "migrate", "-v", "0"]
            subprocess.run(migrate, cwd=ROOT, env={**os.environ, "LORMAS_DATA": str(tmp_path), **address}, timeout=300, check=True)
        yield address
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def holds(copy: dict[str, str], tmp_path: Path) -> None:
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "lormas.settings", "LORMAS_DATA": str(tmp_path), "PYTHONPATH": str(ROOT), **copy}
    line = [sys.executable, str(Path(__file__).with_name("dying_migrations.py")), "containers", "0014_words_of_the_health_check"]
    done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["lives"] == ["done", "died", "done", "died", "died", "died", "done"], done.stderr
    assert found["was_less"], "the steps taken back were none"
    assert (found["differs"], found["unmade"]) == ({}, [])
    assert found["rows"] == [[["alice", "n1", 7]]] * 2


@pytest.mark.sqlite
@pytest.mark.skipif(connection.vendor != "sqlite", reason="the one below is for PostgreSQL")
@pytest.mark.timeout(400)
def test_migrate_killed_at_any_moment_goes_on_where_it_was_and_ends_with_the_same_schema(copy: dict[str, str], tmp_path: Path) -> None:
    """R47: kill -9 amid the last steps, back and forth: before the note that one is done, after it, between two statements."""
    holds(copy, tmp_path)


@pytest.mark.postgres
@pytest.mark.timeout(400)
def test_migrate_killed_at_any_moment_goes_on_on_postgresql(copy: dict[str, str], tmp_path: Path) -> None:
    """R47: indexes and foreign keys come last there, and then the note."""
    holds(copy, tmp_path)
