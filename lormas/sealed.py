"""Every column that is kept encrypted, and moving all of them to the newest key, so that an old one may go.

They are encrypted under the first of FIELD_KEYS and readable under all. Not here, as they end by themselves: what browser sessions carry
(two weeks) and drafts of second factors (15 minutes).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from django.apps import apps
from django.conf import settings
from django.db import transaction
from django.db.models import Model

from audit.services import SYSTEM, record
from lormas.common.crypto import WrongKey, decrypt, encrypt


@dataclass(frozen=True, slots=True)
class Column:
    """Where one kind of secret is kept. `key`: inside of a JSON column."""

    model: str
    field: str
    key: str = ""

    def __str__(self) -> str:
        return ".".join(filter(None, (self.model, self.field, self.key)))


COLUMNS: Final = (
    Column("mfa.Authenticator", "data", "secret"),
    Column("mfa.Authenticator", "data", "seed"),
    Column("audit.StoredResponse", "body"),
    Column("nodes.Registry", "password"),
    Column("nodes.Command", "payload", "sealed"),
    Column("containers.Container", "registry", "password"),
    Column("containers.BackupDestination", "secret"),
    Column("containers.ContainerTunnel", "sealed_token"),
    Column("reservations.Machine", "password"),
    Column("reservations.Machine", "private_key"),
    Column("reservations.Reservation", "password"),
)


@dataclass(slots=True)
class Counts:
    """Of one column: under the newest key already, moved to it now (or only found, when nothing is to be written), under a key that nobody has."""

    current: int = 0
    moved: int = 0
    unreadable: int = 0


def _secret(row: Model, column: Column) -> str:
    kept: Any = getattr(row, column.field)
    found = kept.get(column.key) if column.key and isinstance(kept, dict) else kept
    return found if isinstance(found, str) else ""


def _is_current(kept: str) -> bool:
    try:
        decrypt(kept, keys=settings.FIELD_KEYS[:1])
    except WrongKey:
        return False
    return True


def _move(model: type[Model], pk: Any, column: Column) -> bool:
    """One row, as it is now: somebody may have changed or wiped it since it was read. Raises WrongKey."""
    with transaction.atomic():
        row = model._default_manager.select_for_update().filter(pk=pk).first()
        kept = _secret(row, column) if row is not None else ""
        if not kept or row is None:
            return False
        fresh = encrypt(decrypt(kept, keys=settings.FIELD_KEYS), keys=settings.FIELD_KEYS)
        value = {**getattr(row, column.field), column.key: fresh} if column.key else fresh
        model._default_manager.filter(pk=pk).update(**{column.field: value})
    return True


def look_at(column: Column, *, write: bool) -> Counts:
    """All rows of one column; with `write` they are moved to the newest key. Safe beside everything else."""
    model, counts = apps.get_model(column.model), Counts()
    rows: Iterator[Model] = model._default_manager.only("pk", column.field).order_by("pk").iterator(chunk_size=200)
    for row in rows:
        kept = _secret(row, column)
        if not kept:
            continue
        if _is_current(kept):
            counts.current += 1
            continue
        try:
            if write:
                counts.moved += _move(model, row.pk, column)
            else:
                decrypt(kept, keys=settings.FIELD_KEYS)
                counts.moved += 1
        except WrongKey:
            counts.unreadable += 1
    return counts


def look(*, write: bool) -> dict[Column, Counts]:
    """All columns; a journal row where something was moved."""
    found = {column: look_at(column, write=write) for column in COLUMNS}
    moved = {str(column): counts.moved for column, counts in found.items() if counts.moved}
    if moved and write:
        record("system.rotate_secrets", actor=SYSTEM, after={"rows": sum(moved.values()), "columns": sorted(moved)})
    return found


def rotate() -> dict[str, int]:
    """The daily job."""
    found = look(write=True).values()
    return {"moved": sum(counts.moved for counts in found), "unreadable": sum(counts.unreadable for counts in found)}
