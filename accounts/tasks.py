"""Periodic work of accounts."""

from __future__ import annotations

from celery import shared_task

from accounts import granting


@shared_task(name="accounts.tasks.sweep_grants", ignore_result=True, time_limit=300)
def sweep_grants() -> int:
    """Rows of grants that have ended."""
    return granting.sweep_expired()
