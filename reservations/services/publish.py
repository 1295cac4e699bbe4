"""Hints to browsers, and how machines and reservations are named in the journal."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from audit.services import Target
from lormas.common import clock, live
from reservations.models import Machine, Reservation


def machine_changed(machine_id: UUID | str) -> None:
    """After the commit, tell consoles to look at this machine again (`ui:machines`); it says nothing that needs a permission."""
    live.on_commit_publish("ui:machines", {"type": "machine", "id": str(machine_id)})


def machines_changed(ids: Iterable[UUID | str]) -> None:
    for machine_id in sorted({str(one) for one in ids}):
        machine_changed(machine_id)


def announce(reservation: Reservation) -> None:
    """After the commit, tell the owner's consoles, and those who see all (`ui:reservations`)."""
    message = {
        "type": "reservation",
        "id": str(reservation.pk),
        "owner": str(reservation.owner_id) if reservation.owner_id else None,
        "state": reservation.state,
        "starts_at": clock.rfc3339(reservation.starts_at),
        "ends_at": clock.rfc3339(reservation.ends_at),
        "reason": reservation.reason,
    }
    live.on_commit_publish("ui:reservations", message)


def target_of(machine: Machine) -> Target:
    return Target("machine", str(machine.pk), machine.name)


def target(reservation: Reservation) -> Target:
    count = reservation.count
    return Target("reservation", str(reservation.pk), f"{count} machine{'s' if count != 1 else ''} for {reservation.owner_label}")
