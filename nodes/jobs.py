"""Periodic jobs: the table in `lormas.wiring.JOBS`, run under a lease, with a history.

Beat only knocks (`nodes.tasks.run_job`): a knock that comes too soon after the last run, or while one goes on, does nothing, so that two beats do no
more than one. A dead beat shows in `/health` (SECURITY R26).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db import DatabaseError, transaction
from django.utils.translation import gettext

from audit.services import Actor, Target, record
from lormas.common import clock, jobs
from lormas.common.errors import Conflict, NotFound
from lormas.common.wires import resolve, wired
from nodes import leases, operations
from nodes.models import JobRun, Lease, Operation
from nodes.states import OperationStatus

log = structlog.get_logger(__name__)

DAY = 86400
TOO_SOON = 0.8
"""A scheduled run that comes earlier than this share of its period after the last one is a second beat's."""
OVERDUE_SLACK_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Job:
    """One entry of the table. `at`: "HH:MM" UTC of a daily job, else ""."""

    name: str
    title: str
    run: str
    every_seconds: int
    at: str = ""
    limit_seconds: int = 300

    @property
    def said(self) -> str:
        """`title` in the reader's language, for pages (`nodes.jobtitles`)."""
        return gettext(self.title)

    @property
    def lease(self) -> str:
        return f"job:{self.name}"


def table() -> dict[str, Job]:
    """All jobs by name."""
    return {name: Job(name=name, **entry) for name, entry in wired("JOBS").items()}


def get(name: str) -> Job:
    """One of them; raises NotFound."""
    found = table().get(name)
    if found is None:
        raise NotFound("There is no such job.")
    return found


def run(name: str, *, trigger: str = "schedule", actor_label: str = "", operation_id: UUID | str | None = None) -> JobRun | None:
    """Run a job now unless it runs already, or (by schedule) ran just before. Returns the run, or None.

    What the job raises is logged and kept with the run; it never reaches the caller.
    """
    job = get(name)
    by_schedule = trigger == "schedule"
    fence = leases.take(job.lease, seconds=job.limit_seconds, not_within_seconds=TOO_SOON * job.every_seconds if by_schedule else 0)
    if fence is None:
        if operation_id:
            _settle(operation_id, ok=False, code="already_running", detail="It was running already; see its history.")
        return None
    now = clock.now()
    JobRun.objects.filter(job=name, status="running").update(status="abandoned", finished_at=now, error="Its process ended before it did.")
    made = JobRun.objects.create(job=name, fence=fence, trigger=trigger, actor_label=actor_label[:255], started_at=now)
    if operation_id:
        operations.mark_running(operation_id)
    status, error = "succeeded", ""
    result: dict[str, Any] = {}
    try:
        found = resolve(job.run)()
        result = found if isinstance(found, dict) else {} if found is None else {"count": found}
    except Exception as fault:  # a job's fault must not end the worker's thread, and must show in the history
        log.exception("jobs.failed", job=name)
        status, error = "failed", f"{type(fault).__name__}: {fault}"[:2000]
    _finish(made, job, status=status, result=result, error=error)
    if operation_id:
        _settle(operation_id, ok=status == "succeeded", code="job_failed", detail=error, result=result)
    return made


def _finish(made: JobRun, job: Job, *, status: str, result: dict[str, Any], error: str) -> None:
    """Only the one that still has the newest number may say how it ended."""
    try:
        JobRun.objects.filter(pk=made.pk, status="running").update(status=status, result=result, error=error, finished_at=clock.now())
        leases.give_back(job.lease, made.fence)
        made.refresh_from_db()
    except DatabaseError as fault:  # the lease runs out by itself, and the next run marks this one as abandoned
        log.warning("jobs.end_not_stored", job=job.name, error=str(fault))


def _settle(operation_id: UUID | str, *, ok: bool, code: str, detail: str, result: dict[str, Any] | None = None) -> None:
    operations.settle_operation(
        operation_id,
        status=OperationStatus.SUCCEEDED if ok else OperationStatus.FAILED,
        result=result,
        error_code="" if ok else code,
        error_detail="" if ok else detail,
    )


@transaction.atomic
def run_now(name: str, *, user: Any, actor: Actor) -> Operation:
    """Have a worker run it soon. Raises Conflict `already_running`."""
    job = get(name)
    if Lease.objects.filter(pk=job.lease, held_until__gte=clock.now()).exists():
        raise Conflict(f"{job.title}: it is running now.", code="already_running", extra={"state": "running", "allowed": []})
    operation = operations.open_operation("job.run", user=user, target_type="job", target_label=job.title, deadline_seconds=job.limit_seconds + 60)
    record("jobs.run", actor=actor, target=Target("job", name, job.title))
    jobs.enqueue_on_commit("nodes.tasks.run_job", name, "person", actor.label, str(operation.pk))
    return operation


@dataclass(frozen=True, slots=True)
class Standing:
    """A job as people see it."""

    job: Job
    last: JobRun | None
    next_due: datetime | None
    is_running: bool
    is_overdue: bool

    @property
    def every(self) -> str:
        """The period, in the largest unit that it is a multiple of."""
        for size, unit in ((3600, "h"), (60, "min")):
            if self.job.every_seconds % size == 0:
                return f"{self.job.every_seconds // size} {unit}"
        return f"{self.job.every_seconds} s"


def _daily_after(at: str, moment: datetime) -> datetime:
    hour, minute = map(int, at.split(":"))
    due = moment.replace(hour=hour, minute=minute, second=0, microsecond=0)
    return due if due > moment else due + timedelta(days=1)


def standing(job: Job) -> Standing:
    """How it stands now."""
    now = clock.now()
    lease = Lease.objects.filter(pk=job.lease).first()
    last = JobRun.objects.filter(job=job.name).first()
    taken = lease.taken_at if lease else None
    if job.at:
        due: datetime | None = _daily_after(job.at, now)
    else:
        due = taken + timedelta(seconds=job.every_seconds) if taken else None
    late = taken is not None and now - taken > timedelta(seconds=2 * job.every_seconds + OVERDUE_SLACK_SECONDS)
    return Standing(job, last, due, bool(lease and lease.held_until and lease.held_until >= now), late)


def beat_problem(uptime_seconds: float) -> str | None:
    """Does the clock of periodic jobs stand still? A sentence, or None. `uptime_seconds`: of the asking process, while nothing has run yet."""
    quick = [job for job in table().values() if job.every_seconds <= 300]
    taken = list(Lease.objects.filter(pk__in=[job.lease for job in quick], taken_at__isnull=False).values_list("taken_at", flat=True))
    patience = 2 * min((job.every_seconds for job in quick), default=60) + OVERDUE_SLACK_SECONDS
    if not taken:
        return "no periodic job has run yet: is the worker with beat running?" if uptime_seconds > patience else None
    newest = max(moment for moment in taken if moment is not None)
    if (clock.now() - newest).total_seconds() <= patience:
        return None
    return f"no periodic job has run since {newest:%Y-%m-%d %H:%M:%S} UTC: is the worker with beat running?"
