"""Many who want the same at once: one gets it, whatever the database."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, connections, transaction

from lormas.common import clock
from lormas.common.errors import Conflict, Problem
from reservations import guard
from reservations.models import Allocation, Limit, Reservation
from reservations.services import extend as extending
from reservations.services import revoke
from reservations.services.reserve import Wish, reserve
from reservations.states import Hold, State

pytestmark = [pytest.mark.redis, pytest.mark.django_db(transaction=True)]
ROUNDS, RIVALS, SERVED = 100, 50, 6
HOUR = timedelta(hours=1)


def together(jobs: list[Callable[[], Any]], *, pool: ThreadPoolExecutor) -> list[Any]:
    """All at once; what each gave, or the problem it raised."""
    gate = threading.Barrier(len(jobs))

    def run(job: Callable[[], Any]) -> Any:
        gate.wait(60)
        try:
            return job()
        except Problem as problem:
            return problem

    return list(pool.map(run, jobs))


@pytest.fixture
def crowd() -> Any:
    """Threads that keep their connection from round to round, as a server's do."""
    opened: list[Any] = []

    def keep() -> None:
        opened.append(connections["default"])

    with ThreadPoolExecutor(RIVALS, initializer=keep) as pool:
        yield pool
        list(pool.map(lambda _: connections.close_all(), range(RIVALS * 4)))
    for one in opened:
        one.inc_thread_sharing()
        one.close()


def test_100_rounds_of_50_rivals_for_the_last_machine_have_100_winners(alice: Any, make_machine: Any, crowd: ThreadPoolExecutor) -> None:
    """R33: by the schema alone, with none of the service's own care: fifty insert at once, the database lets one."""
    machine = make_machine("last")
    start = clock.now().replace(microsecond=0) + HOUR
    row = {"owner_label": "x", "count": 1, "duration_seconds": 60, "username": "lr-x", "state": State.REQUESTED, "state_since": start}
    rivals = Reservation.objects.bulk_create([Reservation(owner=alice, starts_at=start, ends_at=start + HOUR, **row) for _ in range(RIVALS)])

    def claim(reservation: Reservation, shift: timedelta) -> Any:
        try:
            return Allocation.objects.create(reservation=reservation, machine=machine, starts_at=start + shift, ends_at=start + shift + HOUR).pk
        except IntegrityError as error:
            return guard.is_clash(error)

    for round_ in range(ROUNDS):
        # their windows are not the same, but all of them meet
        found = together([lambda one=one, n=n: claim(one, timedelta(minutes=n)) for n, one in enumerate(rivals)], pool=crowd)
        won = [one for one in found if not isinstance(one, bool)]
        assert (len(won), found.count(True)) == (1, RIVALS - 1), f"round {round_}"
        assert Allocation.objects.filter(pk=won[0]).delete()[0] == 1


def test_rivals_for_the_last_machine_are_told_who_won_and_when_more_is_free(
    alice: Any, bob: Any, make_machine: Any, crowd: ThreadPoolExecutor
) -> None:
    """R33: through the service, as doors call it: one is given the machine, the others are refused with a reason."""
    make_machine("last")
    Limit.objects.create(user=alice, max_reservations=1000)
    Limit.objects.create(user=bob, max_reservations=1000)
    people = [(alice, alice.as_actor()), (bob, bob.as_actor())]
    wish = Wish(count=1, seconds=3600, password="correct horse")
    for round_ in range(SERVED):
        jobs = [lambda who=people[n % 2]: reserve(user=who[0], actor=who[1], wish=wish) for n in range(RIVALS)]
        found = together(jobs, pool=crowd)
        won = [one for one in found if isinstance(one, list)]
        lost = [(one.code, one.extra["next_at"] is not None) for one in found if isinstance(one, Conflict)]
        assert (len(won), lost) == (1, [("not_enough_machines", True)] * (RIVALS - 1)), f"round {round_}"
        assert Allocation.objects.filter(closed_at__isnull=True).count() == 1
        revoke.release(won[0][0], actor=alice.as_actor())
    assert Reservation.objects.count() == SERVED


def _raw(owner: Any, machine: Any, start: Any, end: Any, **fields: Any) -> None:
    now = clock.now()
    made = Reservation.objects.create(
        owner=owner,
        owner_label="x",
        count=1,
        duration_seconds=60,
        username="lr-x",
        state=State.REQUESTED,
        state_since=now,
        starts_at=start,
        ends_at=end,
    )
    Allocation.objects.create(reservation=made, machine=machine, starts_at=start, ends_at=end, **fields)


def test_the_schema_itself_refuses_windows_that_meet(alice: Any, make_machine: Any, crowd: ThreadPoolExecutor) -> None:
    """R33: without any of our own care, by the database alone."""
    machine, other = make_machine("m1"), make_machine("m2")
    start = clock.now().replace(microsecond=0) + HOUR
    _raw(alice, machine, start, start + HOUR)
    _raw(alice, machine, start + HOUR, start + 2 * HOUR)  # touching is not meeting
    _raw(alice, other, start, start + HOUR)
    for begin, end in ((0, 60), (-30, 1), (59, 61), (10, 20), (-10, 130), (119, 130)):
        with pytest.raises(IntegrityError) as caught, transaction.atomic():
            _raw(alice, machine, start + timedelta(minutes=begin), start + timedelta(minutes=end))
        assert guard.is_clash(caught.value), (begin, end)
    with pytest.raises(IntegrityError) as caught, transaction.atomic():
        Allocation.objects.filter(machine=machine, starts_at=start).update(ends_at=start + timedelta(minutes=61))
    assert guard.is_clash(caught.value), "nor by a longer one"
    closed = Allocation.objects.get(machine=machine, starts_at=start)
    Allocation.objects.filter(pk=closed.pk).update(closed_at=clock.now(), hold=Hold.GIVEN_UP)
    _raw(alice, machine, start, start + HOUR)
    with pytest.raises(IntegrityError) as caught, transaction.atomic():
        Allocation.objects.filter(pk=closed.pk).update(closed_at=None)
    assert guard.is_clash(caught.value), "nor by opening one again"
    far = start + timedelta(days=9)

    def insert() -> bool:
        try:
            with transaction.atomic():
                _raw(alice, machine, far, far + HOUR)
        except IntegrityError:
            return False
        except Exception as error:  # PostgreSQL may end a tie between two inserts by calling it a deadlock: also not booked
            if "deadlock" in str(error):
                return False
            raise
        return True

    assert sum(together([insert] * 20, pool=crowd)) == 1


def test_the_guard_comes_back_after_a_migration_that_lost_it(alice: Any, make_machine: Any) -> None:
    """SQLite drops a table's triggers when a later migration rebuilds it."""
    guard.remove(connection)
    guard.restore(None, using="default")
    machine = make_machine("m1")
    start = clock.now() + HOUR
    _raw(alice, machine, start, start + HOUR)
    with pytest.raises(IntegrityError), transaction.atomic():
        _raw(alice, machine, start, start + HOUR)


def test_no_second_account_before_the_first_is_gone(alice: Any, make_machine: Any) -> None:
    """Two that have begun never share a machine, even where their windows don't meet."""
    machine = make_machine("m1")
    start = clock.now() - 3 * HOUR
    _raw(alice, machine, start, start + HOUR, began_at=start, hold=Hold.REMOVING)
    with pytest.raises(IntegrityError) as caught, transaction.atomic():
        _raw(alice, machine, start + HOUR, start + 2 * HOUR, began_at=clock.now(), hold=Hold.CREATING)
    assert guard.is_clash(caught.value)


def test_a_limit_of_2_lets_30_at_once_have_2(alice: Any, make_machine: Any, crowd: ThreadPoolExecutor) -> None:
    """J01: the limit is checked and taken in one."""
    for number in range(5):
        make_machine(f"m{number}")
    Limit.objects.create(user=alice, max_machines=2)
    wish = Wish(count=1, seconds=3600, password="correct horse")
    actor = alice.as_actor()
    found = together([lambda: reserve(user=alice, actor=actor, wish=wish)] * 30, pool=crowd)
    assert len([one for one in found if isinstance(one, list)]) == 2
    assert {one.code for one in found if isinstance(one, Problem)} == {"too_many_machines"}
    assert Allocation.objects.count() == 2


def test_extending_and_ending_at_once_leave_one_truth(alice: Any, make_machine: Any, crowd: ThreadPoolExecutor) -> None:
    """R35: either it was extended while it was active, or it ended; release and extend alike; never revoking with a longer end of later."""
    machine = make_machine("m1")
    for _ in range(10):
        now = clock.now()
        made = Reservation.objects.create(
            owner=alice, owner_label="Alice", count=1, duration_seconds=60, username="lr-x-1", state=State.ACTIVE, state_since=now,
            starts_at=now - HOUR, ends_at=now + HOUR, password="",
        )  # fmt: skip
        Allocation.objects.create(reservation=made, machine=machine, starts_at=now - HOUR, ends_at=now + HOUR, hold=Hold.READY, began_at=now)
        actor = alice.as_actor()
        jobs: list[Callable[[], Any]] = [lambda: extending.extend(made, minutes=5, actor=actor) for _ in range(3)]
        jobs += [lambda: revoke.release(made, actor=actor) for _ in range(3)]
        found = together(jobs, pool=crowd)
        made.refresh_from_db()
        extended = sum(isinstance(one, Reservation) for one in found[:3])
        assert sum(isinstance(one, Reservation) for one in found[3:]) == 1, found
        assert made.state == State.REVOKING
        allocation = made.allocations.get()
        assert made.ends_at == allocation.ends_at == now + HOUR + extended * timedelta(minutes=5), "exactly those that were answered count"
        assert allocation.hold == Hold.REMOVING
        Allocation.objects.filter(pk=allocation.pk).update(hold=Hold.CLEAN, closed_at=clock.now())
    assert not Reservation.objects.filter(pk=uuid.uuid4()).exists()
