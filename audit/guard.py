"""Append-only in the schema: triggers that refuse UPDATE, DELETE and TRUNCATE of the journal, whoever asks (I04).

Retention has one door: a row of `audit_pruning` says up to which number rows may go, and is itself never changed; `verify_audit` shows one that
this panel did not write.
"""

from __future__ import annotations

from typing import Any, Final

TABLES: Final = ("audit_entry", "audit_seal", "audit_pruning")
_TOLD: Final = "the journal is append-only"
_DOOR: Final = {
    "audit_entry": "EXISTS (SELECT 1 FROM audit_seal s, audit_pruning p WHERE s.entry_id = OLD.id AND s.number <= p.up_to)",
    "audit_seal": "EXISTS (SELECT 1 FROM audit_pruning p WHERE OLD.number <= p.up_to)",
    "audit_pruning": "1 = 0",
}


def _sqlite() -> list[str]:
    made = []
    for table in TABLES:
        made += [
            f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} BEGIN SELECT RAISE(ABORT, '{_TOLD}'); END",
            f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} WHEN NOT {_DOOR[table]} BEGIN SELECT RAISE(ABORT, '{_TOLD}'); END",
        ]
    return made


def _postgresql() -> list[str]:
    made = [
        f"CREATE OR REPLACE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION '{_TOLD}'; END $$",
    ]
    for table in TABLES:
        made += [
            f"CREATE OR REPLACE FUNCTION {table}_door() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            f" IF {_DOOR[table]} THEN RETURN OLD; END IF; RAISE EXCEPTION '{_TOLD}'; END $$",
            f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION audit_refuse()",
            f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_door()",
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse()",
        ]
    return made


def statements(vendor: str) -> list[str]:
    """What makes the triggers; none for databases that we don't know."""
    return _sqlite() if vendor == "sqlite" else _postgresql() if vendor == "postgresql" else []


def removal(vendor: str) -> list[str]:
    """What takes them away: for the migration's way back, and for test databases that are emptied between tests."""
    on = " ON {table}" if vendor == "postgresql" else ""
    names = ("no_update", "no_delete", "no_truncate") if vendor == "postgresql" else ("no_update", "no_delete")
    return [f"DROP TRIGGER IF EXISTS {table}_{name}{on.format(table=table)}" for table in TABLES for name in names]


def install(apps: Any, schema_editor: Any) -> None:
    """For `migrations.RunPython`."""
    for statement in statements(schema_editor.connection.vendor):
        schema_editor.execute(statement)


def remove(apps: Any, schema_editor: Any) -> None:
    for statement in removal(schema_editor.connection.vendor):
        schema_editor.execute(statement)
