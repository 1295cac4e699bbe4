"""What must happen by itself. Nothing here needs Celery: beat calls it each minute, and `reservations.keeper` in every web process each few seconds.

`quick` touches the database only. `due` names the work that needs machines; each piece claims its row (a lease), so any number may try.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import Q

from lormas.common import clock
from reservations.models import Allocation, Machine, Reservation
from reservations.services import checks, extend, lifecycle, queue, remind, revoke
from reservations.states import HOLD_DONE, Hold, State

log = structlog.get_logger(__name__)
KEPT = timedelta(days=400)
AT_A_TIME = 200


def quick() -> dict[str, int]:
    """End what is over, settle what is stuck, serve the queue, remind."""
    return {
        "expired": revoke.expire(),
        "stuck": _stuck(),
        "given_up": revoke.give_up_revoking(),
        "served": queue.serve_queue(),
        "reminded": remind.remind(),
    }


def _stuck() -> int:
    """Making ready past its deadline, with nobody working on it: back to nothing."""
    now = clock.now()
    free = Q(leased_until__isnull=True) | Q(leased_until__lt=now)
    count = 0
    for reservation in Reservation.objects.filter(free, state=State.PROVISIONING, deadline__lte=now)[:100]:
        with transaction.atomic():
            reason = "It could not be made ready in time."
            count += lifecycle.start_revoking(reservation, reason=reason, will_fail=True, condition=free & Q(deadline__lte=now))
    return count


def advance(reservation_id: UUID | str) -> None:
    """Whatever is next for one reservation. Blocks its thread."""
    reservation = Reservation.objects.filter(pk=reservation_id).first()
    if reservation is None:
        return
    if reservation.state in (State.REQUESTED, State.PROVISIONING):
        lifecycle.provision(reservation.pk)
    else:
        revoke.revoke(reservation.pk)


def due() -> list[UUID]:
    """Reservations that need hands now and are nobody's."""
    now = clock.now()
    free = Q(leased_until__isnull=True) | Q(leased_until__lt=now)
    starting = Q(state=State.REQUESTED, starts_at__lte=now) & (Q(due__isnull=True) | Q(due__lte=now))
    found = set(Reservation.objects.filter(free & (starting | Q(state=State.PROVISIONING))).values_list("pk", flat=True)[:AT_A_TIME])
    removing = Allocation.objects.filter(
        Q(next_attempt_at__isnull=True) | Q(next_attempt_at__lte=now), hold__in=(Hold.REMOVING, Hold.DIRTY), closed_at__isnull=True
    ).values("reservation_id")
    found |= set(Reservation.objects.filter(free, pk__in=removing).values_list("pk", flat=True)[:AT_A_TIME])
    done = Allocation.objects.filter(hold__in=(Hold.CREATING, Hold.READY, Hold.REMOVING)).values("reservation_id")
    found |= set(Reservation.objects.filter(free, state=State.REVOKING).exclude(pk__in=done).values_list("pk", flat=True)[:AT_A_TIME])
    return sorted(found)


def chores() -> dict[str, Callable[[], int]]:
    """Work on machines that belongs to no one reservation, by a name that keeps it from running twice in a process."""
    return {"look": checks.check_due, "tell": extend.tell_machines}


def everything() -> dict[str, int]:
    """All of it, one after the other (beat's task, and tests)."""
    done = quick()
    for reservation_id in due():
        advance(reservation_id)
    for name, chore in chores().items():
        done[name] = chore()
    return done


def forget_old() -> int:
    """Retention: finished reservations after KEPT, in chunks; machines keep what is open."""
    old = list(Reservation.objects.filter(ended_at__lt=clock.now() - KEPT).values_list("pk", flat=True)[:500])
    still = set(Allocation.objects.filter(reservation_id__in=old).exclude(hold__in=HOLD_DONE).values_list("reservation_id", flat=True))
    gone = [one for one in old if one not in still]
    return Reservation.objects.filter(pk__in=gone).delete()[0] if gone else 0


def look(machine_id: UUID | str) -> None:
    """Look at one machine now, if nobody has just looked."""
    machine = Machine.objects.filter(pk=machine_id).first()
    if machine is not None:
        checks.check_due()
