"""A word before the end, to the owner: in the journal, on their pages, and by mail where the panel has a mail server."""

from __future__ import annotations

from datetime import timedelta

import structlog
from django.conf import settings
from django.core.mail import send_mail
from django.db.models import Q

from audit.services import SYSTEM, record
from lormas.common import clock, live
from reservations.models import Reservation
from reservations.services.publish import target
from reservations.states import State

log = structlog.get_logger(__name__)


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
        if not Reservation.objects.filter(due, pk=reservation.pk).update(reminded_at=now):
            continue
        record("reservations.reminder", actor=SYSTEM, target=target(reservation), after={"ends_at": clock.rfc3339(reservation.ends_at)})
        live.on_commit_publish(
            f"user:{reservation.owner_id}",
            {"type": "reservation_ends", "id": str(reservation.pk), "ends_at": clock.rfc3339(reservation.ends_at)},
        )
        _mail(reservation)
        count += 1
    return count


def _mail(reservation: Reservation) -> None:
    if reservation.owner is None or not reservation.owner.email or reservation.ends_at is None or "smtp" not in settings.EMAIL_BACKEND:
        return
    names = ", ".join(reservation.allocations.values_list("machine__name", flat=True))
    minutes = max(1, round((reservation.ends_at - clock.now()).total_seconds() / 60))
    text = (
        f"Your reservation of {names} ends in {minutes} minutes, at {reservation.ends_at:%Y-%m-%d %H:%M} UTC. Accounts, files and processes on the "
        f"machines are then removed: save what you need.\n\nExtend or release it: {settings.PUBLIC_URL}/reservations/{reservation.pk}\n"
    )
    try:
        send_mail(f"Your machines go in {minutes} minutes", text, None, [reservation.owner.email])
    except OSError as error:  # smtplib's errors are OSErrors; the journal and the pages have told already
        log.warning("reservations.mail_failed", reservation=str(reservation.pk), error=str(error))
