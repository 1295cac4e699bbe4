"""Periodic work on accounts. Correctness never waits for it: each reads what is due from rows."""

from __future__ import annotations

from celery import shared_task

from accounts import granting, letters, sessions


@shared_task(name="accounts.tasks.sweep_grants", ignore_result=True, time_limit=300)
def sweep_grants() -> int:
    """Rows of grants that have ended."""
    return granting.sweep_expired()


@shared_task(name="accounts.tasks.send_letters", ignore_result=True, time_limit=900)
def send_letters() -> int:
    """Mail that is due."""
    return letters.send_due()


@shared_task(name="accounts.tasks.tidy", ignore_result=True, time_limit=300)
def tidy() -> int:
    """Settled letters and ended sessions of long ago."""
    return letters.forget_old() + sessions.forget_ended()
