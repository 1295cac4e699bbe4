"""Names of time zones."""

from __future__ import annotations

from functools import cache
from zoneinfo import available_timezones


@cache
def names() -> frozenset[str]:
    """All that the time zone database of this machine has. They are looked for on the disk: once a process."""
    return frozenset(available_timezones())


def known(name: str) -> bool:
    return name in names()
