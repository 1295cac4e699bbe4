"""An empty SQLite database begins as a copy of one that was migrated before."""

from __future__ import annotations

import ast
import contextlib
import shutil
import sqlite3
import sys
from pathlib import Path

import pytest
from django.db import connection

from lormas.common.sqlite3 import template

ROOT = Path(__file__).resolve().parents[2]
WRITTEN_BY_DJANGO = {"django_migrations", "django_content_type", "auth_permission", "sqlite_sequence"}


@pytest.fixture
def own_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "environment" / "schema.sqlite3"
    monkeypatch.setattr(template, "file_name", lambda: file)
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    return file


def one_with(file: Path, table: str) -> Path:
    with contextlib.closing(sqlite3.connect(file)) as made:
        made.execute(f"CREATE TABLE {table} (id)")
    return file


def tables(file: Path) -> set[str]:
    with contextlib.closing(sqlite3.connect(file)) as found:
        return {row[0] for row in found.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def test_an_empty_database_begins_as_the_copy_and_one_with_tables_stays_as_it_is(own_template: Path, tmp_path: Path) -> None:
    assert template.begin(tmp_path / "too-early.sqlite3") is False
    template.keep(one_with(tmp_path / "first.sqlite3", "things"))
    assert template.begin(tmp_path / "second.sqlite3")
    assert tables(tmp_path / "second.sqlite3") == {"things"}
    other = one_with(tmp_path / "other.sqlite3", "mine")
    assert template.begin(other) is False
    assert tables(other) == {"mine"}
    broken = tmp_path / "broken.sqlite3"
    broken.write_bytes(b"no database " * 100)
    assert template.begin(broken) is False
    assert broken.read_bytes().startswith(b"no database")


def test_an_environment_that_cannot_be_written_is_no_trouble(own_template: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = one_with(tmp_path / "first.sqlite3", "things")
    (tmp_path / "environment").write_text("a file where the folder would be")
    template.keep(first)
    shutil.rmtree(tmp_path / "environment", ignore_errors=True)
    (tmp_path / "environment").unlink(missing_ok=True)
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    template.keep(first)
    assert not own_template.exists(), "the system's own Python is not ours to write to"


def test_all_that_migrations_call_of_ours_is_in_the_name() -> None:
    """Else a changed helper would leave an old template in use."""
    named = set(template._depends_on())
    for file in ROOT.glob("*/migrations/*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                modules = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for module in modules:
                found = ROOT / Path(*module.split(".")).with_suffix(".py")
                if found.is_file():
                    assert found in named, f"{file.relative_to(ROOT)} imports {module}: add it to template.CALLED"


@pytest.mark.sqlite
@pytest.mark.django_db
def test_no_migration_writes_what_belongs_to_one_installation_only() -> None:
    if connection.vendor != "sqlite" or not template.file_name().exists():
        pytest.skip("this run made no template")
    with contextlib.closing(sqlite3.connect(template.file_name())) as found:
        filled = {name for name in tables(template.file_name()) if found.execute(f'SELECT 1 FROM "{name}" LIMIT 1').fetchall()}
    assert filled <= WRITTEN_BY_DJANGO
