"""No machine is booked twice at a time: said to the database itself, in exact windows, on both that we run on (docs/adr/0014).

PostgreSQL has the exclusion constraint for it. SQLite has triggers, which are as good there: writers are serialised, so that what a trigger
sees is the truth. `install` is idempotent; it runs in a migration and again after every `migrate`, because SQLite drops the triggers of a table
that a later migration rebuilds.
"""

from __future__ import annotations

from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

TABLE = "reservations_allocation"
NAME = "allocation_windows_never_meet"

# Both names are constants of this module.
_POSTGRES = f"""
DO $$ BEGIN
  IF NOT EXISTS (SELECT 1 FROM pg_constraint WHERE conname = '{NAME}') THEN
    ALTER TABLE {TABLE} ADD CONSTRAINT {NAME}
      EXCLUDE USING gist (machine_id WITH =, tstzrange(starts_at, ends_at) WITH &&) WHERE (closed_at IS NULL);
  END IF;
END $$;
"""  # noqa: S608
_TURN = f"""
CREATE OR REPLACE FUNCTION {TABLE}_turn() RETURNS trigger LANGUAGE plpgsql AS $body$
BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended('{TABLE}:' || NEW.machine_id::text, 0));
  RETURN NEW;
END $body$;
DO $$ BEGIN
  IF NOT EXISTS (SELECT 1 FROM pg_trigger WHERE tgname = '{TABLE}_turn') THEN
    CREATE TRIGGER {TABLE}_turn BEFORE INSERT OR UPDATE OF machine_id, starts_at, ends_at, closed_at ON {TABLE}
      FOR EACH ROW WHEN (NEW.closed_at IS NULL) EXECUTE FUNCTION {TABLE}_turn();
  END IF;
END $$;
"""  # noqa: S608
# An exclusion constraint alone lets rivals insert first and wait for each other then: a deadlock a second, until all but one are ended. In turns the
# second one sees the first one's row and is refused at once.
_CLASH = f"""
  SELECT RAISE(ABORT, '{NAME}') WHERE EXISTS (
    SELECT 1 FROM {TABLE} AS other
    WHERE other.machine_id = NEW.machine_id AND other.closed_at IS NULL AND other.id <> NEW.id
      AND other.starts_at < NEW.ends_at AND NEW.starts_at < other.ends_at);
"""  # noqa: S608
_SQLITE = tuple(
    f"CREATE TRIGGER IF NOT EXISTS {NAME}_{name} BEFORE {event} ON {TABLE} FOR EACH ROW WHEN NEW.closed_at IS NULL BEGIN {_CLASH} END"
    for name, event in (("i", "INSERT"), ("u", "UPDATE OF machine_id, starts_at, ends_at, closed_at"))
)


def install(connection: BaseDatabaseWrapper) -> None:
    """Make the guard unless it is there."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            # Trusted since PostgreSQL 13: whoever may create tables in the database may install it. Comes with the server (contrib).
            cursor.execute("CREATE EXTENSION IF NOT EXISTS btree_gist")
            cursor.execute(_POSTGRES)
            cursor.execute(_TURN)
        else:
            for statement in _SQLITE:
                cursor.execute(statement)


def is_clash(error: Exception) -> bool:
    """Does this IntegrityError mean that somebody else holds the machine?"""
    return NAME in str(error) or "one_holder_per_machine" in str(error) or str(error) == f"UNIQUE constraint failed: {TABLE}.machine_id"


def remove(connection: BaseDatabaseWrapper) -> None:
    """Take it away (a migration backwards)."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(f"ALTER TABLE {TABLE} DROP CONSTRAINT IF EXISTS {NAME}")
            cursor.execute(f"DROP TRIGGER IF EXISTS {TABLE}_turn ON {TABLE}")
            cursor.execute(f"DROP FUNCTION IF EXISTS {TABLE}_turn()")
        else:
            for name in ("i", "u"):
                cursor.execute(f"DROP TRIGGER IF EXISTS {NAME}_{name}")


def restore(sender: Any, using: str, **kwargs: Any) -> None:
    """post_migrate: put it back where a rebuilt table lost it."""
    connection = connections[using]
    if TABLE in connection.introspection.table_names():
        install(connection)
