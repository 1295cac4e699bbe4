"""The end: sessions killed, accounts gone, and looked at again; what can't be proved clean is quarantined, and tried again."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import Q

from accounts.models import User
from audit.services import SYSTEM, Actor, record
from lormas.common import clock
from lormas.common.crypto import WrongKey
from lormas.common.errors import Conflict
from lormas.common.jobs import enqueue_on_commit
from nodes import operations
from reservations import hands
from reservations.access import usable_machines
from reservations.hands import Job, Outcome
from reservations.models import Allocation, Machine, Reservation
from reservations.secrets import endpoint_of
from reservations.services.checks import take_in
from reservations.services.lifecycle import account_of, end_operation, give_up, leased, move, renew, start_revoking
from reservations.services.machines import set_condition
from reservations.services.publish import machine_changed, target, target_of
from reservations.states import OPEN, Condition, Hold, State

log = structlog.get_logger(__name__)
ATTEMPTS = 3
"""So often before the machine is quarantined and the reservation is let go."""
PAUSES = (timedelta(seconds=5), timedelta(seconds=20))
DIRTY_PAUSE = timedelta(minutes=10)
HOLD_AT_END = (Hold.REMOVING, Hold.DIRTY)


@transaction.atomic
def release(reservation: Reservation, *, actor: Actor, why: str = "") -> Reservation:
    """End it now, in whatever state; what has accounts is cleaned in the background.

    Raises:
        Conflict `has_ended`, `is_ending`.
    """
    reservation = Reservation.objects.select_related("owner").get(pk=reservation.pk)
    reason = why or f"Released by {actor.label or 'Lormas'}."
    if reservation.state in (State.PROVISIONING, State.ACTIVE):
        done = start_revoking(reservation, reason=reason, operation_id=_watch(reservation, actor))
    else:
        unused = Q(state__in=(State.WAITING, State.REQUESTED))
        done = move(reservation, State.ENDED, condition=unused, reason=reason, ended_at=clock.now(), due=None, password="")
        if done:
            for allocation in reservation.allocations.filter(hold=Hold.BOOKED):
                give_up(allocation, reason)
            end_operation(reservation, ok=False, detail=reason)
            enqueue_on_commit("reservations.tasks.serve_queue")
    if not done:
        if reservation.state == State.REVOKING:
            raise Conflict("It is ending already.", code="is_ending", extra={"state": reservation.state, "allowed": []})
        raise Conflict(f"It has ended: {reservation.reason}", code="has_ended", extra={"state": reservation.state, "allowed": []})
    record("reservations.release", actor=actor, target=target(reservation), message=why)
    return reservation


def _watch(reservation: Reservation, actor: Actor) -> UUID | None:
    if reservation.operation_id is not None:
        end_operation(reservation, ok=False, detail="Released before it was ready.")
    own = actor.kind == "user" and actor.id == str(reservation.owner_id)
    operation = operations.open_operation(
        "reservations.release",
        user=reservation.owner if own else None,
        target_type="reservation",
        target_id=reservation.pk,
        target_label=target(reservation).label,
        deadline_seconds=1200,
        message="Removing accounts",
    )
    operations.mark_running(operation.pk)
    return operation.pk


def release_all(*, actor: Actor, confirm: int | None = None) -> int:
    """End every open reservation; returns how many. `confirm`: the number that the person saw; another number now is refused.

    Raises:
        Conflict `count_changed`.
    """
    with transaction.atomic():
        found = list(Reservation.objects.filter(state__in=OPEN).exclude(state=State.REVOKING))
        if confirm is not None and confirm != len(found):
            raise Conflict(
                f"There are {len(found)} open reservations now, not {confirm}: look again.", code="count_changed", extra={"open": len(found)}
            )
        record("reservations.release_all", actor=actor, after={"reservations": len(found)})
    count = 0
    for reservation in found:
        try:
            release(reservation, actor=actor, why=f"All reservations were released by {actor.label or 'Lormas'}.")
            count += 1
        except Conflict:
            continue  # it ended by itself meanwhile
    return count


def expire() -> int:
    """The second hand: what is over by the clock, what belongs to nobody who may sign in, or is not theirs to use. Each by conditional UPDATE."""
    now = clock.now()
    over = Q(ends_at__lte=now)
    orphaned = Q(owner__isnull=True) | Q(owner__is_active=False)
    count = 0
    for reservation in Reservation.objects.filter(over | orphaned, state__in=(State.ACTIVE, State.PROVISIONING)).select_related("owner")[:200]:
        gone = reservation.ends_at is not None and reservation.ends_at > now
        reason = "Its owner's account is gone or was deactivated." if gone else "Its time is over."
        with transaction.atomic():
            condition = None if gone else Q(ends_at__lte=now)  # it may have been extended in this moment
            if start_revoking(reservation, reason=reason, condition=condition):
                record("reservations.expire", actor=SYSTEM, target=target(reservation), message=reason)
                count += 1
    for reservation in Reservation.objects.filter(orphaned, state__in=(State.WAITING, State.REQUESTED))[:200]:
        try:
            release(reservation, actor=SYSTEM, why="Its owner's account is gone or was deactivated.")
            count += 1
        except Conflict:
            continue
    return count + _without_right()


def _without_right() -> int:
    """Whoever may no longer use a machine (their grant has ended, their role has changed) holds it no longer."""
    count = 0
    running = (State.ACTIVE, State.PROVISIONING)
    for owner in User.objects.filter(pk__in=Reservation.objects.filter(state__in=running).values("owner_id")).select_related("role"):
        usable = usable_machines(owner)
        if usable is None:
            continue
        held = Allocation.objects.filter(reservation__owner=owner, reservation__state__in=running, hold__in=(Hold.CREATING, Hold.READY))
        lost = {row.reservation_id: row.machine.name for row in held.select_related("machine") if row.machine_id not in usable}
        for reservation in Reservation.objects.filter(pk__in=lost):
            reason = f"Its owner may not use {lost[reservation.pk]} any more."
            with transaction.atomic():
                if start_revoking(reservation, reason=reason):
                    record("reservations.expire", actor=SYSTEM, target=target(reservation), message=reason)
                    count += 1
    return count


def revoke(reservation_id: UUID | str) -> bool:
    """Remove the accounts that are due for it, and settle what is done. Blocks its thread. False where it is not ours to do now."""
    with leased(reservation_id) as mine:
        if not mine:
            return False
        reservation = Reservation.objects.get(pk=reservation_id)
        now = clock.now()
        due = reservation.allocations.filter(Q(next_attempt_at__isnull=True) | Q(next_attempt_at__lte=now), hold__in=HOLD_AT_END)
        _clean(reservation, list(due.select_related("machine")))
        settle(reservation)
    return True


def _clean(reservation: Reservation, todo: list[Allocation]) -> None:
    by_id = {allocation.pk: allocation for allocation in todo}
    jobs = []
    for allocation in todo:
        try:
            jobs.append(Job(allocation.pk, "remove", endpoint_of(allocation.machine), account_of(reservation, allocation)))
        except WrongKey as error:
            _not_clean(reservation, allocation, f"The stored credentials can't be read: {error}.", for_good=True)
    for outcome in hands.work(jobs):
        take_in(outcome)
        allocation = by_id[outcome.job.id]
        if outcome.ok:
            proved_clean(reservation, allocation)
        else:
            _keep_uid(allocation, outcome)
            _not_clean(reservation, allocation, outcome.detail, for_good=outcome.code == "host_key_changed")
        renew(reservation.pk)
        _tell(reservation)


def _keep_uid(allocation: Allocation, outcome: Outcome) -> None:
    if outcome.uid is not None:
        Allocation.objects.filter(pk=allocation.pk).update(uid=outcome.uid)


def _tell(reservation: Reservation) -> None:
    if reservation.operation_id and reservation.state == State.REVOKING:
        left = reservation.allocations.filter(hold=Hold.REMOVING).count()
        operations.set_progress(reservation.operation_id, min(99, 100 * (reservation.count - left) // reservation.count), f"{left} left to clean")


def proved_clean(reservation: Reservation, allocation: Allocation) -> None:
    """The account is gone, and was looked for again. A machine quarantined for it is given back, once nothing else on it is open."""
    now = clock.now()
    with transaction.atomic():
        closed = Allocation.objects.filter(pk=allocation.pk, hold__in=HOLD_AT_END).update(hold=Hold.CLEAN, closed_at=now, next_attempt_at=None)
        if not closed:
            return
        machine = allocation.machine
        if not machine.allocations.filter(hold=Hold.DIRTY, closed_at__isnull=True).exists():
            freed = Machine.objects.filter(pk=machine.pk, condition=Condition.QUARANTINED, host_key_alarm="").update(
                condition=Condition.OK, condition_reason="", condition_since=now, check_due=now
            )
            if freed:
                record("machines.clean", actor=SYSTEM, target=target_of(machine), message=f"{reservation.username} is proved gone.")
        machine_changed(machine.pk)
        enqueue_on_commit("reservations.tasks.serve_queue")


def _not_clean(reservation: Reservation, allocation: Allocation, why: str, *, for_good: bool = False) -> None:
    """Try again soon; after ATTEMPTS, quarantine the machine and try again seldom."""
    now = clock.now()
    attempts = allocation.attempts + 1
    row = Allocation.objects.filter(pk=allocation.pk, hold__in=HOLD_AT_END)
    if attempts < ATTEMPTS and not for_good and allocation.hold == Hold.REMOVING:
        row.update(attempts=attempts, error=why[:500], next_attempt_at=now + PAUSES[min(attempts, len(PAUSES)) - 1])
        return
    with transaction.atomic():
        fresh = Allocation.objects.filter(pk=allocation.pk, hold=Hold.REMOVING).exists()
        row.update(hold=Hold.DIRTY, attempts=attempts, error=why[:500], next_attempt_at=now + DIRTY_PAUSE)
        reason = f"The account {reservation.username} of the last reservation could not be proved gone: {why}"
        quarantined = set_condition(allocation.machine_id, Condition.QUARANTINED, reason, only_from=(Condition.OK, Condition.QUARANTINED))
        if fresh and quarantined:
            log.warning("machines.quarantined", machine=allocation.machine.name, reason=why)
            record("machines.quarantined", actor=SYSTEM, target=target_of(allocation.machine), message=reason, outcome="failed")


def settle(reservation: Reservation) -> bool:
    """End a reservation of which nothing is left to remove (what is dirty is the machine's trouble from now on)."""
    with transaction.atomic():
        reservation.refresh_from_db()
        left = reservation.allocations.filter(hold__in=(Hold.CREATING, Hold.READY, Hold.REMOVING))
        if reservation.state == State.REVOKING and not left.exists():
            to = State.FAILED if reservation.will_fail else State.ENDED
            move(reservation, to, ended_at=clock.now(), due=None)
            dirty = reservation.allocations.filter(hold=Hold.DIRTY).count()
            note = f"{dirty} machines are quarantined: their cleaning is tried again." if dirty else "Clean"
            end_operation(reservation, ok=True, detail=note)
            record("reservations.end", actor=SYSTEM, target=target(reservation), message=reservation.reason, after={"not_clean": dirty})
        if reservation.state in (State.ENDED, State.FAILED) and not reservation.allocations.filter(hold__in=HOLD_AT_END).exists():
            Reservation.objects.filter(pk=reservation.pk).exclude(password="").update(password="")
            return True
    return False


def give_up_revoking() -> int:
    """Past its deadline, with nobody working on it: what is not proved clean is dirty, and the reservation ends."""
    now = clock.now()
    free = Q(leased_until__isnull=True) | Q(leased_until__lt=now)
    count = 0
    for reservation in Reservation.objects.filter(free, state=State.REVOKING, deadline__lte=now)[:100]:
        with leased(reservation.pk) as mine:
            if not mine:
                continue
            for allocation in reservation.allocations.filter(hold=Hold.REMOVING).select_related("machine"):
                _not_clean(reservation, allocation, allocation.error or "It took too long.", for_good=True)
            settle(reservation)
            count += 1
    return count


def clean_machine(machine: Machine, *, actor: Actor) -> Machine:
    """The button: try now to clean a quarantined machine. Blocks its thread (bounded).

    Raises:
        Conflict `nothing_to_clean`.
    """
    dirty = machine.allocations.filter(hold=Hold.DIRTY, closed_at__isnull=True)
    ids = list(dirty.values_list("reservation_id", flat=True))
    if not ids:
        raise Conflict(
            "No account on it is waiting to be cleaned.", code="nothing_to_clean", extra={"condition": machine.condition, "allowed": ["fixed"]}
        )
    with transaction.atomic():
        dirty.update(next_attempt_at=clock.now())
        record("machines.clean_again", actor=actor, target=target_of(machine))
    for reservation_id in ids:
        revoke(reservation_id)
    machine.refresh_from_db()
    return machine
