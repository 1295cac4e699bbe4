"""One run of a schedule: its steps in order, each once. The row holds all of it, so that any worker can go on after a death; no thread waits."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import structlog
from django.db import IntegrityError, transaction
from django.db.models import Q

from audit.services import SYSTEM, Actor, record
from containers import access, logs
from containers.models import Container, Schedule, ScheduleRun
from containers.services import backups, power
from containers.services.publish import target
from containers.services.schedules import require_rights
from lormas.common import clock, jobs, live
from lormas.common.errors import Conflict, Locked, Problem
from lormas.common.ids import new_id
from nodes.models import Operation
from nodes.states import OperationStatus

log = structlog.get_logger(__name__)

State = ScheduleRun.State
TASK = "containers.tasks.advance_schedule"
CLAIM_SECONDS = 120
LOOK_SECONDS = 3
BUSY_SECONDS = 10
BUSY_FOR_SECONDS = 900
"""So long a step waits for a container that another operation holds."""
ALREADY = {"start": ("running", "starting"), "stop": ("stopped", "stopping"), "kill": ("stopped",)}


class Later(Exception):
    """The step goes on in so many seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds


def begin(schedule: Schedule, *, key: str, cause: str, by: Any = None) -> bool:
    """A run, unless there is one for this key. Skipped (and said so) where the one before goes on or the container does not run.

    True: it runs now.
    """
    container = schedule.container
    if schedule.only_when_running and container.observed != "running":
        return skip(schedule, key=key, cause=cause, why=f"The container is {container.get_status_display().lower()}.")
    if schedule.runs.filter(state=State.RUNNING).exists():
        return skip(schedule, key=key, cause=cause, why="The run before goes on.")
    return _make(schedule, key=key, cause=cause, by=by) is not None


def skip(schedule: Schedule, *, key: str, cause: str, why: str) -> bool:
    """Noted in the history. Always False."""
    _make(schedule, key=key, cause=cause, state=State.SKIPPED, problem=why, finished_at=clock.now())
    return False


def run_now(schedule: Schedule, *, user: Any, actor: Actor) -> ScheduleRun:
    """With the rights of who presses it. Raises Conflict `already_running`, Forbidden."""
    require_rights(user, schedule.container, schedule.steps)
    if schedule.runs.filter(state=State.RUNNING).exists():
        raise Conflict(f"{schedule.name} is running now: wait for its end.", code="already_running", extra={"state": "running", "allowed": []})
    with transaction.atomic():
        made = _make(schedule, key=f"hand:{new_id()}", cause=f"By {actor.label}", by=user)
        assert made is not None
        record("containers.schedule_run", actor=actor, target=target(schedule.container), after={"schedule": schedule.name, "run": str(made.pk)})
    return made


def _make(schedule: Schedule, *, key: str, cause: str, by: Any = None, **fields: Any) -> ScheduleRun | None:
    steps = [{**step, "state": "skipped" if fields else "waiting", "detail": ""} for step in schedule.steps]
    try:
        with transaction.atomic():
            made = ScheduleRun.objects.create(schedule=schedule, key=key[:96], cause=cause[:255], steps=steps, by=by, **fields)
            announce(made)
            if made.state == State.RUNNING:
                jobs.enqueue_on_commit(TASK, str(made.pk))
    except IntegrityError:  # a rival has it
        return None
    return made


def announce(run: ScheduleRun) -> None:
    container = run.schedule.container
    hint = {"type": "schedule", "id": str(run.schedule_id), "container": str(container.pk), "owner": str(container.owner_id), "run": str(run.pk)}
    live.on_commit_publish("ui:schedules", {**hint, "state": run.state})


def advance_due() -> int:
    """Runs whose time to go on has come: each is taken by one worker."""
    now = clock.now()
    free = Q(claimed_until__isnull=True) | Q(claimed_until__lt=now)
    waiting = Q(resume_at__lte=now) | Q(resume_at__isnull=True)
    found = list(ScheduleRun.objects.filter(free, waiting, state=State.RUNNING).values_list("pk", flat=True)[:500])
    return sum(advance(str(run_id)) for run_id in found)


def advance(run_id: str) -> bool:
    """Do what can be done now. False: somebody else does, or it has ended."""
    now = clock.now()
    free = Q(claimed_until__isnull=True) | Q(claimed_until__lt=now)
    if not ScheduleRun.objects.filter(free, pk=run_id, state=State.RUNNING).update(claimed_until=now + timedelta(seconds=CLAIM_SECONDS)):
        return False
    run = ScheduleRun.objects.select_related("schedule__container__node", "schedule__author", "by").get(pk=run_id)
    try:
        while run.position < len(run.steps):
            if not _step(run):
                return True
        _end(run, State.FAILED if any(step["state"] == "failed" for step in run.steps) else State.SUCCEEDED)
    except Later as later:
        _put_off(run, later.seconds)
    return True


def _put_off(run: ScheduleRun, seconds: float) -> None:
    run.resume_at = clock.now() + timedelta(seconds=seconds)
    with transaction.atomic():
        ScheduleRun.objects.filter(pk=run.pk, state=State.RUNNING).update(
            steps=run.steps, position=run.position, resume_at=run.resume_at, claimed_until=None
        )
        jobs.enqueue_on_commit(TASK, str(run.pk), countdown_seconds=seconds)


def _keep(run: ScheduleRun) -> None:
    """Written before and after each act: one that died in between is not done again (see `_step`)."""
    ScheduleRun.objects.filter(pk=run.pk, state=State.RUNNING).update(
        steps=run.steps, position=run.position, claimed_until=clock.now() + timedelta(seconds=CLAIM_SECONDS)
    )
    announce(run)


def _step(run: ScheduleRun) -> bool:
    """One step to its end; False: the run has ended. Raises Later."""
    step = run.steps[run.position]
    if step["state"] == "waiting":
        if step["offset_seconds"] and "due_at" not in step:
            step["due_at"] = clock.rfc3339(clock.now() + timedelta(seconds=step["offset_seconds"]))
        due = clock.parse_rfc3339(step.get("due_at") or "")
        if due is not None and due > clock.now():
            raise Later((due - clock.now()).total_seconds())
        step |= {"state": "running", "started_at": clock.rfc3339(clock.now())}
        _keep(run)
        fresh = True
    else:
        fresh = bool(step.pop("again", False))
    try:
        detail = _do(run, step, fresh=fresh)
    except Problem as problem:
        if isinstance(problem, Locked) and _age(step) < BUSY_FOR_SECONDS:
            step |= {"detail": problem.detail[:300], "again": True}
            raise Later(BUSY_SECONDS) from None
        return _failed(run, step, problem.detail)
    step |= {"state": "succeeded", "detail": detail[:300], "finished_at": clock.rfc3339(clock.now())}
    run.position += 1
    _keep(run)
    return True


def _failed(run: ScheduleRun, step: dict[str, Any], detail: str) -> bool:
    step |= {"state": "failed", "detail": detail[:300], "finished_at": clock.rfc3339(clock.now())}
    run.position += 1
    if step["continue_on_failure"]:
        _keep(run)
        return True
    for later in run.steps[run.position :]:
        later["state"] = "skipped"
    _end(run, State.FAILED, problem=f"Step {run.position}: {detail}")
    return False


def _age(step: dict[str, Any]) -> float:
    begun = clock.parse_rfc3339(step["started_at"])
    return (clock.now() - begun).total_seconds() if begun else 0.0


def _do(run: ScheduleRun, step: dict[str, Any], *, fresh: bool) -> str:
    """What came of it, in words. `fresh` False: it was begun before, by us or by one who died. Raises Problem, Later."""
    if step["kind"] == "wait":
        left = step["seconds"] - _age(step)
        if left > 0:
            raise Later(left)
        return ""
    if step.get("operation"):
        return _watch(step)
    if not fresh:  # its worker died amid the act: doing it twice is worse than not at all
        raise Conflict("The panel's worker died while it began this step; whether it took effect is not known.", code="interrupted")
    user = run.by or run.schedule.author
    if user is None or not user.is_active:
        raise Conflict("The person whose rights this schedule runs with is gone: change it once, then it runs with yours.", code="no_author")
    container = Container.objects.alive().select_related("node", "operation", "owner").filter(pk=run.schedule.container_id).first()
    if container is None:
        raise Conflict("The container is in the trash.", code="wrong_state")
    require_rights(user, container, [step])
    actor = user.as_actor()
    if step["kind"] == "command":
        access.get_container(user, container.pk, "containers.console")
        logs.write_stdin(container, text=step["command"], actor=actor)
        return "Written to its console"
    if step["kind"] == "power" and container.running_operation is None and container.status in ALREADY.get(step["action"], ()):
        return f"It was {container.get_status_display().lower()} already"
    if step["kind"] == "power":
        operation = power.act(container, step["action"], user=user, actor=actor)
    else:
        name = step.get("name") or run.schedule.name
        _made, operation = backups.create_backup(container, user=user, actor=actor, name=name, stop_first=bool(step.get("stop_first")))
    step["operation"] = str(operation.pk)
    _keep(run)
    raise Later(LOOK_SECONDS)


def _watch(step: dict[str, Any]) -> str:
    operation = Operation.objects.filter(pk=step["operation"]).first()
    if operation is None:
        raise Conflict("Its operation is gone: how it ended is not known.", code="interrupted")
    if operation.is_open:
        raise Later(LOOK_SECONDS)
    if operation.status != OperationStatus.SUCCEEDED:
        raise Conflict(operation.error_detail or f"It was {operation.get_status_display().lower()}.", code=operation.error_code or "failed")
    return str(operation.message)


def _end(run: ScheduleRun, state: str, *, problem: str = "") -> None:
    with transaction.atomic():
        ended = ScheduleRun.objects.filter(pk=run.pk, state=State.RUNNING).update(
            state=state, problem=problem[:500], steps=run.steps, position=run.position, finished_at=clock.now(), claimed_until=None, resume_at=None
        )
        if not ended:
            return
        run.state = state
        announce(run)
        if state == State.FAILED:
            record(
                "containers.schedule_failed",
                actor=SYSTEM,
                target=target(run.schedule.container),
                outcome="failed",
                message=f"{run.schedule.name}: {problem or 'a step failed'}"[:500],
                after={"schedule": run.schedule.name, "run": str(run.pk)},
            )
