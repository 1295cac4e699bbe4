"""Time, in one place, so that tests can hold it."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now() -> datetime:
    """UTC now, aware."""
    return datetime.now(UTC)


def unix() -> float:
    """Seconds since 1970."""
    return time.time()


def at_unix(seconds: float) -> datetime:
    """The moment that many seconds after 1970."""
    return datetime.fromtimestamp(seconds, UTC)


def rfc3339(moment: datetime | None) -> str | None:
    """`2026-11-21T01:02:03.456789Z`, or None."""
    if moment is None:
        return None
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def parse_rfc3339(text: str) -> datetime | None:
    """The moment, or None where the text is empty or not a time."""
    if not text:
        return None
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        return None
    return parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
