"""Reads of the pool for pages, API and planning."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet

from lormas.common import clock
from reservations.access import usable_machines
from reservations.models import Allocation, Machine, Reservation
from reservations.planning import Ask, MachineView, Plan, timetable
from reservations.states import HOLDING, Condition, Hold, MachineStatus, State
from reservations.windows import Window


def problem_of(machine: Machine) -> str:
    """Why it can't be given away at all; empty = it can."""
    if machine.condition != Condition.OK:
        return f"It is {machine.get_condition_display().lower()}: {machine.condition_reason or 'no reason was given'}"
    if machine.reachable is not True:
        return machine.reach_reason or "It has not been looked at yet."
    return ""


def open_allocations(machine_ids: Iterable[UUID] | None = None) -> QuerySet[Allocation]:
    """Those that hold something, oldest first."""
    found = Allocation.objects.filter(closed_at__isnull=True).select_related("reservation").order_by("starts_at")
    return found if machine_ids is None else found.filter(machine_id__in=list(machine_ids))


def machine_views() -> list[MachineView]:
    """The pool as planning sees it; two queries."""
    bookings: dict[UUID, list[Window]] = {}
    unclean: set[UUID] = set()
    now = clock.now()
    for row in open_allocations().values_list("machine_id", "starts_at", "ends_at", "began_at", "hold"):
        machine_id, starts_at, ends_at, began_at, hold = row
        if hold != Hold.DIRTY:
            bookings.setdefault(machine_id, []).append(Window(starts_at, ends_at))
        if began_at is not None and ends_at <= now:
            unclean.add(machine_id)
    return [
        MachineView(m.pk, m.name, m.labels, problem_of(m), m.pk in unclean, tuple(bookings.get(m.pk, ())))
        for m in Machine.objects.order_by("name")
    ]  # fmt: skip


def ask_of(reservation: Reservation) -> Ask:
    """Of one that waits or has to be exchanged. Read its `owner` with it."""
    allowed = usable_machines(reservation.owner) if reservation.owner is not None else frozenset()
    return Ask(
        reservation.pk, reservation.owner_id, reservation.count, reservation.duration_seconds, reservation.queued_at or reservation.created_at,
        reservation.labels, frozenset(UUID(str(one)) for one in reservation.wanted), allowed,
    )  # fmt: skip


def waiting_asks() -> list[Ask]:
    return [ask_of(found) for found in Reservation.objects.filter(state=State.WAITING).select_related("owner__role")]


def queue() -> list[Plan]:
    """Who waits, in the order in which they are served, with the time each is expected to start."""
    asks = waiting_asks()
    return timetable(asks, machine_views(), now=clock.now()) if asks else []


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a machine now."""

    reservation: Reservation
    until: datetime
    hold: str


def holders(machines: Sequence[Machine]) -> dict[UUID, Holder]:
    """By machine: the reservation whose account is or may be on it, else the one whose window has begun."""
    now = clock.now()
    found: dict[UUID, Holder] = {}
    rows = open_allocations(machine.pk for machine in machines).filter(Q(began_at__isnull=False) | Q(starts_at__lte=now))
    for row in rows.order_by("began_at"):
        if row.began_at is not None or row.machine_id not in found:
            found[row.machine_id] = Holder(row.reservation, row.ends_at, row.hold)
    return found


def status_of(machine: Machine, holder: Holder | None) -> str:
    """What a person sees. A holder goes before an outage: the machine is theirs, reachable or not."""
    if machine.condition == Condition.BROKEN:
        return MachineStatus.BROKEN
    if machine.condition == Condition.QUARANTINED:
        return MachineStatus.QUARANTINED
    if holder is not None:
        return MachineStatus.RESERVED
    return MachineStatus.AVAILABLE if machine.reachable is True else MachineStatus.OFFLINE


def reason_of(machine: Machine, status: str) -> str:
    if status in (MachineStatus.BROKEN, MachineStatus.QUARANTINED):
        return machine.condition_reason
    return machine.reach_reason or "Not looked at yet." if status == MachineStatus.OFFLINE else ""


def pool(machines: Sequence[Machine]) -> dict[str, Any]:
    """Totals by status and each machine with its status, who holds it and until when; two queries more."""
    held = holders(machines)
    rows = []
    totals = dict.fromkeys(MachineStatus.values, 0)
    for machine in machines:
        holder = held.get(machine.pk)
        status = status_of(machine, holder)
        totals[status] += 1
        rows.append({"machine": machine, "status": status, "reason": reason_of(machine, status), "holder": holder})
    return {"total": len(rows), **totals, "waiting": Reservation.objects.filter(state=State.WAITING).count(), "rows": rows}


def bookings_between(window: Window) -> QuerySet[Allocation]:
    """What calendars show: whatever held, holds or will hold a machine within the window."""
    return (
        Allocation.objects.filter(starts_at__lt=window.end)
        .filter(Q(closed_at__isnull=True, ends_at__gt=window.start) | Q(closed_at__gt=window.start, began_at__isnull=False))
        .exclude(hold=Hold.GIVEN_UP)
        .select_related("reservation", "machine")
        .order_by("machine__name", "starts_at")
    )


def usage(*, since: datetime, until: datetime, owner: Any = None) -> tuple[dict[str, dict[str, Any]], dict[str, dict[str, Any]]]:
    """Seconds that machines were held within the window, by person and by machine: `{key: {label, seconds, reservations}}`."""
    people: dict[str, dict[str, Any]] = {}
    machines: dict[str, dict[str, Any]] = {}
    now = clock.now()
    found = Allocation.objects.filter(began_at__lt=until, began_at__isnull=False).filter(Q(closed_at__isnull=True) | Q(closed_at__gt=since))
    if owner is not None:
        found = found.filter(reservation__owner=owner)
    for row in found.select_related("reservation", "machine").iterator(chunk_size=500):
        begin, end = max(row.began_at or since, since), min(row.closed_at or now, until)
        seconds = max(0.0, (end - begin).total_seconds())
        for table, key, label in (
            (people, str(row.reservation.owner_id or row.reservation.owner_label), row.reservation.owner_label),
            (machines, str(row.machine_id), row.machine.name),
        ):
            entry = table.setdefault(key, {"label": label, "seconds": 0.0, "reservations": set()})
            entry["seconds"] += seconds
            entry["reservations"].add(row.reservation_id)
    return people, machines


def open_windows(user: Any, *, but: UUID | None = None) -> list[Window]:
    """Of each machine that a person holds or has booked."""
    rows = Allocation.objects.filter(reservation__owner=user, reservation__state__in=HOLDING, closed_at__isnull=True)
    rows = rows.exclude(reservation_id=but) if but is not None else rows
    return [Window(start, end) for start, end in rows.values_list("starts_at", "ends_at")]
