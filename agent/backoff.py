"""When to try again: exponential with full jitter, so that many agents don't come back in step (SECURITY J12, J13)."""

from __future__ import annotations

import random
from collections.abc import Callable

FIRST_SECONDS = 0.5
MOST_SECONDS = 20.0
"""With the dialling itself, agents are back within 30 s of the panel (SECURITY R02, R05)."""
REFUSED_SECONDS = 6.0
"""After a refusal never sooner than this: at most ten tries a minute."""
STEADY_SECONDS = 60.0
"""A connection that lasted so long begins the series anew."""


class Backoff:
    """`next()` gives seconds to wait. The first retry after a good connection is quick."""

    def __init__(self, *, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._uniform = uniform
        self._tries = 0

    def next(self, *, refused: bool = False, retry_after_seconds: float = 0) -> float:
        """How long to wait before the next try. `retry_after_seconds` is the panel's wish, held within reason."""
        ceiling = min(MOST_SECONDS, FIRST_SECONDS * 2**self._tries)
        self._tries = min(self._tries + 1, 10)
        if refused:
            least = max(REFUSED_SECONDS, min(retry_after_seconds, 120.0))
            return least + self._uniform(0, min(least, ceiling))
        return max(0.05, self._uniform(0, ceiling))

    def connected_for(self, seconds: float) -> None:
        """A connection has ended that lasted so long."""
        if seconds >= STEADY_SECONDS:
            self._tries = 0
        elif seconds > 5:
            self._tries = min(self._tries, 1)
