"""Reserving: now, later, repeatedly, or by waiting; all or nothing."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from django.db import IntegrityError, transaction

from audit.services import Actor, record
from lormas.common import clock, zones
from lormas.common.errors import Conflict, FieldError, Invalid, Refused
from lormas.common.jobs import enqueue_on_commit
from nodes import operations
from reservations import guard, planning, selectors
from reservations.access import usable_machines
from reservations.models import Allocation, Machine, Reservation
from reservations.planning import Ask, Choice, MachineView
from reservations.secrets import lock
from reservations.services.limits import check_length, check_new, claims, one_at_a_time
from reservations.services.publish import announce, machines_changed, target
from reservations.states import State
from reservations.validation import check_labels, good_password, one_public_key
from reservations.windows import MAX_REPEATS, Every, Window, meeting, repeated, whole_second, window_of

MAX_COUNT = 100
MIN_SECONDS = 60
TRIES = 8
LATE = timedelta(minutes=2)
"""So far in the past a start may lie and still mean "now"."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a person asks for; already of the right shape. `starts_at` None: now."""

    count: int
    seconds: int
    starts_at: datetime | None = None
    labels: dict[str, str] = field(default_factory=dict)
    machines: tuple[Machine, ...] = ()
    password: str = field(default="", repr=False)
    public_key: str = ""
    queue: bool = False
    partial: bool = False
    sudo: bool = False
    purpose: str = ""
    every: Every | Literal[""] = ""
    times: int = 1
    zone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Trial:
    """What a dry run found for one window."""

    window: Window
    choice: Choice
    position: int | None = None
    """Where it would stand in the queue; None where it needs not wait."""


def check_wish(user: Any, wish: Wish, *, dry: bool = False) -> Wish:
    """The wish with its key in one form and its labels known to be good. Raises Invalid, Refused `too_long`."""
    wrong: list[FieldError] = check_labels(wish.labels)
    if not 1 <= wish.count <= MAX_COUNT:
        wrong.append(FieldError("count", f"From 1 to {MAX_COUNT}."))
    if wish.machines and len(wish.machines) < wish.count:
        wrong.append(FieldError("count", f"You named {len(wish.machines)} machines and ask for {wish.count}."))
    if wish.seconds < MIN_SECONDS:
        wrong.append(FieldError("duration_minutes", "At least a minute."))
    if wish.starts_at is not None and wish.starts_at < clock.now() - LATE:
        wrong.append(FieldError("starts_at", "It lies in the past."))
    if wish.every and not 1 <= wish.times <= MAX_REPEATS:
        wrong.append(FieldError("repeat.times", f"From 1 to {MAX_REPEATS}."))
    if not zones.known(wish.zone):
        wrong.append(FieldError("repeat.time_zone", "A name of the time zone database, such as Asia/Jakarta."))
    if wish.queue and (wish.starts_at is not None or wish.every):
        wrong.append(FieldError("queue", "Only what starts as soon as it can may wait: leave starts_at and repeat away."))
    key = one_public_key(wish.public_key) if wish.public_key else ""
    if key is None:
        wrong.append(FieldError("public_key", "One public key as in an .pub file, without options; RSA from 2048 bits."))
    if wish.password and not good_password(wish.password):
        wrong.append(FieldError("reservation_password", "One line of at most 128 printable characters."))
    if not dry and not wish.password and not key:
        wrong.append(FieldError("reservation_password", "Give a password or a public key, with which you sign in.", "required"))
    if wrong:
        raise Invalid("The reservation can't be made so.", errors=wrong)
    check_length(user, wish.seconds)
    return replace(wish, public_key=key or "")


def windows_of(wish: Wish, *, now: datetime) -> list[Window]:
    """One per reservation. Raises Invalid where repetitions would meet each other."""
    first = window_of(max(whole_second(wish.starts_at), whole_second(now)) if wish.starts_at else now, wish.seconds)
    if not wish.every:
        return [first]
    found = repeated(first, every=wish.every, times=wish.times, zone=wish.zone)
    if meeting(found):
        detail = f"It lasts longer than a {wish.every}, so its repetitions would meet."
        raise Invalid(detail, errors=[FieldError("repeat.every", detail)])
    return found


def _ask(user: Any, wish: Wish, now: datetime) -> Ask:
    return Ask(
        uuid.uuid4(), user.pk, wish.count, wish.seconds, now, wish.labels, frozenset(machine.pk for machine in wish.machines), usable_machines(user)
    )


def _booked(views: Sequence[MachineView], choice: Choice, window: Window) -> list[MachineView]:
    taken = set(choice.machines)
    return [replace(view, bookings=(*view.bookings, window)) if view.id in taken else view for view in views]


def try_out(user: Any, wish: Wish) -> list[Trial]:
    """Dry run: what would be taken, and why not the others. Changes nothing. Raises Invalid, Refused."""
    wish = check_wish(user, wish, dry=True)
    now = whole_second(clock.now())
    views, waiting, found = selectors.machine_views(), selectors.waiting_asks(), []
    ask = _ask(user, wish, now)
    for window in windows_of(wish, now=now):
        choice = planning.choose(ask, views, window=window, waiting=waiting, now=now)
        position = None
        if not choice.enough and wish.queue:
            position = next(plan.position for plan in planning.timetable([*waiting, ask], views, now=now) if plan.ask.id == ask.id)
        found.append(Trial(window, choice, position))
        views = _booked(views, choice, window)
    return found


def username_for(user: Any, reservation_id: uuid.UUID) -> str:
    """`lr-alice-3f9c2a`: of ours by its beginning, its owner's by its middle, this reservation's by its end."""
    stem = re.sub(r"[^a-z0-9]+", "-", str(user.username).partition("@")[0].lower()).strip("-")[:14].strip("-") or "user"
    return f"lr-{stem}-{reservation_id.hex[-6:]}"


def reserve(*, user: Any, actor: Actor, wish: Wish) -> list[Reservation]:
    """Book: one reservation, or one per repetition (all or none). What starts now is made ready in the background.

    Raises:
        Invalid, Refused (limits, `never_enough`), Conflict `not_enough_machines` with how many are free, and when more will be.
    """
    wish = check_wish(user, wish)
    if not wish.queue:  # most refusals need no turn at the table: they are as true a moment before it
        _planned(user, wish, now=whole_second(clock.now()))
    for _ in range(TRIES):
        try:
            with claims(), transaction.atomic():
                return _book(user, actor, wish)
        except IntegrityError as error:
            if not guard.is_clash(error):
                raise
    raise Conflict("Others took the machines in this very moment: try again.", code="not_enough_machines", extra={"free": 0, "wanted": wish.count})


@dataclass(frozen=True, slots=True)
class _Plan:
    """What each window gets; `short` names the first that gets too little."""

    ask: Ask
    views: list[MachineView]
    chosen: tuple[tuple[Window, Choice], ...]
    short: tuple[Window, Choice] | None = None


def _planned(user: Any, wish: Wish, *, now: datetime) -> _Plan:
    """Reads only. Raises Refused (limits), Conflict `not_enough_machines` unless the wish may wait."""
    windows = windows_of(wish, now=now)
    check_new(user, windows, count=wish.count, reservations=len(windows), now=now)
    views, waiting = selectors.machine_views(), selectors.waiting_asks()
    ask = _ask(user, wish, now)
    chosen: list[tuple[Window, Choice]] = []
    for window in windows:
        choice = planning.choose(ask, views, window=window, waiting=waiting, now=now)
        if not choice.enough:
            if wish.queue:
                return _Plan(ask, views, (), (window, choice))
            raise not_enough(wish, window, choice, now=now)
        chosen.append((window, choice))
        views = _booked(views, choice, window)
    return _Plan(ask, views, tuple(chosen))


def _book(user: Any, actor: Actor, wish: Wish) -> list[Reservation]:
    one_at_a_time()
    now = whole_second(clock.now())
    plan = _planned(user, wish, now=now)
    if plan.short is not None:
        return [_wait(user, actor, wish, plan.ask, plan.views)]
    series = uuid.uuid4() if wish.every else None
    made: list[Reservation] = []
    for window, choice in plan.chosen:
        reservation = _row(user, wish, State.REQUESTED, now)
        reservation.series = series
        take_machines(reservation, choice.machines, window, now=now)
        record("reservations.create", actor=actor, target=target(reservation), after=told(reservation))
        made.append(reservation)
    return made


def _row(user: Any, wish: Wish, state: State, now: datetime) -> Reservation:
    made = Reservation(
        owner=user, owner_label=user.label, purpose=wish.purpose, count=wish.count, duration_seconds=wish.seconds, labels=wish.labels,
        wanted=[str(machine.pk) for machine in wish.machines], partial=wish.partial, sudo=wish.sudo, password=lock(wish.password),
        public_key=wish.public_key, state=state, state_since=now,
    )  # fmt: skip
    made.username = username_for(user, made.pk)
    return made


def take_machines(reservation: Reservation, machine_ids: Sequence[uuid.UUID], window: Window, *, now: datetime) -> None:
    """Save the reservation with its window and its machines (IntegrityError where somebody else was first); starts it if it is due."""
    reservation.state, reservation.state_since = State.REQUESTED, now
    reservation.starts_at, reservation.ends_at, reservation.due = window.start, window.end, window.start
    operation = None
    if window.start <= now:
        operation = operations.open_operation(
            "reservations.provision", user=reservation.owner, target_type="reservation", target_id=reservation.pk,
            target_label=target(reservation).label, deadline_seconds=600, message="Making accounts",
        )  # fmt: skip
        reservation.operation_id = operation.pk
    reservation.save()
    Allocation.objects.bulk_create(
        [Allocation(reservation=reservation, machine_id=one, starts_at=window.start, ends_at=window.end) for one in sorted(machine_ids)]
    )
    announce(reservation)
    machines_changed(machine_ids)
    if operation is not None:
        enqueue_on_commit("reservations.tasks.advance", str(reservation.pk))


def _wait(user: Any, actor: Actor, wish: Wish, ask: Ask, views: Sequence[MachineView]) -> Reservation:
    ever = [view for view in views if planning.mismatch(ask, replace(view, problem="")) is None]
    if len(ever) < wish.count:
        raise Refused(
            f"The pool has {len(ever)} such machines in all, so waiting would never end: ask for fewer, or for others.",
            code="never_enough", extra={"machines": len(ever), "wanted": wish.count},
        )  # fmt: skip
    now = clock.now()
    reservation = _row(user, wish, State.WAITING, now)
    reservation.queued_at = now
    reservation.save(force_insert=True)
    record("reservations.queue", actor=actor, target=target(reservation), after=told(reservation))
    announce(reservation)
    return reservation


def not_enough(wish: Wish, window: Window, choice: Choice, *, now: datetime) -> Conflict:
    """The refusal: how many are free, why the others are not, and when enough will be."""
    free = len(choice.free)
    when = "now" if window.start <= now else f"from {window.start:%Y-%m-%d %H:%M} UTC"
    later = f" Enough are expected to be free at {choice.next_at:%Y-%m-%d %H:%M} UTC." if choice.next_at and choice.next_at > now else ""
    kept = sum(1 for refusal in choice.refused if refusal.rule == "queue")
    held_back = f" {kept} more are kept for people who wait." if kept else ""
    return Conflict(
        f"{free} of the {wish.count} machines are free {when} for so long.{held_back}{later}",
        code="not_enough_machines",
        extra={
            "free": free,
            "wanted": wish.count,
            "next_at": clock.rfc3339(choice.next_at),
            "starts_at": clock.rfc3339(window.start),
            "refused": [{"machine": r.machine.name, "rule": r.rule, "reason": r.reason} for r in choice.refused[:50]],
        },
    )


def told(reservation: Reservation) -> dict[str, Any]:
    """A reservation as the journal knows it: of credentials only their kind."""
    return {
        "count": reservation.count, "starts_at": clock.rfc3339(reservation.starts_at), "ends_at": clock.rfc3339(reservation.ends_at),
        "labels": reservation.labels, "username": reservation.username, "sudo": reservation.sudo, "purpose": reservation.purpose,
        "signs_in_by": " and ".join(word for word, given in (("password", reservation.password), ("key", reservation.public_key)) if given),
    }  # fmt: skip
