"""The calendar of machines as pages draw it: bars in percent of a day or a week. Pure, but for what is handed in."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from django.utils.dateparse import parse_date

from reservations.states import Hold, State
from reservations.windows import Window, local_midnight, span_of

View = Literal["day", "week"]
HOUR = timedelta(hours=1)
TONES = {State.REQUESTED: "planned", State.PROVISIONING: "passing", State.ACTIVE: "active", State.REVOKING: "passing"}


@dataclass(frozen=True, slots=True)
class Tick:
    """A line of the grid with its label; `strong` begins a day, `minor` labels give way on phones."""

    left: float
    label: str
    strong: bool = False
    minor: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """One machine held by one person from then to then."""

    left: float
    width: float
    person: str
    purpose: str
    tone: str
    mine: bool
    reservation: UUID | None
    """Only where the viewer may see it."""
    state: str
    starts_at: datetime
    ends_at: datetime
    begins_before: bool
    goes_on: bool


@dataclass(frozen=True, slots=True)
class Row:
    """A machine and its bars; what else the page wants to know of it stands in `about` (a row of `selectors.pool`)."""

    about: dict[str, Any]
    bars: tuple[Bar, ...]


def day_of(text: str, *, zone: str, now: datetime) -> datetime:
    """The day that a person typed (`2026-11-26`), else today; its midnight in their zone."""
    try:
        found = parse_date(text) if text else None
    except ValueError:
        found = None
    here = now.astimezone(ZoneInfo(zone))
    if found is None or abs((found - here.date()).days) > 3660:
        found = here.date()
    return local_midnight(datetime(found.year, found.month, found.day, 12, tzinfo=ZoneInfo(zone)), zone)


def moved(day: datetime, *, view: View, by: int) -> date:
    return day.date() + timedelta(days=by * (1 if view == "day" else 7))


def share(moment: datetime, window: Window) -> float:
    """Where a moment lies, in percent of the window; cut at its edges."""
    return round(100 * min(1.0, max(0.0, (moment - window.start).total_seconds() / window.seconds)), 4)


def ticks(window: Window, *, view: View, zone: str) -> list[Tick]:
    """Hours of a day (23 or 25 where the clocks change), or days of a week."""
    place = ZoneInfo(zone)
    if view == "day":
        found, at = [], window.start
        while at < window.end:
            local = at.astimezone(place)
            found.append(Tick(share(at, window), f"{local:%H}", strong=local.hour == 0, minor=local.hour % 6 != 0))
            at += HOUR
        return found
    days, at = [], window.start
    while at < window.end:
        local = at.astimezone(place)
        days.append(Tick(share(at, window), f"{local:%a} {local.day}", strong=True))
        at = span_of(at, view="day", zone=zone).end
    return days


def bars_of(allocations: Iterable[Any], *, window: Window, now: datetime, viewer_id: Any, sees_all: bool) -> dict[UUID, tuple[Bar, ...]]:
    """Bars by machine, oldest first. An account that outlived its window is drawn until now, because until now it held the machine."""
    found: dict[UUID, list[Bar]] = {}
    for row in allocations:
        end = row.closed_at or (max(row.ends_at, now) if row.began_at is not None else row.ends_at)
        start = row.starts_at
        if end <= window.start or start >= window.end or end <= start:
            continue
        reservation = row.reservation
        mine = viewer_id is not None and reservation.owner_id == viewer_id
        tone = "bad" if row.hold == Hold.DIRTY else "past" if row.closed_at is not None else TONES.get(reservation.state, "past")
        left, right = share(start, window), share(end, window)
        found.setdefault(row.machine_id, []).append(
            Bar(
                left, round(right - left, 4), reservation.owner_label, reservation.purpose if mine or sees_all else "", tone, mine,
                reservation.pk if mine or sees_all else None, reservation.get_state_display(), start, end, start < window.start, end > window.end,
            )
        )  # fmt: skip
    return {machine: tuple(sorted(bars, key=lambda bar: bar.starts_at)) for machine, bars in found.items()}
