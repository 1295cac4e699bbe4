"""From booked to usable: beginning what is due, making accounts on all machines side by side, and what happens where some fail."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db import IntegrityError, transaction
from django.db.models import Q

from audit.services import SYSTEM, record
from lormas.common import clock, ids
from lormas.common.crypto import WrongKey
from lormas.common.jobs import enqueue_on_commit
from nodes import operations
from nodes.states import OperationStatus
from reservations import guard, hands, planning, selectors
from reservations.hands import Account, Job, Outcome
from reservations.models import Allocation, Reservation
from reservations.secrets import endpoint_of, unlock
from reservations.services.checks import take_in
from reservations.services.limits import one_at_a_time
from reservations.services.publish import announce, machine_changed, machines_changed, target
from reservations.states import MOVES, Hold, State, sources
from reservations.windows import Window

log = structlog.get_logger(__name__)

LEASE = timedelta(seconds=150)
"""Longer than any job of hands: whoever takes over finds no job of the former worker still running."""
PROVISION_SECONDS = 420
REVOKE_SECONDS = 900
LATEST_START = timedelta(minutes=10)
"""So long a start waits for its machines to become clean or healthy, before others are looked for and it is given up."""
TRY_AGAIN = timedelta(seconds=10)
ROUNDS = 2


def move(reservation: Reservation, to: State, *, condition: Q | None = None, **changes: Any) -> bool:
    """Conditional UPDATE along MOVES; False, and nothing changes, where it is elsewhere by now. Refreshes the instance."""
    now = clock.now()
    values = {"state": to, "state_since": now, "deadline": None, "updated_at": now, **changes}
    found = Reservation.objects.filter(pk=reservation.pk, state__in=sources(MOVES, to))
    moved = (found.filter(condition) if condition is not None else found).update(**values)
    reservation.refresh_from_db()
    if moved:
        announce(reservation)
        machines_changed(reservation.allocations.values_list("machine_id", flat=True))
    return bool(moved)


@contextmanager
def leased(reservation_id: UUID | str) -> Iterator[bool]:
    """Work on a reservation is one worker's at a time; a dead one's lease ends by time. Yields whether it is ours."""
    now = clock.now()
    free = Q(leased_until__isnull=True) | Q(leased_until__lt=now)
    mine = Reservation.objects.filter(free, pk=reservation_id).update(worker=ids.PROCESS_ID, leased_until=now + LEASE)
    try:
        yield bool(mine)
    finally:
        if mine:
            Reservation.objects.filter(pk=reservation_id, worker=ids.PROCESS_ID).update(worker="", leased_until=None)


def renew(reservation_id: UUID | str) -> None:
    Reservation.objects.filter(pk=reservation_id, worker=ids.PROCESS_ID).update(leased_until=clock.now() + LEASE)


def marker(reservation: Reservation) -> str:
    """By this comment field a machine's account is known as this reservation's."""
    return f"lormas-{reservation.pk}"


def account_of(reservation: Reservation, allocation: Allocation) -> Account:
    """With its secrets in the clear. Raises WrongKey."""
    left = (allocation.ends_at - clock.now()).total_seconds()
    return Account(
        username=reservation.username,
        marker=marker(reservation),
        password=unlock(reservation.password),
        public_key=reservation.public_key,
        seconds_left=max(1, int(left)),
        sudo=reservation.sudo and allocation.machine.allow_sudo,
        uid=allocation.uid,
    )


# ------------------------------------------------------------------------------------------------------------------ start


def begin(reservation: Reservation) -> bool:
    """A booked one whose time has come: from here on there may be accounts. False where its machines are not fit yet, or it is elsewhere by now."""
    now = clock.now()
    try:
        with transaction.atomic():
            one_at_a_time()
            if not move(
                reservation, State.PROVISIONING, condition=Q(starts_at__lte=now), deadline=now + timedelta(seconds=PROVISION_SECONDS), due=None
            ):
                return False
            if not _fit(reservation, now):
                raise _NotYet
            reservation.allocations.filter(hold=Hold.BOOKED).update(hold=Hold.CREATING, began_at=now)
            _show_operation(reservation)
            return True
    except _NotYet:
        pass
    except IntegrityError as error:
        if not guard.is_clash(error):
            raise
    reservation.refresh_from_db()
    _put_off(reservation, now)
    return False


class _NotYet(Exception):
    """Rolls the beginning back."""


def _fit(reservation: Reservation, now: datetime) -> bool:
    """Are its machines healthy, empty and still its owner's to use? Those that are not are exchanged; what can't be is dropped if a part will do."""
    views = {view.id: view for view in selectors.machine_views()}
    ask = selectors.ask_of(reservation)
    booked = [(allocation, views[allocation.machine_id]) for allocation in reservation.allocations.filter(hold=Hold.BOOKED)]
    bad = [a for a, view in booked if view.problem or view.busy_until_clean or (ask.allowed is not None and view.id not in ask.allowed)]
    unfit = [allocation for allocation in bad if not exchange(reservation, allocation, now=now)]
    if not unfit:
        return True
    late = reservation.starts_at is not None and now > reservation.starts_at + LATEST_START
    good = reservation.allocations.filter(hold=Hold.BOOKED).count() - len(unfit)
    if late and reservation.partial and good > 0:
        for allocation in unfit:
            give_up(allocation, "The machine was not fit when the reservation began.")
        return True
    return False


def _put_off(reservation: Reservation, now: datetime) -> None:
    """Look again soon; or, when it is too late, fail."""
    if reservation.state != State.REQUESTED or reservation.starts_at is None:
        return
    if now <= min(reservation.starts_at + LATEST_START, reservation.ends_at or now):
        Reservation.objects.filter(pk=reservation.pk, state=State.REQUESTED).update(due=now + TRY_AGAIN)
        return
    with transaction.atomic():
        reason = "Its machines were not fit when it should have begun, or not its owner's to use any more, and no others were free."
        if move(reservation, State.FAILED, reason=reason, due=None, ended_at=now, password=""):
            for allocation in reservation.allocations.filter(hold=Hold.BOOKED):
                give_up(allocation, reason)
            end_operation(reservation, ok=False, detail=reason)
            record("reservations.failed", actor=SYSTEM, target=target(reservation), message=reason, outcome="failed")


def exchange(reservation: Reservation, allocation: Allocation, *, now: datetime) -> bool:
    """Another machine in its place, for what is left of the window. Never where machines were asked for by name."""
    if reservation.wanted or allocation.ends_at <= now:
        return False
    window = Window(max(allocation.starts_at, now.replace(microsecond=0)), allocation.ends_at)
    mine = set(reservation.allocations.values_list("machine_id", flat=True))
    ask = replace(selectors.ask_of(reservation), count=1, seconds=int(window.seconds), queued_at=now)
    views = [view for view in selectors.machine_views() if view.id not in mine]
    choice = planning.choose(ask, views, window=window, waiting=selectors.waiting_asks(), now=now)
    if not choice.enough:
        return False
    try:
        with transaction.atomic():
            fresh = Allocation(reservation=reservation, machine_id=choice.machines[0], starts_at=window.start, ends_at=window.end)
            if reservation.state == State.PROVISIONING and allocation.hold != Hold.BOOKED:
                fresh.hold, fresh.began_at = Hold.CREATING, now
            fresh.save(force_insert=True)
            if allocation.hold == Hold.BOOKED:
                give_up(allocation, "Another machine was taken in its place.")
    except IntegrityError as error:
        if not guard.is_clash(error):
            raise
        return False
    machine_changed(choice.machines[0])
    return True


def give_up(allocation: Allocation, why: str) -> None:
    """Close one that never had an account."""
    Allocation.objects.filter(pk=allocation.pk, hold=Hold.BOOKED).update(hold=Hold.GIVEN_UP, closed_at=clock.now(), error=why[:500])
    machine_changed(allocation.machine_id)


# -------------------------------------------------------------------------------------------------------------- provision


def provision(reservation_id: UUID | str) -> bool:
    """Make the accounts. Blocks its thread for as long as the slowest machine may take. False where it is not ours to do now."""
    with leased(reservation_id) as mine:
        if not mine:
            return False
        reservation = Reservation.objects.get(pk=reservation_id)
        if reservation.state == State.REQUESTED and not begin(reservation):
            return False
        if reservation.state != State.PROVISIONING:
            return False
        for round_ in range(ROUNDS):
            failed = _make(reservation)
            if not failed or round_ + 1 == ROUNDS or not _replace(reservation, failed):
                break
        _conclude(reservation)
    return True


def _make(reservation: Reservation) -> list[Outcome]:
    """One round over all machines that have no account yet; the outcomes that failed."""
    todo = list(reservation.allocations.filter(hold=Hold.CREATING).select_related("machine"))
    by_id = {allocation.pk: allocation for allocation in todo}
    try:
        jobs = [Job(a.pk, "create", endpoint_of(a.machine), account_of(reservation, a)) for a in todo]
    except WrongKey as error:
        log.error("reservations.unreadable", reservation=str(reservation.pk), error=str(error))
        reservation.allocations.filter(hold=Hold.CREATING).update(hold=Hold.REMOVING, error="The stored credentials can't be read.")
        return []
    failed = []
    for outcome in hands.work(jobs):
        take_in(outcome)
        allocation = by_id[outcome.job.id]
        _made(reservation, allocation, outcome)
        if not outcome.ok:
            failed.append(outcome)
        renew(reservation.pk)
    return failed


def _made(reservation: Reservation, allocation: Allocation, outcome: Outcome) -> None:
    now = clock.now()
    row = Allocation.objects.filter(pk=allocation.pk, hold=Hold.CREATING)
    if outcome.ok:
        row.update(hold=Hold.READY, ready_at=now, uid=outcome.uid, told_until=allocation.ends_at, error="")
    else:
        # Half an account may be there: it must be proved gone like a whole one.
        row.update(hold=Hold.REMOVING, error=outcome.detail[:500], next_attempt_at=now)
    ready = reservation.allocations.filter(hold=Hold.READY).count()
    if reservation.operation_id:
        operations.set_progress(reservation.operation_id, min(99, 100 * ready // reservation.count), f"{ready} of {reservation.count} ready")
    machine_changed(allocation.machine_id)
    announce(reservation)


def _replace(reservation: Reservation, failed: list[Outcome]) -> bool:
    """Other machines in the place of those that failed; False where none could be had."""
    with transaction.atomic():
        one_at_a_time()
        reservation.refresh_from_db()
        if reservation.state != State.PROVISIONING:
            return False
        bad = reservation.allocations.filter(pk__in=[outcome.job.id for outcome in failed])
        swapped = [exchange(reservation, allocation, now=clock.now()) for allocation in bad]
        return bool(swapped) and (all(swapped) or (reservation.partial and any(swapped)))


def _conclude(reservation: Reservation) -> None:
    """All ready: active. A part, and a part will do: active with that. Else nothing is kept."""
    with transaction.atomic():
        reservation.refresh_from_db()
        if reservation.state != State.PROVISIONING:
            return  # released meanwhile; its removal is under way
        ready = reservation.allocations.filter(hold=Hold.READY).count()
        now = clock.now()
        if ready >= reservation.count or (reservation.partial and ready):
            failed = reservation.count - ready
            reason = f"{failed} of {reservation.count} machines could not be made ready." if failed > 0 else ""
            move(reservation, State.ACTIVE, activated_at=now, due=None, reason=reason)
            end_operation(reservation, ok=True, detail=reason)
            after = {"machines": ready, "username": reservation.username, "until": clock.rfc3339(reservation.ends_at)}
            record("reservations.active", actor=SYSTEM, target=target(reservation), after=after, message=reason)
            if failed > 0:
                enqueue_on_commit("reservations.tasks.advance", str(reservation.pk))
            return
        errors = list(reservation.allocations.exclude(error="").values_list("machine__name", "error")[:5])
        reason = "Not all machines could be made ready, so none was kept. " + " ".join(f"{name}: {why}" for name, why in errors)
        start_revoking(reservation, reason=reason, will_fail=True)


def start_revoking(reservation: Reservation, *, reason: str, will_fail: bool = False, condition: Q | None = None, **changes: Any) -> bool:
    """Towards the end: every account that is or may be there is to be removed. Call in a transaction; False where it was elsewhere by now."""
    now = clock.now()
    deadline = now + timedelta(seconds=REVOKE_SECONDS)
    if not move(reservation, State.REVOKING, condition=condition, deadline=deadline, due=now, reason=reason[:500], will_fail=will_fail, **changes):
        return False
    reservation.allocations.filter(hold__in=(Hold.CREATING, Hold.READY)).update(hold=Hold.REMOVING, next_attempt_at=now)
    for allocation in reservation.allocations.filter(hold=Hold.BOOKED):
        give_up(allocation, reason)
    if will_fail:
        end_operation(reservation, ok=False, detail=reason)
        record("reservations.failed", actor=SYSTEM, target=target(reservation), message=reason, outcome="failed")
    enqueue_on_commit("reservations.tasks.advance", str(reservation.pk))
    return True


# -------------------------------------------------------------------------------------------------------------- operation


def _show_operation(reservation: Reservation) -> None:
    """One that was booked ahead gets its operation when it begins."""
    if reservation.operation_id is None:
        operation = operations.open_operation(
            "reservations.provision", user=reservation.owner, target_type="reservation", target_id=reservation.pk,
            target_label=target(reservation).label, deadline_seconds=600, message="Making accounts",
        )  # fmt: skip
        reservation.operation_id = operation.pk
        Reservation.objects.filter(pk=reservation.pk).update(operation_id=operation.pk)
    operations.mark_running(reservation.operation_id)


def end_operation(reservation: Reservation, *, ok: bool, detail: str = "") -> None:
    """Settle what a person watches, if something is watched. The first settle wins."""
    if reservation.operation_id is None:
        return
    if ok:
        result = {"reservation": str(reservation.pk), "note": detail}
        operations.settle_operation(reservation.operation_id, status=OperationStatus.SUCCEEDED, result=result, message=detail or "Ready")
    else:
        operations.settle_operation(
            reservation.operation_id, status=OperationStatus.FAILED, error_code="reservation_failed", error_detail=detail, message="Failed"
        )
