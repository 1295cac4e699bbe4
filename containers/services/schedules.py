"""Schedules: what people do with them. When they run is decided in `scheduletime`, what a run does in `scheduleruns`."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction

from audit.services import Actor, record
from containers import access, logs
from containers.models import Container, Schedule
from containers.schedule_rules import checked_steps, checked_when, next_runs, rights_for
from containers.services.publish import target
from lormas.common import clock
from lormas.common.errors import Conflict, FieldError, Forbidden, Invalid

MOST_PER_CONTAINER = 25
MINE = "containers.schedules"


def require_rights(user: Any, container: Container, steps: Any) -> None:
    """Raises Forbidden that names what is lacking (C13). NotFound: the container is not theirs to see."""
    access.get_container(user, container.pk, MINE)
    lacking = sorted(rights_for(steps) - access.rights(user, container))
    if lacking:
        raise Forbidden(f"The steps of this schedule need rights that you don't have here: {', '.join(lacking)}.", extra={"lacking": lacking})


def checked(container: Container, given: dict[str, Any], known: Schedule | None = None) -> dict[str, Any]:
    """The fields of a schedule as they are kept. Raises Invalid that names every field that is wrong."""
    now = {field: getattr(known, field) for field in FIELDS} if known else dict(DEFAULTS)
    fields = {**now, **{name: value for name, value in given.items() if name in FIELDS}}
    steps, wrong = checked_steps(fields["steps"])
    fields["steps"] = steps
    if fields["trigger"] == Schedule.Trigger.CRON:
        fields["when"] = {}
        try:
            next_runs(fields["cron"], fields["timezone"], after=clock.now(), count=1)
        except ValueError as error:
            wrong.append(FieldError("timezone" if "time zone" in str(error) else "cron", str(error), "invalid"))
    else:
        fields["cron"] = ""
        fields["when"], more = checked_when(fields["trigger"], fields["when"])
        wrong += more
    if wrong:
        raise Invalid("Some fields of the schedule are not right.", code="invalid_schedule", errors=wrong)
    return fields


FIELDS = ("name", "is_enabled", "trigger", "cron", "timezone", "when", "missed", "only_when_running", "steps")
DEFAULTS: dict[str, Any] = {
    "name": "",
    "is_enabled": True,
    "trigger": Schedule.Trigger.CRON.value,
    "cron": "",
    "timezone": "UTC",
    "when": {},
    "missed": Schedule.Missed.SKIP.value,
    "only_when_running": False,
    "steps": [],
}


def next_at(schedule: Schedule, *, after: Any = None) -> Any:
    """Of an enabled one by the clock; else None."""
    if not schedule.is_enabled or schedule.trigger != Schedule.Trigger.CRON:
        return None
    return next_runs(schedule.cron, schedule.timezone, after=after or clock.now(), count=1)[0]


def add(container: Container, *, user: Any, actor: Actor, given: dict[str, Any]) -> Schedule:
    """Raises Invalid, Forbidden, Conflict `too_many`, `name_taken`."""
    fields = checked(container, given)
    require_rights(user, container, fields["steps"])
    memory = _beginning(container, fields)
    with transaction.atomic():
        Container.objects.select_for_update(of=("self",)).get(pk=container.pk)  # so that rivals can't pass the limit together
        if container.schedules.count() >= MOST_PER_CONTAINER:
            raise Conflict(f"{container.name} has {MOST_PER_CONTAINER} schedules: remove one first.", code="too_many")
        made = Schedule(container=container, author=user, **fields)
        made.next_at, made.memory = next_at(made), memory
        _save(made)
        record("containers.schedule_added", actor=actor, target=target(container), after=shown(made))
    return made


def change(schedule: Schedule, *, user: Any, actor: Actor, given: dict[str, Any]) -> Schedule:
    """Whoever changes it answers for all of it: it runs with their rights from now on. Raises as `add`."""
    memory = _beginning(schedule.container, checked(schedule.container, given, schedule))
    with transaction.atomic():
        schedule = Schedule.objects.select_for_update(of=("self",)).select_related("container").get(pk=schedule.pk)
        before = shown(schedule)
        fields = checked(schedule.container, given, schedule)
        require_rights(user, schedule.container, fields["steps"])
        for name, value in fields.items():
            setattr(schedule, name, value)
        schedule.author, schedule.next_at, schedule.memory = user, next_at(schedule), memory
        _save(schedule)
        record("containers.schedule_changed", actor=actor, target=target(schedule.container), before=before, after=shown(schedule))
    return schedule


def _beginning(container: Container, fields: dict[str, Any]) -> dict[str, Any]:
    """What a trigger is to know from the start: each line after this moment counts, also those before its first look. Asks the node: outside of
    transactions."""
    if fields["trigger"] != Schedule.Trigger.LOG or not fields["is_enabled"]:
        return {}
    end = logs.end_of(container)
    return {"seq": end} if end >= 0 else {}


def remove(schedule: Schedule, *, actor: Actor) -> None:
    """With its history. A run that goes on ends with it."""
    with transaction.atomic():
        record("containers.schedule_removed", actor=actor, target=target(schedule.container), before=shown(schedule))
        schedule.delete()


def shown(schedule: Schedule) -> dict[str, Any]:
    return {field: getattr(schedule, field) for field in FIELDS}


def _save(schedule: Schedule) -> None:
    try:
        with transaction.atomic():
            schedule.save()
    except IntegrityError:
        raise Conflict(
            f"There is a schedule named {schedule.name} already.", code="name_taken", errors=[FieldError("name", "This name is taken.", "name_taken")]
        ) from None
