"""Doors for Celery."""

from __future__ import annotations

from celery import shared_task

from nodes import jobs


@shared_task(name="nodes.tasks.run_job", ignore_result=True, acks_late=False)
def run_job(name: str, trigger: str = "schedule", actor_label: str = "", operation_id: str = "") -> str:
    """Run one job of `lormas.wiring.JOBS` under its lease; says how it went.

    Acknowledged early: a knock that is lost with its worker comes again by itself, one that is delivered twice would only meet the lease.
    """
    made = jobs.run(name, trigger=trigger, actor_label=actor_label, operation_id=operation_id or None)
    return made.status if made is not None else "skipped"
