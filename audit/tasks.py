"""Periodic work on the journal's side tables."""

from __future__ import annotations

from celery import shared_task

from audit import idempotency


@shared_task(name="audit.tasks.forget_expired", ignore_result=True, time_limit=300)
def forget_expired() -> int:
    """Stored answers older than their 24 h."""
    return idempotency.forget_expired()
