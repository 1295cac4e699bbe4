"""The hands of the pool: what touches machines. `work` is all that services see."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from django.conf import settings

from reservations.hands.base import Account, Act, Endpoint, Job, Outcome


def work(jobs: Sequence[Job]) -> Iterator[Outcome]:
    """Do all jobs, side by side, each within its own time; yields each outcome as it comes, exactly one per job, and never raises for a machine."""
    from reservations.hands import ansible, ssh  # here: they load asyncssh, a tenth of a second of every start that needs no hands

    yield from (ansible.work if settings.RESERVATION_HANDS == "ansible" else ssh.work)(jobs)


__all__ = ["Account", "Act", "Endpoint", "Job", "Outcome", "work"]
