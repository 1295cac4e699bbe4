"""A pool of rows for rules, and real SSH machines for the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.reservations import machines as real


@pytest.fixture
def make_machine(db: None) -> Callable[..., Any]:
    """A machine that is looked at and in order, unless told otherwise. Nothing listens at its address."""
    from lormas.common import clock
    from reservations.models import Machine
    from reservations.secrets import lock

    def make(name: str = "m1", **fields: Any) -> Any:
        values = {"host": "127.0.0.1", "port": 1, "user": "root", "password": lock("s3cret-of-machine"), "reachable": True, "host_key": ""}
        values |= {"check_due": clock.now() + clock_far(), **fields}
        return Machine.objects.create(name=name, **values)

    return make


def clock_far() -> Any:
    from datetime import timedelta

    return timedelta(days=1)


@pytest.fixture
def pool(make_machine: Callable[..., Any]) -> list[Any]:
    """Three machines; two of them have GPUs."""
    return [make_machine("m1"), make_machine("m2", labels={"gpu": "a100"}), make_machine("m3", labels={"gpu": "t4"})]


@pytest.fixture
def book() -> Callable[..., Any]:
    """Reserve by the service, as a person."""
    from reservations.services.reserve import Wish, reserve

    def make(user: Any, count: int = 1, minutes: int = 60, **fields: Any) -> Any:
        wish = Wish(count=count, seconds=minutes * 60, **{"password": "correct horse", **fields})
        made = reserve(user=user, actor=user.as_actor(), wish=wish)
        return made if fields.get("every") else made[0]

    return make


@pytest.fixture
def api() -> Callable[[Any], Any]:
    from rest_framework.test import APIClient

    def client(user: Any) -> APIClient:
        made = APIClient()
        made.force_authenticate(user)
        return made

    return client


@pytest.fixture(scope="session")
def boxes() -> Iterator[list[real.Box]]:
    """Three machines with an SSH server, for the whole run."""
    with real.boxes(3) as made:
        yield made


@pytest.fixture
def real_pool(boxes: list[real.Box], make_machine: Callable[..., Any], transactional_db: None) -> list[Any]:
    """Those machines, registered with their key and pinned by a first look."""
    from lormas.common import clock
    from reservations.models import Machine
    from reservations.secrets import lock
    from reservations.services import checks

    for number, box in enumerate(boxes, start=1):
        make_machine(
            f"box-{number}",
            port=box.port,
            password="",
            private_key=lock(box.private_key),
            reachable=None,
            check_due=clock.now(),
            labels={"n": str(number)},
        )
    checks.check_due()
    return list(Machine.objects.order_by("name"))


@pytest.fixture
def settle() -> Callable[..., Any]:
    """Run the sweep until a reservation is in a state (its own retries come due by themselves)."""
    import time

    from reservations.services import sweep

    def until(reservation: Any, *states: str, seconds: float = 60) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            sweep.everything()
            reservation.refresh_from_db()
            if reservation.state in states:
                return reservation
            assert time.monotonic() < deadline, f"{reservation.state}, not {states}: {reservation.reason}"
            time.sleep(0.1)

    return until
