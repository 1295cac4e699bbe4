"""When the engine was away: what ended then ended with it, neither by itself nor by anybody's hand (SECURITY R12)."""

from __future__ import annotations

from collections import deque
from datetime import datetime

SLACK_SECONDS = 0.5
KEPT = 16


class Outages:
    """Spans of this machine's time (unix seconds). The newest may be going on."""

    def __init__(self) -> None:
        self._over: deque[tuple[float, float]] = deque(maxlen=KEPT)
        self._since: float | None = None

    def begin(self, at_unix: float) -> None:
        """The engine went away; no-op if it is away already."""
        if self._since is None:
            self._since = at_unix

    def end(self, at_unix: float) -> None:
        """It answers again."""
        if self._since is not None:
            self._over.append((self._since, at_unix))
            self._since = None

    def cover(self, moment: str) -> bool:
        """Was the engine away at this RFC 3339 time? False if it is not a time."""
        try:
            at = datetime.fromisoformat(moment).timestamp()
        except ValueError:
            return False
        if self._since is not None and at >= self._since - SLACK_SECONDS:
            return True
        return any(since - SLACK_SECONDS <= at <= until + SLACK_SECONDS for since, until in self._over)
