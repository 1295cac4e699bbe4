"""Idle timeouts: what nobody uses is stopped as its egg says, after a warning. Looked at every 20 s under a lease; the deadline is a column, so that
neither two clocks nor a panel that was down stop anything twice or too early (SECURITY R52)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Q

from audit.services import SYSTEM, Actor, record
from containers import logs, uses
from containers.models import BackupWork, Container, ExecRecord, Idleness, ScheduleRun, StatsMinute
from containers.services import power
from containers.services.publish import announce, target
from containers.states import Status
from lormas.common import clock
from lormas.common.errors import Conflict, Problem

log = structlog.get_logger(__name__)

WARN_SECONDS = 300
"""So long before, people are told; of short timeouts half."""
MOST = 500
COMMAND_HOURS = 1
"""No command may run longer; one without an end that began earlier has lost its panel."""
STATS_MINUTES = 3
"""So old at most may the last sample be for the network to be believed silent."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A container's idle timeout as people see it. `stops_at` None: it does not run, or has no timeout."""

    timeout_seconds: int
    used_at: datetime | None = None
    used_by: str = ""
    stops_at: datetime | None = None
    is_warned: bool = False
    stopped_at: datetime | None = None

    @property
    def seconds_left(self) -> float:
        """Until it stops; never below zero."""
        return max(0.0, (self.stops_at - clock.now()).total_seconds()) if self.stops_at else 0.0


def standing(container: Container) -> Standing:
    """One query; all zero where nothing was ever set."""
    row = Idleness.objects.filter(pk=container.pk).select_related("container__manners").first()
    if row is None:
        seconds = Container.objects.filter(pk=container.pk).values_list("manners__idle_timeout_seconds", flat=True).first()
        return Standing(seconds or 0)
    return Standing(row.container.manners.idle_timeout_seconds, row.used_at, row.used_by, row.stops_at, row.warned_at is not None, row.stopped_at)


def warn_seconds(timeout_seconds: int) -> int:
    """How long before its end people are warned."""
    return min(WARN_SECONDS, timeout_seconds // 2)


def keep_running(container: Container, *, actor: Actor) -> Standing:
    """Somebody wants it to go on. Raises Conflict `not_idle_limited`: nothing would have stopped it."""
    if standing(container).stops_at is None:
        raise Conflict("Nothing stops it: it does not run, or has no idle timeout.", code="not_idle_limited", extra={"state": container.status})
    with transaction.atomic():
        uses.used(container.pk, "wish", at_once=True)
        record("containers.keep_running", actor=actor, target=target(container))
    return standing(container)


def look() -> dict[str, int]:
    """Begin the clocks of what runs, end those of what does not, and look at the deadlines that are near."""
    counts = {"begun": _begin(), "ended": _end(), "warned": 0, "stopped": 0, "used": 0}
    near = Idleness.objects.filter(stops_at__lte=clock.now() + timedelta(seconds=WARN_SECONDS)).select_related(
        "container__node", "container__manners"
    )
    silent: set[Any] = set()
    for row in near.order_by("stops_at")[:MOST]:
        did = _look(row, silent)
        if did:
            counts[did] += 1
    return counts


def _limited() -> Q:
    return Q(status=Status.RUNNING, manners__idle_timeout_seconds__gt=0, deleted_at__isnull=True)


def _begin() -> int:
    """What runs and has no deadline yet: from now on."""
    now, count = clock.now(), 0
    for container in Container.objects.filter(_limited()).exclude(idleness__stops_at__isnull=False).select_related("manners")[:MOST]:
        changes = {
            "used_at": now, "used_by": "start", "stops_at": now + timedelta(seconds=container.manners.idle_timeout_seconds),
            "warned_at": None, "stopped_at": None,
        }  # fmt: skip
        Idleness.objects.update_or_create(pk=container.pk, defaults=changes)
        count += 1
    return count


def _end() -> int:
    runs = Container.objects.filter(_limited()).values("pk")
    return Idleness.objects.filter(stops_at__isnull=False).exclude(pk__in=runs).update(stops_at=None, warned_at=None)


def _claim(row: Idleness, **changes: Any) -> bool:
    """False: somebody used it meanwhile, or another look was faster."""
    same = Idleness.objects.filter(pk=row.pk, used_at=row.used_at, stops_at=row.stops_at, warned_at=row.warned_at)
    return bool(same.update(**changes))


def _look(row: Idleness, silent: set[Any]) -> str:
    container, now = row.container, clock.now()
    timeout = container.manners.idle_timeout_seconds
    before = timedelta(seconds=warn_seconds(timeout))
    assert row.stops_at is not None
    if now < row.stops_at - before:
        return ""
    last = last_use(container, row.used_at, now=now)
    if last is not None:
        moved = _claim(row, used_at=last[0], used_by=last[1], stops_at=last[0] + timedelta(seconds=timeout), warned_at=None)
        if moved and row.warned_at is not None:
            announce(container)
        return "used" if moved else ""
    if row.warned_at is None:
        return "warned" if _warn(row, max(row.stops_at, now + before), silent) else ""
    if now >= row.stops_at:
        return "stopped" if _stop(row, silent) else ""
    return ""


def _warn(row: Idleness, stops_at: datetime, silent: set[Any]) -> bool:
    """A panel that was down past the deadline warns all the same: the deadline moves."""
    container = row.container
    seconds = int((stops_at - clock.now()).total_seconds())
    words = f"Nobody has used it for {in_words(_unused(row))}: it stops in {in_words(seconds)} unless somebody does."
    with transaction.atomic():
        if not _claim(row, warned_at=clock.now(), stops_at=stops_at):
            return False
        record("containers.idle_warned", actor=SYSTEM, target=target(container), message=words, after={"stops_at": clock.rfc3339(stops_at)})
        announce(container)
    _tell(container, "warning", words, silent)
    return True


def _stop(row: Idleness, silent: set[Any]) -> bool:
    """As its egg says, with its grace. Put off where it can't be asked now, or a person's act runs."""
    container = row.container
    words = f"Nobody used it for {in_words(_unused(row))}; its idle timeout is {in_words(container.manners.idle_timeout_seconds)}."
    try:
        with transaction.atomic():
            if not _claim(row, stops_at=None, warned_at=None, stopped_at=clock.now()):
                return False
            power.act(container, "stop", user=None, actor=SYSTEM, reason=words)
    except Problem as problem:
        log.info("containers.idle_stop_put_off", container=str(container.pk), reason=problem.detail)
        return False
    _tell(container, "info", f"Stopped. {words}", silent)
    return True


def _unused(row: Idleness) -> int:
    return int((clock.now() - row.used_at).total_seconds())


def _tell(container: Container, level: str, words: str, silent: set[Any]) -> None:
    """A line in its own log; a node that does not answer is asked once a look."""
    if container.node_id in silent:
        return
    try:
        logs.append(container, text=words, level=level, actor=SYSTEM)
    except Problem as problem:
        silent.add(container.node_id)
        log.info("containers.idle_not_logged", container=str(container.pk), reason=problem.detail)


def last_use(container: Container, since: datetime, *, now: datetime) -> tuple[datetime, str] | None:
    """A use after `since` that no door told: work that goes on, and traffic. (moment, what)."""
    if container.running_operation is not None:
        return now, "operation"
    if BackupWork.objects.filter(container=container, is_open=True).exists():
        return now, "backup"
    if ExecRecord.objects.filter(
        container=container, kind=ExecRecord.Kind.COMMAND, finished_at__isnull=True, started_at__gt=now - timedelta(hours=COMMAND_HOURS)
    ).exists():
        return now, "command"
    if ScheduleRun.objects.filter(schedule__container=container, state=ScheduleRun.State.RUNNING).exists():
        return now, "schedule"
    return _traffic(container, since, now=now)


def _traffic(container: Container, since: datetime, *, now: datetime) -> tuple[datetime, str] | None:
    """The last minute in which more came and went than `IDLE_NETWORK_BYTES`. Counters that fell were begun anew with the container.

    Where people reach it by a port and its node tells nothing, nobody knows: that counts as a use.
    """
    rows = list(
        StatsMinute.objects.filter(subject_id=container.pk, minute__gte=since - timedelta(minutes=2))
        .order_by("minute")
        .values_list("minute", "network_rx_bytes", "network_tx_bytes")
    )
    if container.ports.exists() and (not rows or rows[-1][0] < now - timedelta(minutes=STATS_MINUTES)):
        return now, "unknown"
    for before, after in zip(reversed(rows[:-1]), reversed(rows[1:]), strict=True):
        minutes = max(1.0, (after[0] - before[0]).total_seconds() / 60)
        moved = after[1] + after[2] - before[1] - before[2]
        moment = min(now, after[0] + timedelta(minutes=1))
        if moved > settings.IDLE_NETWORK_BYTES * minutes and moment > since:
            return moment, "network"
    return None


def in_words(seconds: int) -> str:
    """`12 min`, `3 h`, `45 s` (for the journal and the log, which are English)."""
    for size, one, many in ((86_400, "day", "days"), (3600, "h", "h"), (60, "min", "min")):
        if seconds >= 2 * size or seconds == size:
            return f"{round(seconds / size)} {one if seconds == size else many}"
    return f"{max(0, seconds)} s"
