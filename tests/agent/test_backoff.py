"""How often the agent dials (SECURITY J12, J13)."""

from __future__ import annotations

import random

import pytest

from agent.backoff import Backoff


@pytest.mark.parametrize("retry_after", [0, 5, 10, 60])
def test_refused_at_most_twelve_times_in_any_minute(retry_after: float) -> None:
    """J12."""
    for seed in range(50):
        backoff = Backoff(uniform=random.Random(seed).uniform)
        tries, now = [0.0], 0.0
        while now < 600:
            now += backoff.next(refused=True, retry_after_seconds=retry_after)
            tries.append(now)
        assert max(sum(1 for t in tries if start <= t < start + 60) for start in tries) <= 12


def test_two_hundred_agents_come_back_within_thirty_seconds_and_not_in_step() -> None:
    """J13: the panel is back after 3 s; every agent's next try after that is soon."""
    back: list[float] = []
    for seed in range(200):
        backoff = Backoff(uniform=random.Random(seed).uniform)
        backoff.connected_for(1000)
        now = 0.0
        while now < 3:
            now += backoff.next()
        back.append(now)
    assert max(back) < 30
    assert max(sum(1 for t in back if start <= t < start + 1) for start in range(30)) < 120


def test_the_first_retry_is_quick_and_the_ceiling_is_twenty_seconds() -> None:
    backoff = Backoff(uniform=lambda low, high: high)
    assert [backoff.next() for _ in range(9)] == [0.5, 1, 2, 4, 8, 16, 20, 20, 20]
    backoff.connected_for(600)
    assert backoff.next() == 0.5
    flapping = Backoff(uniform=lambda low, high: high)
    for _ in range(6):
        flapping.next()
        flapping.connected_for(1)
    assert flapping.next() == 20, "a connection that breaks at once does not reset the series"
