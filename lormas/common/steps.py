"""Steps of the schema: each whole or not at all, and none that takes away what running code of the version before still needs.

During an upgrade two versions of the panel work on one database: the new one migrates, the old one answers until it is replaced. So a version
only *adds* ("expand"); what nobody needs any more goes a version later ("contract"), and is named with its reason in `ALLOWED`. See
docs/operations/upgrades.md.
"""

from __future__ import annotations

from collections.abc import Set
from typing import Any

from django.conf import settings
from django.db import models
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations import Migration, operations
from django.db.migrations.executor import MigrationExecutor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

RELEASED: dict[str, dict[str, str]] = {
    "before 0.1": {
        "accounts": "0004_sign_in",
        "audit": "0002_chain",
        "containers": "0015_backups_and_schedules",
        "eggs": "0003_privileges_and_hidden",
        "nodes": "0004_swarm",
        "reservations": "0003_grants",
    },
}
"""What is out there -> the last migration of each of our rooms in it: from each of these one must get to today's. A release adds a line."""

LAST_RELEASE = ""
"""Of the lines above, what running code may still be of; "" until there is a first release: until then steps may take away what nobody runs."""

ALLOWED: dict[str, str] = {}
"""`room.migration` -> why it may take something away (no released code reads it any more: name the version), or why there is no way back."""


class WholeExecutor(MigrationExecutor):
    """Django's, but for this: that a migration was done is written in the migration's own transaction.

    Django leaves statements that must come last (foreign keys, indexes) for the end of the transaction and notes the migration after it. Whoever dies
    between the two meets "table already exists" for ever after.
    """

    def apply_migration(self, state: ProjectState, migration: Migration, fake: bool = False, fake_initial: bool = False) -> ProjectState:
        if fake or fake_initial or not migration.atomic:
            return super().apply_migration(state, migration, fake=fake, fake_initial=fake_initial)
        self._tell("apply_start", migration)
        with self.connection.schema_editor(atomic=True) as editor:
            state = migration.apply(state, editor)
            _finish(editor)
            self.record_migration(migration)  # type: ignore[call-arg,arg-type]  # the stubs are of an older Django
        self._tell("apply_success", migration)
        return state

    def unapply_migration(self, state: ProjectState, migration: Migration, fake: bool = False) -> ProjectState:
        if fake or not migration.atomic or migration.replaces:
            return super().unapply_migration(state, migration, fake=fake)
        self._tell("unapply_start", migration)
        with self.connection.schema_editor(atomic=True) as editor:
            state = migration.unapply(state, editor)
            _finish(editor)
            self.recorder.record_unapplied(migration.app_label, migration.name)
        self._tell("unapply_success", migration)
        return state

    def _tell(self, what: str, migration: Migration) -> None:
        if self.progress_callback:
            self.progress_callback(what, migration, False)


def _finish(editor: BaseDatabaseSchemaEditor) -> None:
    """What its `__exit__` would do last."""
    for statement in editor.deferred_sql:
        editor.execute(statement, None)
    editor.deferred_sql.clear()


def one_way(migration: Migration) -> list[str]:
    """Why it can't be left half done or taken back; empty = it can."""
    found = [] if migration.atomic else ["is not one transaction: a death amid it leaves half of it"]
    return found + [f"{operation.describe()}: has no way back" for operation in migration.operations if not operation.reversible]


def takes_away(migration: Migration, before: ProjectState, *, known: Set[tuple[str, str]] | None = None) -> list[str]:
    """What of it running code would trip over; empty = such code goes on.

    `before` is the state it begins with, and is changed; `known`: the models of running code (room, name in lower case), else those of `before`.
    """
    known = set(before.models) if known is None else known
    found: list[str] = []
    for operation in migration.operations:
        if (migration.app_label, _model(operation)) in known or isinstance(operation, operations.SeparateDatabaseAndState):
            found += [f"{operation.describe()}: {reason}" for reason in _reasons(operation, migration.app_label, before)]
        operation.state_forwards(migration.app_label, before)
    return found


def _model(operation: Operation) -> str:
    names = (getattr(operation, name, "") for name in ("model_name", "old_name" if isinstance(operation, operations.RenameModel) else "name"))
    return next((name.lower() for name in names if name), "")


REMOVES = (operations.RemoveField, operations.DeleteModel, operations.RenameField, operations.RenameModel, operations.AlterModelTable)


def _reasons(operation: Operation, room: str, before: ProjectState) -> list[str]:
    if isinstance(operation, operations.SeparateDatabaseAndState):
        # only the database counts: a field that leaves the state first and the table a version later is the way to remove one
        return [reason for part in operation.database_operations for reason in _reasons(part, room, before)]
    if isinstance(operation, REMOVES):
        return ["code that runs still reads it"]
    if isinstance(operation, operations.AddField):
        return _added(operation.field)
    if isinstance(operation, operations.AlterField):
        model = before.models[room, operation.model_name_lower]
        return _altered(model.fields[operation.name], operation.field)
    if isinstance(operation, operations.AddConstraint):
        return ["code that runs may write what it refuses"]
    if isinstance(operation, operations.AlterUniqueTogether):
        return ["code that runs may write what it refuses"] if operation.option_value else []
    return []


def _added(field: Any) -> list[str]:
    if field.many_to_many or field.null or field.db_default is not models.NOT_PROVIDED:
        return []
    return ["code that runs inserts rows without it: give it null=True or a db_default"]


def _altered(old: Any, new: Any) -> list[str]:
    found = []
    if old.null and not new.null:
        found.append("code that runs may write nothing there")
    if old.get_internal_type() != new.get_internal_type():
        found.append(f"code that runs takes it for a {old.get_internal_type()}")
    elif new.max_length is not None and (old.max_length is None or new.max_length < old.max_length):
        found.append("code that runs may write longer words")
    if new.unique and not old.unique:
        found.append("code that runs may write the same twice")
    if old.db_column != new.db_column:
        found.append("code that runs knows the column by its old name")
    return found


def judge(executor: MigrationExecutor) -> dict[str, list[str]]:
    """`room.migration` -> what is wrong with it: of all of ours whether they can be left and taken back, of those since the last release whether
    the code of that release goes on."""
    graph = executor.loader.graph
    released = RELEASED.get(LAST_RELEASE, {})
    known = set(executor.loader.project_state(list(released.items())).models) if released else set()
    shipped = {node for room, name in released.items() for node in graph.forwards_plan((room, name))}
    found: dict[str, list[str]] = {}
    for node in sorted(executor.loader.disk_migrations):
        migration = graph.nodes[node]
        if migration is None or not _ours(migration):
            continue
        wrong = one_way(migration)
        if released and node not in shipped:
            wrong += takes_away(migration, executor.loader.project_state([parent.key for parent in graph.node_map[node].parents]), known=known)
        if wrong and ".".join(node) not in ALLOWED:
            found[".".join(node)] = wrong
    return found


def _ours(migration: Migration) -> bool:
    return (settings.BASE_DIR / type(migration).__module__.partition(".")[0] / "migrations").is_dir()
