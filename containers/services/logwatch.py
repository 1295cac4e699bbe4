"""Alerts on lines of logs: each minute the nodes are asked what was written since, that fits the pattern."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import F, QuerySet

from agent.protocol.commands import LogsQuery
from agent.protocol.messages import LogStream
from agent.protocol.patterns import BadPattern, check_search
from audit.services import SYSTEM, Actor, record
from containers import logs
from containers.models import Container, LogAlert
from containers.services.publish import target
from lormas.common import clock
from lormas.common.errors import Conflict, FieldError, Invalid, NodeSilent, NodeUnavailable, NotFound, Problem, Refused

log = structlog.get_logger(__name__)
MOST = 5000
"""Looked at in one round; those that did not get their turn are first in the next."""
ROUND_SECONDS = 45.0
"""No new question is asked after so long: the next round is near."""
PAGE, PAGES = 500, 10
"""Fitting lines in one answer, and answers for one alert in one round. What lies behind is read in the next."""
WINDOW = 20_000
"""Lines that are searched at a time where all at once took too long."""
MOST_ALERTS = 20
"""Of one container."""
STREAMS: list[LogStream] = ["application", "error", "startup"]
"""What the container wrote; what Lormas says of it (`events`) is no news."""
AWAY = "Its node is not connected."
TOO_SLOW = "timeout"
"""The code of a refusal of which the pattern is to blame: a node that is slow to answer is silent."""
PAUSE_AFTER = 5
"""Looks in a row that took the node too long. Each cost it six seconds of a processor: nobody hears of such an alert, and the others wait for it."""


def add_alert(container: Container, *, user: Any, actor: Actor, pattern: str, is_enabled: bool = True) -> LogAlert:
    """Each line from now on is looked at. Raises Conflict `too_many`: it has MOST_ALERTS; Invalid: not a pattern."""
    try:
        check_search(pattern)
    except BadPattern as wrong:
        raise Invalid(str(wrong), errors=[FieldError("pattern", str(wrong))]) from None
    _check_room(container)
    end = logs.end_of(container)
    with transaction.atomic():
        Container.objects.select_for_update(of=("self",)).get(pk=container.pk)  # of two that add the last one, one waits
        _check_room(container)
        made = LogAlert.objects.create(container=container, created_by=user, pattern=pattern, is_enabled=is_enabled, seen_seq=end)
        record("containers.log_alert_added", actor=actor, target=target(container), after={"pattern": made.pattern})
    return made


def change_alert(alert: LogAlert, *, actor: Actor, pattern: str | None = None, is_enabled: bool | None = None) -> LogAlert:
    """What is not given stays. One that was paused goes on, though nothing was given: each line from now on is looked at.

    Raises:
        Invalid: not a pattern. NotFound: it was removed meanwhile.
    """
    if pattern is not None:
        try:
            check_search(pattern)
        except BadPattern as wrong:
            raise Invalid(str(wrong), errors=[FieldError("pattern", str(wrong))]) from None
    end = logs.end_of(alert.container)  # asks the node: outside of the transaction
    with transaction.atomic():
        found = LogAlert.objects.select_for_update(of=("self",)).filter(pk=alert.pk).first()
        if found is None:
            raise NotFound("There is no such alert any more.")
        before = {"pattern": found.pattern, "is_enabled": found.is_enabled}
        if pattern is not None and pattern != found.pattern:
            found.pattern, found.matches, found.matched_at, found.matched_text = pattern, 0, None, ""
            found.seen_seq = end
        if found.paused_at is not None or (is_enabled and not found.is_enabled):
            found.seen_seq = end
        if is_enabled is not None:
            found.is_enabled = is_enabled
        found.paused_at, found.timeouts, found.problem = None, 0, ""
        found.save()
        after = {"pattern": found.pattern, "is_enabled": found.is_enabled}
        record("containers.log_alert_changed", actor=actor, target=target(alert.container), before=before, after=after)
    return found


def remove_alert(alert: LogAlert, *, actor: Actor) -> None:
    with transaction.atomic():
        alert.delete()
        record("containers.log_alert_removed", actor=actor, target=target(alert.container), before={"pattern": alert.pattern})


def _check_room(container: Container) -> None:
    if LogAlert.objects.filter(container=container).count() >= MOST_ALERTS:
        raise Conflict(f"{container.name} has {MOST_ALERTS} alerts: remove one first.", code="too_many")


def watch_logs() -> int:
    """Gives how many alerts fired. One journal row an alert and round (`containers.log_alert`), however many lines fit.

    Those that waited longest come first, so that each gets its turn however many there are. A node that does not answer is asked once a round: all
    of its alerts wait for the next one.
    """
    until, fired = time.monotonic() + ROUND_SECONDS, 0
    _watched().filter(container__node__gateway="").exclude(problem=AWAY).update(problem=AWAY)
    in_turn = _watched().exclude(container__node__gateway="").order_by(F("looked_at").asc(nulls_first=True), "id")
    silent: set[UUID] = set()
    for alert_id, node_id in list(in_turn.values_list("pk", "container__node_id")[:MOST]):
        if time.monotonic() > until:
            break
        if node_id in silent:
            continue
        alert = _watched().select_related("container__node").filter(pk=alert_id).first()
        if alert is None:  # removed, or switched off, since
            continue
        now, why, slow = clock.now(), "", False
        try:
            fired += _look(alert, until=until)
        except (NodeSilent, NodeUnavailable) as problem:
            silent.add(node_id)
            # All of its alerts have had their turn: else each would cost the next rounds as long again.
            _watched().filter(container__node_id=node_id).update(problem=problem.detail[:255], looked_at=now)
            continue
        except Problem as problem:
            why, slow = problem.detail[:255], problem.code == TOO_SLOW
        _looked(alert, now=now, why=why, slow=slow)
    return fired


def _looked(alert: LogAlert, *, now: datetime, why: str, slow: bool) -> None:
    """Keep how its turn ended. One that was changed meanwhile is not told what became of the pattern it had before."""
    changes: dict[str, object] = {"problem": why, "looked_at": now}
    if slow:
        changes["timeouts"] = alert.timeouts + 1
    elif not why:
        changes["timeouts"] = 0
    if slow and alert.timeouts + 1 >= PAUSE_AFTER:
        changes |= {"paused_at": now, "problem": f"Its pattern took its node too long {PAUSE_AFTER} times in a row: paused until it is changed."}
    with transaction.atomic():
        same = LogAlert.objects.filter(pk=alert.pk, pattern=alert.pattern, timeouts=alert.timeouts, paused_at=None)
        if not same.update(**changes) or "paused_at" not in changes:
            return
        record(
            "containers.log_alert_paused",
            actor=SYSTEM,
            target=target(alert.container),
            message=f"The alert {alert.pattern} took its node too long {PAUSE_AFTER} times in a row; it is paused until it is changed."[:1000],
            after={"pattern": alert.pattern},
        )


def _watched() -> QuerySet[LogAlert]:
    return LogAlert.objects.filter(is_enabled=True, paused_at=None, container__deleted_at__isnull=True, container__node__isnull=False)


def _look(alert: LogAlert, *, until: float) -> bool:
    """Read on from where it was left, up to the log's end or PAGES answers; True if it told of lines."""
    if alert.seen_seq < 0:  # its first look: from now on
        _seen(alert, int(logs.read(alert.container, LogsQuery(tail=1, limit=1)).get("last_seq", 0)))
        return False
    seen, count, latest = alert.seen_seq, 0, (0, "")
    for _ in range(PAGES):
        lines, reached, at_end = read_on(alert.container, alert.pattern, seen)
        if lines:
            count, latest = count + len(lines), (int(lines[-1][0]), str(lines[-1][3]))
        seen = reached
        if at_end or time.monotonic() > until:
            break
    return _seen(alert, seen, count=count, latest=latest)


def read_on(container: Container, pattern: str, after: int) -> tuple[list[list[Any]], int, bool]:
    """(lines that fit, `[seq, time, stream, text]`; the number up to which all was searched; whether that is the log's end). A log that was begun
    anew, so that its numbers are smaller than `after`, is read from now on.

    Raises:
        Refused TOO_SLOW: not even a part could be searched in time. What `logs.read` raises.
    """
    page = logs.read(container, LogsQuery(streams=STREAMS, after=after, search=pattern, limit=PAGE))
    lines, last = page.get("lines", []), int(page.get("last_seq", 0))
    if not page.get("more"):
        return lines, last, True
    if lines:
        return lines, int(lines[-1][0]), False
    # Its time was over before it found any, and it does not say how far it came: a part of it, then.
    end = min(after + WINDOW, last)
    page = logs.read(container, LogsQuery(streams=STREAMS, after=after, before=end + 1, search=pattern, limit=PAGE))
    lines = page.get("lines", [])
    if not page.get("more"):
        return lines, end, end == last
    if not lines:
        raise Refused(f"{WINDOW} lines can't be searched in time: use a simpler pattern.", code=TOO_SLOW)
    return lines, int(lines[-1][0]), False


def _seen(alert: LogAlert, seen: int, *, count: int = 0, latest: tuple[int, str] = (0, "")) -> bool:
    """Keep how far it came, and tell. Claimed by conditional UPDATE: of two workers one tells."""
    changes: dict[str, object] = {"seen_seq": seen}
    if count:
        changes |= {"matched_at": clock.now(), "matched_text": latest[1][:500], "matches": F("matches") + count}
    with transaction.atomic():
        if not LogAlert.objects.filter(pk=alert.pk, pattern=alert.pattern, seen_seq=alert.seen_seq).update(**changes) or not count:
            return False
        record(
            "containers.log_alert",
            actor=SYSTEM,
            target=target(alert.container),
            message=f"{count} new lines with {alert.pattern}: {latest[1]}"[:1000],
            after={"pattern": alert.pattern, "lines": count, "seq": latest[0]},
        )
    return True
