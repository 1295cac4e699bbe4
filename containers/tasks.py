"""Periodic work on containers; the schedule is in `lormas.schedule`."""

from __future__ import annotations

from celery import shared_task

from containers.services import execs, heal, sweep


@shared_task(name="containers.tasks.restart_due", ignore_result=True, time_limit=60)
def restart_due() -> int:
    """Start crashed containers whose delay is over."""
    return sweep.restart_due()


@shared_task(name="containers.tasks.tidy", ignore_result=True, time_limit=300)
def tidy() -> dict[str, int]:
    """Each minute: stuck states, due restarts, unhealthy ones, the trash, old stats."""
    return {
        "restarted": sweep.restart_due(),
        "settled": sweep.settle_stuck(),
        "healed": heal.heal(),
        "purged": sweep.empty_trash(),
        "trimmed": sweep.trim_stats(),
        "forgotten": execs.forget_old_history(),
    }
