"""Periodic work on usage."""

from __future__ import annotations

from celery import shared_task
from django.conf import settings

from billing import metering


@shared_task(name="billing.tasks.tidy", ignore_result=True, time_limit=600)
def tidy() -> dict[str, int]:
    """Each day: hours older than USAGE_RETENTION_DAYS."""
    return {"forgotten": metering.forget_old(days=settings.USAGE_RETENTION_DAYS)}
