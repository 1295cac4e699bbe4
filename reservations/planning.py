"""Which machines a request gets, and when: pure.

One timetable answers everything. Those who wait are planned in fair order, each at the first moment at which enough machines are free for its
whole length beside what is booked and what was planned before it. Who is planned for now starts now; the others' times are their estimates.
A new request is planned behind all who wait, so it takes what it delays nobody by, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from reservations.windows import Window


@dataclass(frozen=True, slots=True)
class MachineView:
    """A machine as planning sees it. `busy_until_clean`: an account is on it that is not proved gone, whatever the windows say."""

    id: UUID
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""  # why it can't be given away at all; empty = it can
    busy_until_clean: bool = False
    bookings: tuple[Window, ...] = ()


@dataclass(frozen=True, slots=True)
class Ask:
    """A request."""

    id: UUID
    owner: UUID | None
    count: int
    seconds: int
    queued_at: datetime
    labels: Mapping[str, str] = field(default_factory=dict)
    wanted: frozenset[UUID] = frozenset()
    allowed: frozenset[UUID] | None = None
    """Machines that the owner may use at all; None: the whole pool (`reservations.access.usable_machines`)."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one machine was not taken. `rule`: access | health | name | label | held | queue."""

    machine: MachineView
    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What an ask would get. `starts_at` None: never, as things are. `position` counts from 1 among those who wait."""

    ask: Ask
    starts_at: datetime | None
    machines: tuple[UUID, ...] = ()
    position: int = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """Machines for one window, or why there are not enough."""

    machines: tuple[UUID, ...]
    free: tuple[UUID, ...]
    """All that fit, chosen or not."""
    refused: tuple[Refusal, ...]
    next_at: datetime | None = None
    """When enough will be free, as far as is known."""

    @property
    def enough(self) -> bool:
        return bool(self.machines)


def mismatch(ask: Ask, machine: MachineView) -> Refusal | None:
    """Why this machine can never serve the ask, whatever the time."""
    if ask.allowed is not None and machine.id not in ask.allowed:
        return Refusal(machine, "access", "It is not among the machines that its owner may use.")
    if ask.wanted and machine.id not in ask.wanted:
        return Refusal(machine, "name", "It is not one of the machines asked for.")
    for key, value in ask.labels.items():
        has = machine.labels.get(key)
        if has is None:
            return Refusal(machine, "label", f"It has no label {key}.")
        if value not in ("", has):
            return Refusal(machine, "label", f"Its label {key} is {has}, not {value}.")
    if machine.problem:
        return Refusal(machine, "health", machine.problem)
    return None


def fair_order(asks: Iterable[Ask]) -> list[Ask]:
    """By turns: everybody's first request before anybody's second, and within a round by age. A request only ever moves forward."""
    turn: dict[UUID | None, int] = {}
    ranked: list[tuple[int, datetime, str, Ask]] = []
    for ask in sorted(asks, key=lambda a: (a.queued_at, str(a.id))):
        turn[ask.owner] = turn.get(ask.owner, 0) + 1
        ranked.append((turn[ask.owner], ask.queued_at, str(ask.id), ask))
    return [ask for *_, ask in sorted(ranked, key=lambda row: row[:3])]


class _Table:
    """Bookings by machine; grows while asks are planned."""

    def __init__(self, machines: Sequence[MachineView], now: datetime) -> None:
        self.now = now
        self.machines = machines
        self.busy: dict[UUID, list[Window]] = {machine.id: list(machine.bookings) for machine in machines}

    def free(self, machine: MachineView, window: Window) -> bool:
        if machine.busy_until_clean and window.start <= self.now:
            return False
        return not any(window.meets(busy) for busy in self.busy[machine.id])

    def moments(self, machines: Sequence[MachineView]) -> list[datetime]:
        """When something becomes free: the only moments at which an answer can change for the better."""
        ends = {window.end for machine in machines for window in self.busy[machine.id] if window.end > self.now}
        if any(machine.busy_until_clean for machine in machines):
            ends.add(self.now + timedelta(seconds=60))  # cleaning takes about that; it is an estimate
        return [self.now, *sorted(ends)]

    def place(self, ask: Ask) -> tuple[datetime | None, tuple[UUID, ...]]:
        fit = [machine for machine in self.machines if mismatch(ask, machine) is None]
        if len(fit) < ask.count:
            return None, ()
        for moment in self.moments(fit):
            window = Window(moment, moment + timedelta(seconds=ask.seconds))
            found = [machine for machine in fit if self.free(machine, window)]
            if len(found) >= ask.count:
                chosen = tuple(machine.id for machine in _tightest(found, self.busy, window)[: ask.count])
                for machine_id in chosen:
                    self.busy[machine_id].append(window)
                return moment, chosen
        return None, ()


def _tightest(found: Sequence[MachineView], busy: Mapping[UUID, Sequence[Window]], window: Window) -> list[MachineView]:
    """Those first whose next booking is nearest, so that long free stretches stay whole; then by fewest labels, then by name."""
    far = timedelta(days=36500)

    def key(machine: MachineView) -> tuple[timedelta, int, str]:
        after = [other.start - window.end for other in busy[machine.id] if other.start >= window.end]
        return (min(after, default=far), len(machine.labels), machine.name)

    return sorted(found, key=key)


def timetable(asks: Iterable[Ask], machines: Sequence[MachineView], *, now: datetime) -> list[Plan]:
    """Everybody who waits, in the order in which they are served."""
    table = _Table(machines, now)
    return [Plan(ask, *table.place(ask), position=position) for position, ask in enumerate(fair_order(asks), start=1)]


def choose(ask: Ask, machines: Sequence[MachineView], *, window: Window, waiting: Iterable[Ask], now: datetime) -> Choice:
    """Machines for one ask in one window, behind all who wait. Of machines that its owner may not use nothing is told, not even a refusal."""
    table = _Table(machines, now)
    for other in fair_order(waiting):
        table.place(other)
    free: list[MachineView] = []
    refused: list[Refusal] = []
    for machine in machines:
        why = mismatch(ask, machine)
        if why is None:
            booked = [busy for busy in machine.bookings if window.meets(busy)]
            if booked:
                until = max(busy.end for busy in booked)
                why = Refusal(machine, "held", f"It is reserved until {until:%Y-%m-%d %H:%M} UTC.")
            elif machine.busy_until_clean and window.start <= now:
                why = Refusal(machine, "held", "It is being cleaned after the last reservation.")
            elif not table.free(machine, window):
                why = Refusal(machine, "queue", "It is kept for somebody who waits.")
        if why is None:
            free.append(machine)
        elif why.rule != "access":
            refused.append(why)
    chosen: tuple[UUID, ...] = ()
    next_at: datetime | None = None
    if len(free) >= ask.count:
        chosen = tuple(machine.id for machine in _tightest(free, table.busy, window)[: ask.count])
    else:
        next_at, _ = table.place(ask)
    return Choice(chosen, tuple(machine.id for machine in free), tuple(refused), next_at)


def delayed_by(machine_ids: Iterable[UUID], waiting: Iterable[Ask], machines: Sequence[MachineView]) -> Ask | None:
    """The first who waits and could use one of these machines: then nobody's time on them is made longer."""
    wanted = set(machine_ids)
    mine = [machine for machine in machines if machine.id in wanted]
    for ask in fair_order(waiting):
        if any(mismatch(ask, machine) is None for machine in mine):
            return ask
    return None
