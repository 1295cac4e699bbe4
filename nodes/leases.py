"""Leases: a right that one holder has for a time, with a fencing number (SECURITY R22, R26).

Any room above may use them: `fence = take("reservations.expire", seconds=60)`; None = somebody else has it. What is written under a lease that
must not be written by one who was paused past its end is made conditional on `holds(name, fence)`, in the same transaction.
"""

from __future__ import annotations

import secrets
from datetime import timedelta

from django.db import IntegrityError, transaction
from django.db.models import F, Q

from lormas.common import clock, ids
from nodes.models import Lease


def take(name: str, *, seconds: float, not_within_seconds: float = 0) -> int | None:
    """The fencing number if the lease is free (or its time is over) and was last taken at least `not_within_seconds` ago, else None."""
    now = clock.now()
    if not Lease.objects.filter(pk=name).exists():
        try:
            with transaction.atomic():
                Lease.objects.create(name=name)
        except IntegrityError:
            pass  # a rival made it
    holder = f"{ids.PROCESS_ID}:{secrets.token_hex(8)}"
    free = Q(held_until__isnull=True) | Q(held_until__lt=now)
    rested = Q(taken_at__isnull=True) | Q(taken_at__lte=now - timedelta(seconds=not_within_seconds)) | Q(taken_at__gt=now + timedelta(hours=1))
    taken = (
        Lease.objects.filter(free, rested, pk=name)
        .order_by()
        .update(fence=F("fence") + 1, holder=holder, held_until=now + timedelta(seconds=seconds), taken_at=now)
    )
    if not taken:
        return None
    return Lease.objects.filter(pk=name, holder=holder).values_list("fence", flat=True).first()


def renew(name: str, fence: int, *, seconds: float) -> bool:
    """Hold it longer. False: it is lost."""
    now = clock.now()
    return bool(Lease.objects.filter(pk=name, fence=fence, held_until__gte=now).update(held_until=now + timedelta(seconds=seconds)))


def holds(name: str, fence: int) -> bool:
    """Is this number still the newest, and its time not over? Locks the row where called in a transaction."""
    found = Lease.objects.select_for_update() if transaction.get_connection().in_atomic_block else Lease.objects.all()
    return found.filter(pk=name, fence=fence, held_until__gte=clock.now()).exists()


def give_back(name: str, fence: int) -> bool:
    """Let others have it. False: it was lost before."""
    return bool(Lease.objects.filter(pk=name, fence=fence).update(held_until=None, holder=""))
