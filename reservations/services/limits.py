"""How much of the pool somebody may hold: a person's own limit, else their role's, else the settings."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from accounts.models import Role, User
from audit.services import Actor, Target, record
from lormas.common import clock
from lormas.common.errors import FieldError, Refused
from reservations.models import Limit, Reservation
from reservations.selectors import open_windows
from reservations.states import OPEN
from reservations.windows import Window, peak

NAMES = ("max_machines", "max_reservations", "max_minutes", "max_days_ahead")
CLAIMS_LOCK = 0x6C6F726D


@dataclass(frozen=True, slots=True)
class Limits:
    """What counts for one person."""

    max_machines: int
    max_reservations: int
    max_minutes: int
    max_days_ahead: int


_turn = threading.Lock()


@contextlib.contextmanager
def claims() -> Iterator[None]:
    """Around a claim's transaction: on SQLite, threads of this process hand the write lock on instead of polling for it (its waiters sleep ever
    longer, and a crowd of them starves). Only a courtesy: what is right is decided by the database. Never inside a transaction."""
    if connection.vendor == "sqlite" and not connection.in_atomic_block:
        with _turn:
            yield
    else:
        yield


def one_at_a_time() -> None:
    """Claims follow one another: what is counted and planned stays true until this transaction ends (J01). Call first in it.

    SQLite's transactions are serialised already (IMMEDIATE). The schema's own guard holds without this lock, too.
    """
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [CLAIMS_LOCK])


def limits_of(user: Any) -> Limits:
    found = {
        "max_machines": settings.RESERVATION_MAX_MACHINES, "max_reservations": settings.RESERVATION_MAX_OPEN,
        "max_minutes": settings.RESERVATION_MAX_MINUTES, "max_days_ahead": settings.RESERVATION_MAX_DAYS_AHEAD,
    }  # fmt: skip
    for limit in (Limit.objects.filter(role_id=user.role_id, role__isnull=False).first(), Limit.objects.filter(user=user).first()):
        if limit is not None:
            found |= {name: value for name in NAMES if (value := getattr(limit, name)) is not None}
    return Limits(**found)


def _refuse(code: str, detail: str, field: str, **extra: Any) -> Refused:
    return Refused(detail, code=code, errors=[FieldError(field, detail, code)], extra=extra)


def check_length(user: Any, seconds: int) -> None:
    """Raises Refused `too_long`."""
    most = limits_of(user).max_minutes
    if seconds > most * 60:
        raise _refuse("too_long", f"A reservation of yours may last at most {most} minutes.", "duration_minutes", max_minutes=most)


def check_new(user: Any, windows: Iterable[Window], *, count: int, reservations: int, now: datetime, but: UUID | None = None) -> None:
    """Would these fit beside all that this person holds? Call under `one_at_a_time`. `windows`: one per reservation; empty: it will wait.

    Raises:
        Refused `too_many_machines`, `too_many_reservations`, `too_far_ahead`.
    """
    limits, fresh = limits_of(user), list(windows)
    mine = Reservation.objects.filter(owner=user, state__in=OPEN)
    held = (mine.exclude(pk=but) if but is not None else mine).count()
    if held + reservations > limits.max_reservations:
        detail = f"You have {held} open reservations and may have {limits.max_reservations}."
        raise _refuse("too_many_reservations", detail, "count", open=held, max_reservations=limits.max_reservations)
    most = peak([*open_windows(user, but=but), *(window for window in fresh for _ in range(count))]) if fresh else count
    if most > limits.max_machines:
        detail = f"That would make {most} machines at a time; you may hold {limits.max_machines}."
        raise _refuse("too_many_machines", detail, "count", max_machines=limits.max_machines)
    if any(window.start > now + timedelta(days=limits.max_days_ahead) for window in fresh):
        raise _refuse("too_far_ahead", f"You may book at most {limits.max_days_ahead} days ahead.", "starts_at", max_days_ahead=limits.max_days_ahead)


@transaction.atomic
def set_limit(*, actor: Actor, user: User | None = None, role: Role | None = None, **values: int | None) -> Limit | None:
    """Set the limit of a person or of a role; all values empty takes it away (None)."""
    subject = user or role
    assert subject is not None
    owner = {"user": user} if user is not None else {"role": role}
    given = {name: values.get(name) for name in NAMES}
    before = Limit.objects.filter(**owner).values(*NAMES).first() or {}
    if all(value is None for value in given.values()):
        Limit.objects.filter(**owner).delete()
        made = None
    else:
        made, _ = Limit.objects.update_or_create(**owner, defaults={**given, "updated_at": clock.now()})
    kind = "user" if user is not None else "role"
    record(
        "reservations.limit", actor=actor, target=Target(kind, str(subject.pk), str(getattr(subject, "label", subject))), before=before, after=given
    )
    return made
