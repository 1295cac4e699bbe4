"""A word before the end, to the owner: in the journal, on their pages, and by mail where the panel has a mail server."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.conf import settings
from django.db import transaction
from django.db.models import Q

from accounts import letters
from audit.services import SYSTEM, record
from lormas.common import clock, live
from reservations.models import Reservation
from reservations.services.publish import target
from reservations.states import State


def remind() -> int:
    """Each active reservation once; an extension makes it due again. Too short ones never: their owner has just come."""
    before = timedelta(minutes=settings.RESERVATION_REMINDER_MINUTES)
    if not before:
        return 0
    now = clock.now()
    due = Q(
        state=State.ACTIVE, reminded_at__isnull=True, ends_at__gt=now, ends_at__lte=now + before, duration_seconds__gte=2 * before.total_seconds()
    )
    count = 0
    for reservation in Reservation.objects.filter(due).select_related("owner")[:200]:
        with transaction.atomic():
            count += _remind(reservation, due, now=now)
    return count


def _remind(reservation: Reservation, due: Q, *, now: datetime) -> bool:
    if not Reservation.objects.filter(due, pk=reservation.pk).update(reminded_at=now):
        return False
    record("reservations.reminder", actor=SYSTEM, target=target(reservation), after={"ends_at": clock.rfc3339(reservation.ends_at)})
    live.on_commit_publish(
        f"user:{reservation.owner_id}",
        {"type": "reservation_ends", "id": str(reservation.pk), "ends_at": clock.rfc3339(reservation.ends_at)},
    )
    if reservation.owner is not None and reservation.owner.email:
        names = ", ".join(reservation.allocations.values_list("machine__name", flat=True))
        values = {"machines": names, "ends_at": clock.rfc3339(reservation.ends_at), "path": f"/reservations/{reservation.pk}"}
        letters.notify("machines_end", user=reservation.owner, values=values)
    return True
