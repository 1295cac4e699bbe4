"""Doors to machines and reservations: unseen is 404, seen but not allowed is 403."""

from __future__ import annotations

import uuid
from typing import Any

from django.db.models import Q, QuerySet

from accounts.access import has, require
from lormas.common.errors import NotFound
from reservations.models import Machine, Reservation


def visible_machines(user: Any) -> QuerySet[Machine]:
    """The whole pool for those who may see it, else none."""
    found = Machine.objects.select_related("node")
    return found if has(user, "machines.view") else found.none()


def get_machine(user: Any, ref: uuid.UUID | str, capability: str = "machines.view") -> Machine:
    """By id or by name. Raises NotFound, Forbidden."""
    try:
        found = visible_machines(user).filter(pk=uuid.UUID(str(ref))).first()
    except ValueError:
        found = visible_machines(user).filter(name__iexact=str(ref)[:64]).first()
    if found is None:
        raise NotFound("There is no such machine, or you may not see it.")
    require(user, capability)
    return found


def visible_reservations(user: Any) -> QuerySet[Reservation]:
    """One's own; everybody's with `reservations.any` (D14: nobody else learns of an account on a machine)."""
    found = Reservation.objects.select_related("owner")
    if has(user, "reservations.any"):
        return found
    return found.filter(owner=user) if has(user, "machines.view") or has(user, "reservations.create") else found.none()


def get_reservation(user: Any, reservation_id: uuid.UUID | str, *, to_change: bool = False) -> Reservation:
    """One reservation. To change one's own, `reservations.create` is needed; somebody else's, `reservations.any`.

    Raises:
        NotFound, Forbidden.
    """
    try:
        key = uuid.UUID(str(reservation_id))
    except ValueError:
        raise NotFound("There is no such reservation, or it is not yours.") from None
    found = visible_reservations(user).filter(pk=key).first()
    if found is None:
        raise NotFound("There is no such reservation, or it is not yours.")
    if to_change:
        require(user, "reservations.create" if found.owner_id == user.pk else "reservations.any")
    return found


def shown_to(user: Any) -> Q:
    """Which reservations this person may see the accounts of, as a condition."""
    return Q() if has(user, "reservations.any") else Q(owner=user)
