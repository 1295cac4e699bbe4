"""Run by `test_schema_steps.py` as a program, on a database with today's schema that is nobody else's: takes the last steps of a room back, makes
them again, and dies amid that again and again. Prints one JSON object: how each life ended, and whether the schema and what was in it are the same
after all.

One process that forks: each life after a death begins from the start of `migrate`, but none has to import everything again.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any

import django

django.setup()

from django.core.management import call_command  # noqa: E402
from django.db import connection  # noqa: E402
from django.db.migrations.loader import MigrationLoader  # noqa: E402

NOTES = "django_migrations"


def life(work: Callable[[], None]) -> str:
    """`done`, `died` (kill -9) or `failed`."""
    connection.close()
    if connection.vendor == "postgresql":
        connection.close_pool()  # type: ignore[attr-defined]  # its threads and sockets are not for a fork
    sys.stdout.flush()
    if not (pid := os.fork()):
        try:
            work()
        except BaseException:  # noqa: BLE001 - a fork must end here, whatever happened
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    return "died" if os.WIFSIGNALED(status) else "failed" if status else "done"


class Death:
    """kill -9 of oneself: before the n-th statement that changes something, or just before or after the n-th note that a migration is done."""

    def __init__(self, where: str, number: int) -> None:
        self.where, self.left = where, number

    def __call__(self, execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        note = NOTES in sql and sql.startswith(("INSERT", "DELETE"))
        counts = sql.startswith(("CREATE", "ALTER", "INSERT", "DROP", "UPDATE")) if self.where == "statement" else note
        self.left -= counts
        if counts and not self.left and self.where != "after":
            os.kill(os.getpid(), signal.SIGKILL)
        found = execute(sql, params, many, context)
        if counts and not self.left:
            os.kill(os.getpid(), signal.SIGKILL)
        return found


def schema() -> dict[str, Any]:
    """Columns, indexes, constraints and triggers, by table; the order of columns is no part of it."""
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
        found: dict[str, Any] = {}
        for table in tables:
            columns = connection.introspection.get_table_description(cursor, table)
            constraints = connection.introspection.get_constraints(cursor, table)
            found[table] = [
                sorted([c.name, str(c.type_code), c.null_ok, str(c.default)] for c in columns),
                sorted([name, *map(str, (c["columns"], c["unique"], c["check"], c["foreign_key"]))] for name, c in constraints.items()),
            ]
        triggers = "SELECT name FROM sqlite_master WHERE type = 'trigger'" if connection.vendor == "sqlite" else "SELECT tgname FROM pg_trigger"
        cursor.execute(f"{triggers} ORDER BY 1")
        found[""] = [row[0] for row in cursor.fetchall() if "ConstraintTrigger" not in row[0]]
    return found


def rows() -> list[Any]:
    """A person and their node, as any version has them."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT u.username, n.name, n.max_pods FROM accounts_user u, nodes_node n ORDER BY 1, 2")
        return [list(row) for row in cursor.fetchall()]


def migrate(death: Death | None, *words: str) -> None:
    with connection.execute_wrapper(death) if death else contextlib.nullcontext():
        call_command("migrate", *words, verbosity=0)


def make_rows() -> None:
    from accounts.models import User
    from nodes.models import Node

    User.objects.create(username="alice", email="alice@example.org")
    Node.objects.create(name="n1", max_pods=7)


def main(room: str, last: str) -> dict[str, Any]:
    lives = [life(make_rows)]
    whole, there = schema(), rows()
    lives.append(life(lambda: migrate(Death("note", 1), room, last)))
    lives.append(life(lambda: migrate(None, room, last)))
    reduced = schema()
    for where, number in (("note", 1), ("after", 1), ("statement", 12)):
        lives.append(life(lambda death=Death(where, number): migrate(death)))  # type: ignore[misc]
    lives.append(life(lambda: migrate(None)))
    after = schema()
    return {
        "lives": lives,
        "was_less": reduced != whole,
        "differs": {table: [whole.get(table), after.get(table)] for table in whole.keys() | after.keys() if whole.get(table) != after.get(table)},
        "rows": [there, rows()],
        "unmade": sorted(map(str, set(MigrationLoader(connection).graph.nodes) - set(MigrationLoader(connection).applied_migrations))),
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(*sys.argv[1:])))
