"""The hands of the pool: what touches machines. `work` is all that services see."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from django.conf import settings
from django.utils.module_loading import import_string

from reservations.hands.base import Account, Act, Endpoint, Job, Outcome

HANDS = {"ssh": "reservations.hands.ssh.work", "ansible": "reservations.hands.ansible.work"}
"""`RESERVATION_HANDS` -> work(jobs) -> outcomes as they come."""


def work(jobs: Sequence[Job]) -> Iterator[Outcome]:
    """Do all jobs, side by side, each within its own time; yields each outcome as it comes, exactly one per job, and never raises for a machine."""
    doing: Callable[[Sequence[Job]], Iterator[Outcome]] = import_string(HANDS[settings.RESERVATION_HANDS])
    yield from doing(jobs)


__all__ = ["Account", "Act", "Endpoint", "Job", "Outcome", "work"]
