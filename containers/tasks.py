"""Periodic work on containers; the schedule is in `lormas.schedule`."""

from __future__ import annotations

from celery import shared_task
from django.conf import settings

from containers.services import backupwork, execs, heal, idle, logkeeping, logwatch, scheduleruns, scheduletime, sweep, tunnels


@shared_task(name="containers.tasks.restart_due", ignore_result=True, time_limit=60)
def restart_due() -> int:
    """Start crashed containers whose delay is over."""
    return sweep.restart_due()


@shared_task(name="containers.tasks.delete_again", ignore_result=True, time_limit=60)
def delete_again() -> int:
    """What its node could not delete is told to it again, now that it is back."""
    return sweep.delete_again()


@shared_task(name="containers.tasks.tidy", ignore_result=True, time_limit=300)
def tidy() -> dict[str, int]:
    """Each minute: stuck states, due restarts, unhealthy ones, the trash, deletions that failed, old stats and exec history."""
    return {
        "restarted": sweep.restart_due(),
        "settled": sweep.settle_stuck(),
        "healed": heal.heal(),
        "purged": sweep.empty_trash(),
        "deleted_again": sweep.delete_again(),
        "trimmed": sweep.trim_stats(),
        "tunnels": tunnels.settle(),
        "forgotten": execs.forget_old_history(),
    }


@shared_task(name="containers.tasks.rotate_logs", ignore_result=True, time_limit=900)
def rotate_logs() -> int:
    """01:00: logs begin new files."""
    return logkeeping.rotate_logs()


@shared_task(name="containers.tasks.expire_logs", ignore_result=True, time_limit=900)
def expire_logs() -> dict[str, int]:
    """02:00: what is older than LOG_RETENTION_DAYS goes."""
    return logkeeping.expire_logs()


@shared_task(name="containers.tasks.watch_logs", ignore_result=True, time_limit=120)
def watch_logs() -> int:
    """Each minute: lines that people want to hear of."""
    return logwatch.watch_logs()


@shared_task(name="containers.tasks.do_backup_work", ignore_result=True, time_limit=settings.BACKUP_SECONDS + 300)
def do_backup_work(work_id: str) -> bool:
    """One backup, restore, check or drill. Its limit is its operation's deadline."""
    return backupwork.run(work_id)


@shared_task(name="containers.tasks.drop_backups", ignore_result=True, time_limit=600)
def drop_backups() -> int:
    """Archives of deleted backups."""
    return backupwork.drop_deleted()


@shared_task(name="containers.tasks.tidy_backups", ignore_result=True, time_limit=600)
def tidy_backups() -> dict[str, int]:
    """Each minute: work that lost its worker, work that waits, archives that are to go."""
    return backupwork.sweep()


@shared_task(name="containers.tasks.look_at_schedules", ignore_result=True, time_limit=120)
def look_at_schedules() -> dict[str, int]:
    """Every 20 s: schedules that are due, runs that go on."""
    return scheduletime.look()


@shared_task(name="containers.tasks.advance_schedule", ignore_result=True, time_limit=120)
def advance_schedule(run_id: str) -> bool:
    """The next steps of one run, as far as they can be done now."""
    return scheduleruns.advance(run_id)


@shared_task(name="containers.tasks.stop_idle", ignore_result=True, time_limit=120)
def stop_idle() -> dict[str, int]:
    """Every 20 s: deadlines of idle timeouts."""
    return idle.look()
