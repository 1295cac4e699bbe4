"""Staying longer, where nobody waits and nobody has booked; and telling the machines so."""

from __future__ import annotations

from datetime import timedelta

from django.db import IntegrityError, transaction
from django.db.models import F, Q

from audit.services import Actor, record
from lormas.common import clock
from lormas.common.crypto import WrongKey
from lormas.common.errors import Conflict, FieldError, Invalid
from lormas.common.jobs import enqueue_on_commit
from reservations import guard, hands, planning, selectors
from reservations.hands import Job
from reservations.models import Allocation, Reservation
from reservations.secrets import endpoint_of
from reservations.services.checks import take_in
from reservations.services.lifecycle import account_of
from reservations.services.limits import check_length, claims, one_at_a_time
from reservations.services.publish import announce, machines_changed, target
from reservations.states import Hold, State


def extend(reservation: Reservation, *, minutes: int, actor: Actor) -> Reservation:
    """Move the end of an active reservation. Either it is extended before it ends, or it ends: never both (R35).

    Raises:
        Invalid; Conflict `not_active`, `others_wait`, `booked_after`; Refused `too_long`.
    """
    if not 1 <= minutes <= 527_040:
        raise Invalid("From 1 minute.", errors=[FieldError("minutes", "From 1 to 527040.")])
    by = timedelta(minutes=minutes)
    try:
        with claims(), transaction.atomic():
            one_at_a_time()
            reservation = Reservation.objects.select_related("owner").get(pk=reservation.pk)
            now = clock.now()
            if not reservation.is_active_at(now) or reservation.ends_at is None:
                raise _not_active(reservation)
            if reservation.owner is not None:
                check_length(reservation.owner, reservation.duration_seconds + minutes * 60)
            held = [allocation.machine_id for allocation in reservation.allocations.filter(hold=Hold.READY)]
            waiting = planning.delayed_by(held, selectors.waiting_asks(), selectors.machine_views())
            if waiting is not None:
                raise Conflict("Somebody waits for machines like these, so it can't be extended.", code="others_wait", extra={"allowed": ["release"]})
            end = reservation.ends_at + by
            moved = Reservation.objects.filter(pk=reservation.pk, state=State.ACTIVE, ends_at=reservation.ends_at, ends_at__gt=now).update(
                ends_at=end, duration_seconds=F("duration_seconds") + minutes * 60, reminded_at=None, updated_at=now
            )
            if not moved:
                reservation.refresh_from_db()
                raise _not_active(reservation)
            # One by one in a fixed order: the guard looks at each.
            for allocation in reservation.allocations.filter(hold=Hold.READY).order_by("machine_id"):
                Allocation.objects.filter(pk=allocation.pk, closed_at__isnull=True).update(ends_at=end)
            record(
                "reservations.extend", actor=actor, target=target(reservation),
                before={"ends_at": clock.rfc3339(reservation.ends_at)}, after={"ends_at": clock.rfc3339(end)},
            )  # fmt: skip
            reservation.refresh_from_db()
            announce(reservation)
            machines_changed(held)
            enqueue_on_commit("reservations.tasks.tell_machines")
    except IntegrityError as error:
        if not guard.is_clash(error):
            raise
        raise Conflict(
            "Somebody has booked one of these machines right after you: release this one and reserve anew, or ask for less.",
            code="booked_after", extra={"allowed": ["release"]},
        ) from error  # fmt: skip
    return reservation


def _not_active(reservation: Reservation) -> Conflict:
    word = "over" if reservation.state == State.ACTIVE else reservation.state
    return Conflict(
        f"Only an active reservation can be extended; this one is {word}.", code="not_active", extra={"state": reservation.state, "allowed": []}
    )


def tell_machines() -> int:
    """Move the end that each machine keeps by itself to where it belongs: after an extension, until it is done. Blocks its thread."""
    now = clock.now()
    late = Q(next_attempt_at__isnull=True) | Q(next_attempt_at__lte=now)
    found = Allocation.objects.filter(late, hold=Hold.READY, reservation__state=State.ACTIVE, ends_at__gt=now).exclude(told_until=F("ends_at"))
    jobs, by_id = [], {}
    for allocation in found.select_related("machine", "reservation")[:200]:
        claimed = Allocation.objects.filter(late, pk=allocation.pk, hold=Hold.READY).update(next_attempt_at=now + timedelta(seconds=40))
        if not claimed:
            continue
        try:
            jobs.append(Job(allocation.pk, "extend", endpoint_of(allocation.machine), account_of(allocation.reservation, allocation)))
        except WrongKey:
            continue  # the check of machines tells it louder
        by_id[allocation.pk] = allocation
    count = 0
    for outcome in hands.work(jobs):
        take_in(outcome)
        if outcome.ok:
            allocation = by_id[outcome.job.id]
            # Removal may have begun meanwhile: then its time of the next attempt is not ours to touch.
            Allocation.objects.filter(pk=allocation.pk, hold=Hold.READY).update(told_until=allocation.ends_at, next_attempt_at=None)
            count += 1
    return count
