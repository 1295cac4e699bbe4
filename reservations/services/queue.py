"""Serving those who wait, in fair order, as soon as enough machines are free for one of them."""

from __future__ import annotations

from django.db import IntegrityError, transaction

from audit.services import SYSTEM, record
from lormas.common import clock
from lormas.common.errors import Refused
from reservations import guard, selectors
from reservations.models import Reservation
from reservations.services.limits import check_new, claims, one_at_a_time
from reservations.services.publish import target
from reservations.services.reserve import take_machines, told
from reservations.states import State
from reservations.windows import window_of


def serve_queue() -> int:
    """Start all whose turn it is; returns how many. Idempotent; any number may run it."""
    if not Reservation.objects.filter(state=State.WAITING).exists():
        return 0
    try:
        with claims(), transaction.atomic():
            return _serve()
    except IntegrityError as error:
        if not guard.is_clash(error):
            raise
        return 0  # somebody booked in between; the next look sees it


def _serve() -> int:
    one_at_a_time()
    now = clock.now().replace(microsecond=0)
    served = 0
    for plan in selectors.queue():
        if plan.starts_at is None or plan.starts_at > clock.now():
            continue
        reservation = Reservation.objects.select_related("owner").filter(pk=plan.ask.id, state=State.WAITING).first()
        if reservation is None or reservation.owner is None:
            continue
        window = window_of(now, reservation.duration_seconds)
        try:
            check_new(reservation.owner, [window], count=reservation.count, reservations=1, now=now, but=reservation.pk)
        except Refused:
            continue  # they hold too much just now; those behind them go on
        take_machines(reservation, plan.machines, window, now=now)
        record("reservations.served", actor=SYSTEM, target=target(reservation), after=told(reservation))
        served += 1
    return served
