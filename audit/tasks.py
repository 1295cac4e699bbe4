"""Periodic work on the journal's side tables."""

from __future__ import annotations

from celery import shared_task

from audit import chain, idempotency, retention


@shared_task(name="audit.tasks.forget_expired", ignore_result=True, time_limit=300)
def forget_expired() -> int:
    """Stored answers older than their 24 h."""
    return idempotency.forget_expired()


@shared_task(name="audit.tasks.seal", ignore_result=True, time_limit=300)
def seal() -> int:
    """Rows that a process which died left without a seal."""
    return chain.seal_pending(everything=True)


@shared_task(name="audit.tasks.prune", ignore_result=True, time_limit=900)
def prune() -> int:
    """Rows older than `AUDIT_RETENTION_DAYS`."""
    return retention.prune_by_setting()
