"""Doors to machines and reservations: unseen is 404, seen but not allowed is 403."""

from __future__ import annotations

import uuid
from functools import cache
from typing import Any

from django.db.models import Q, QuerySet

from accounts import grants
from accounts.access import has, require, rights_of
from accounts.grants import Kind
from lormas.common.errors import NotFound
from reservations.models import Machine, MachineRoleGrant, MachineUserGrant, Reservation


@cache
def grant_kind() -> Kind:
    return Kind(
        name="machine",
        model=Machine,
        people=MachineUserGrant,
        roles=MachineRoleGrant,
        permissions=("machines.view", "machines.manage"),
        manage="machines.manage",
        get=get_machine,
        standing=lambda user, machine: True,
        url="reservations:machine",
    )


def visible_machines(user: Any) -> QuerySet[Machine]:
    """The whole pool for those who may see it; for others the machines that were granted."""
    found = Machine.objects.select_related("node")
    if has(user, "machines.view"):
        return found
    granted = grants.granted_ids(grant_kind(), user) if grants.holds_any(grant_kind(), user) else None
    return found.none() if granted is None else found.filter(pk__in=granted)


def usable_machines(user: Any) -> frozenset[uuid.UUID] | None:
    """Which machines this person may be given: the whole pool (None) for those whose role sees it, else those that are granted to them now.

    By what the person may, not by the scopes of the key that they came with: a key for reserving alone is enough to reserve.
    """
    if "machines.view" in rights_of(user):
        return None
    granted = grants.granted_ids(grant_kind(), user) if grants.holds_any(grant_kind(), user) else None
    return frozenset() if granted is None else frozenset(Machine.objects.filter(pk__in=granted).values_list("pk", flat=True))


def sees_machines(user: Any) -> bool:
    """Is there a reason to show this person the list of machines?"""
    return has(user, "machines.view") or grants.holds_any(grant_kind(), user)


def require_sight(user: Any) -> None:
    """Raises Forbidden for those who see no machine at all."""
    if not sees_machines(user):
        require(user, "machines.view")


def require_part(user: Any) -> None:
    """Raises Forbidden for those who can't have reservations: whoever may reserve, or sees the pool, may look at their own."""
    if not has(user, "reservations.create"):
        require(user, "machines.view")


def get_machine(user: Any, ref: uuid.UUID | str, capability: str = "machines.view") -> Machine:
    """By id or by name. Raises NotFound, Forbidden."""
    try:
        found = visible_machines(user).filter(pk=uuid.UUID(str(ref))).first()
    except ValueError:
        found = visible_machines(user).filter(name__iexact=str(ref)[:64]).first()
    if found is None:
        raise NotFound("There is no such machine, or you may not see it.")
    if capability != "machines.view":
        grants.require(grant_kind(), user, found, capability)
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
