"""Programs that end by themselves: how long they lived, how often in a row, and when that is a loop."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from containers.models import Container
from containers.states import Desired

STEADY = timedelta(minutes=10)
"""Who ran so long is not in a crash loop: delays and count begin anew."""
LOOP_AFTER = 8
"""So many crashes in a row, none of them after a steady run, are a crash loop."""
LOOP_EVERY_SECONDS = 600
"""In a loop it is tried again this rarely: what it waits for may come back, and until then it costs nothing."""


def lived(container: Container) -> timedelta | None:
    """How long the last run was, as the node tells; None if it does not."""
    begun, ended = container.started_at, container.finished_at
    return ended - begun if begun is not None and ended is not None and ended >= begun else None


def in_a_row(container: Container) -> int:
    """Crashes in a row, with the one that is being looked at."""
    ran = lived(container)
    return 1 if ran is not None and ran >= STEADY else container.restarts + 1


def is_loop(container: Container) -> bool:
    """Would another quick restart only repeat it?"""
    return container.restart_policy != "no" and container.desired == Desired.RUNNING and in_a_row(container) >= LOOP_AFTER


def delay_seconds(count: int) -> int:
    """Before the next start, after so many crashes in a row: 1, 2, 4 … 60 s, and rarely in a loop."""
    return LOOP_EVERY_SECONDS if count >= LOOP_AFTER else min(2 ** (count - 1), 60)


def words(container: Container) -> str:
    """Why it ended, for people."""
    if container.oom_killed:
        return "Out of memory: raise its limit."
    ran = lived(container)
    after = f" after {_span(ran)}" if ran is not None else ""
    return f"Ended by itself with exit code {container.exit_code}{after}."


def loop_words(container: Container) -> str:
    """The same, in a loop."""
    return f"{in_a_row(container)} crashes in a row; tried again every {LOOP_EVERY_SECONDS // 60} minutes. {words(container)}"


def facts(container: Container) -> dict[str, Any]:
    """For the journal."""
    ran = lived(container)
    return {
        "exit_code": container.exit_code,
        "oom_killed": container.oom_killed,
        "lived_seconds": round(ran.total_seconds(), 1) if ran is not None else None,
        "in_a_row": in_a_row(container),
    }


def _span(ran: timedelta) -> str:
    seconds = ran.total_seconds()
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 1 else "less than 1 s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
