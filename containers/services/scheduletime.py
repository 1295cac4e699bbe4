"""When schedules run: by the clock or because something happened. Looked at every 20 s under a lease; of each moment and event there is one run."""

from __future__ import annotations

import random
import time
from datetime import timedelta
from typing import Any

import structlog
from django.db import transaction
from django.db.models import F

from agent.protocol.commands import LogsQuery
from audit.models import Entry
from audit.services import SYSTEM, record
from containers import logs
from containers.models import Container, Schedule, ScheduleRun, StatsMinute
from containers.services import logwatch, scheduleruns
from containers.services.publish import target
from containers.services.schedules import next_at
from lormas.common import clock
from lormas.common.errors import NodeSilent, NodeUnavailable, Problem

log = structlog.get_logger(__name__)

LATE_SECONDS = 120
"""A run that could not begin within this time was missed."""
CRASHES_LOOKED_AT = timedelta(minutes=10)
KEEP_RUNS = 50
LOGS_SECONDS = 45.0
"""Nodes are asked for lines for so long in one look; the whole look has 120 s (`containers.tasks`)."""
CRASHED = ("containers.crashed", "containers.crash_loop")


def look() -> dict[str, int]:
    """Begin what is due. Schedules of containers in the trash wait there; those of deleted ones are gone with them."""
    begun = by_the_clock()
    for trigger, act in {"state": _state, "crash": _crash, "resource": _resource}.items():
        for schedule in _waiting(trigger):
            try:
                begun += act(schedule, schedule.container)
            except Problem as problem:
                log.info("schedules.not_looked_at", schedule=str(schedule.pk), reason=problem.detail)
    advanced = scheduleruns.advance_due()
    heard = by_the_log()
    if heard:
        advanced += scheduleruns.advance_due()
    return {"begun": begun + heard, "advanced": advanced, "forgotten": forget_old()}


def _waiting(trigger: str) -> list[Schedule]:
    found = Schedule.objects.filter(is_enabled=True, trigger=trigger, container__deleted_at__isnull=True)
    return list(found.select_related("container__node", "author")[:2000])


def by_the_log() -> int:
    """Those that wait for a line: their nodes are asked, so nothing else waits behind them. A node that does not answer is asked once a round; what
    does not get its turn in time has it in one of the next."""
    until, begun, silent = time.monotonic() + LOGS_SECONDS, 0, set()
    found = _waiting("log")
    random.shuffle(found)  # so that it is not always the same ones that come too late
    for schedule in found:
        if time.monotonic() > until:
            break
        if schedule.container.node_id in silent:
            continue
        try:
            begun += _log(schedule, schedule.container)
        except (NodeSilent, NodeUnavailable) as problem:
            silent.add(schedule.container.node_id)
            log.info("schedules.not_looked_at", schedule=str(schedule.pk), reason=problem.detail)
        except Problem as problem:
            log.info("schedules.not_looked_at", schedule=str(schedule.pk), reason=problem.detail)
            if problem.code == logwatch.TOO_SLOW:
                _too_slow(schedule)
    return begun


def _too_slow(schedule: Schedule) -> None:
    """As with alerts (`logwatch.PAUSE_AFTER`): a pattern that takes its node too long time after time is switched off; its history says why."""
    times = int(schedule.memory.get("slow", 0)) + 1
    with transaction.atomic():
        if not _remember(schedule, {**schedule.memory, "slow": times}) or times < logwatch.PAUSE_AFTER:
            return
        Schedule.objects.filter(pk=schedule.pk).update(is_enabled=False)
        why = f"Switched off: its pattern took its node too long {times} times in a row. Change it to a simpler one, and switch it on."
        scheduleruns.skip(schedule, key=f"slow:{clock.rfc3339(clock.now())}", cause="Waits for a line", why=why)
        record("containers.schedule_paused", actor=SYSTEM, target=target(schedule.container), message=why, after={"schedule": schedule.name})


def by_the_clock() -> int:
    """Claimed by conditional UPDATE of the next moment: of many workers one begins it."""
    now, begun = clock.now(), 0
    due = Schedule.objects.filter(is_enabled=True, trigger=Schedule.Trigger.CRON, next_at__lte=now, container__deleted_at__isnull=True)
    for schedule in due.select_related("container", "author")[:2000]:
        moment = schedule.next_at
        assert moment is not None
        try:
            following = next_at(schedule, after=now)
        except (ValueError, StopIteration) as error:  # a time zone that is gone, say
            log.warning("schedules.no_next_time", schedule=str(schedule.pk), error=str(error))
            following = None
        if not Schedule.objects.filter(pk=schedule.pk, next_at=moment, is_enabled=True).update(next_at=following):
            continue
        key, at = f"cron:{clock.rfc3339(moment)}", moment.strftime("%Y-%m-%d %H:%M UTC")
        if (now - moment).total_seconds() <= LATE_SECONDS:
            begun += scheduleruns.begin(schedule, key=key, cause=f"Due at {at}")
        elif schedule.missed == Schedule.Missed.ONCE:
            begun += scheduleruns.begin(schedule, key=key, cause=f"Missed at {at}, run once now")
        else:
            scheduleruns.skip(schedule, key=key, cause=f"Due at {at}", why="It was missed: nothing ran schedules then.")
    return begun


def _remember(schedule: Schedule, memory: dict[str, Any]) -> bool:
    """False: a rival was faster."""
    return bool(Schedule.objects.filter(pk=schedule.pk, memory=schedule.memory, updated_at=schedule.updated_at).update(memory=memory))


def _state(schedule: Schedule, container: Container) -> bool:
    since = clock.rfc3339(container.status_since) or ""
    known = schedule.memory.get("since")
    if container.status != schedule.when["status"] or known == since:
        if known is None:
            _remember(schedule, {"since": "never"})
        return False
    _remember(schedule, {"since": since})
    if known is None:  # it was so already when the schedule was made
        return False
    return scheduleruns.begin(schedule, key=f"state:{container.status}:{since}", cause=f"It became {container.status} at {since}")


def _crash(schedule: Schedule, container: Container) -> bool:
    after = max(clock.now() - CRASHES_LOOKED_AT, schedule.updated_at)
    found = Entry.objects.filter(action__in=CRASHED, target_type="container", target_id=str(container.pk), time__gt=after).order_by("-time").first()
    if found is None or ScheduleRun.objects.filter(schedule=schedule, key=f"crash:{found.pk}").exists():
        return False
    return scheduleruns.begin(schedule, key=f"crash:{found.pk}", cause=found.message[:200] or "It crashed")


def _log(schedule: Schedule, container: Container) -> bool:
    if container.node is None or not container.node.gateway:
        return False
    last = int(logs.read(container, LogsQuery(tail=1, limit=1)).get("last_seq", 0))
    seen = schedule.memory.get("seq")
    if seen is None or last < seen:  # its first look, or the log was begun anew: from now on
        _remember(schedule, {"seq": last})
        return False
    if last == seen:
        return False
    # What was written between the two questions is looked through as well: a line begins one run.
    lines, reached, _ = logwatch.read_on(container, schedule.when["pattern"], seen)
    if not _remember(schedule, {"seq": reached}) or not lines:
        return False
    return scheduleruns.begin(schedule, key=f"log:{lines[-1][0]}", cause=f"It wrote: {lines[-1][3]}"[:255])


def _resource(schedule: Schedule, container: Container) -> bool:
    when = schedule.when
    first = clock.now().replace(second=0, microsecond=0) - timedelta(minutes=when["minutes"])
    rows = list(StatsMinute.objects.filter(subject_id=container.pk, minute__gte=first, minute__lt=first + timedelta(minutes=when["minutes"])))
    used = [percent for row in rows if (percent := _percent(row, when["resource"], container)) is not None]
    high = len(used) >= when["minutes"] and min(used) > when["above"]
    fired = bool(schedule.memory.get("fired"))
    if high == fired:
        return False
    if not high and used and max(used) > when["above"]:  # not well below yet
        return False
    if not _remember(schedule, {"fired": high}) or not high:
        return False
    cause = f"Its {when['resource']} was at {min(used):.0f} % or more for {when['minutes']} min"
    return scheduleruns.begin(schedule, key=f"resource:{clock.rfc3339(first)}", cause=cause)


def _percent(row: StatsMinute, resource: str, container: Container) -> float | None:
    """Of its limit; None where it has none."""
    if not row.count:
        return None
    if resource == "cpu":
        return row.cpu_sum / row.count / container.cpus if container.cpus else None
    if resource == "memory":
        return row.memory_sum / row.count * 100 / container.memory_bytes if container.memory_bytes else None
    return row.disk_bytes * 100 / container.disk_bytes if container.disk_bytes and row.disk_bytes is not None else None


def forget_old() -> int:
    """Of each schedule the last `KEEP_RUNS` runs stay."""
    gone = 0
    busy = Schedule.objects.filter(runs__isnull=False).order_by("-runs__created_at").values_list("pk", flat=True)[:200]
    for schedule_id in set(busy):
        old = ScheduleRun.objects.filter(schedule_id=schedule_id).exclude(state=ScheduleRun.State.RUNNING).order_by("-created_at", F("id").desc())
        ids = list(old.values_list("pk", flat=True)[KEEP_RUNS : KEEP_RUNS + 500])
        if ids:
            gone += ScheduleRun.objects.filter(pk__in=ids).delete()[0]
    return gone
