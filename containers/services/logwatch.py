"""Alerts on lines of logs: each minute the nodes are asked what was written since, that fits the pattern."""

from __future__ import annotations

from typing import Any

import structlog

from agent.protocol.commands import LogsQuery
from agent.protocol.patterns import BadPattern, check_search
from audit.services import SYSTEM, Actor, record
from containers import logs
from containers.models import Container, LogAlert
from containers.services.publish import target
from lormas.common import clock
from lormas.common.errors import Conflict, FieldError, Invalid, Problem

log = structlog.get_logger(__name__)
MOST = 500
PAGE = 100
MOST_ALERTS = 20
"""Of one container."""


def add_alert(container: Container, *, user: Any, actor: Actor, pattern: str, is_enabled: bool = True) -> LogAlert:
    """Each line from now on is looked at. Raises Conflict `too_many`, Invalid (not a pattern)."""
    try:
        check_search(pattern)
    except BadPattern as wrong:
        raise Invalid(str(wrong), errors=[FieldError("pattern", str(wrong))]) from None
    if LogAlert.objects.filter(container=container).count() >= MOST_ALERTS:
        raise Conflict(f"{container.name} has {MOST_ALERTS} alerts: remove one first.", code="too_many")
    made = LogAlert.objects.create(container=container, created_by=user, pattern=pattern, is_enabled=is_enabled, seen_seq=logs.end_of(container))
    record("containers.log_alert_added", actor=actor, target=target(container), after={"pattern": made.pattern})
    return made


def watch_logs() -> int:
    """Gives how many alerts fired. One journal row an alert and minute (`containers.log_alert`), however many lines fit."""
    fired = 0
    open_ones = LogAlert.objects.filter(is_enabled=True, container__deleted_at__isnull=True, container__node__isnull=False).exclude(
        container__node__gateway=""
    )
    for alert in open_ones.select_related("container__node")[:MOST]:
        try:
            fired += _look(alert)
        except Problem as problem:
            LogAlert.objects.filter(pk=alert.pk).update(problem=problem.detail[:255])
    return fired


def _look(alert: LogAlert) -> bool:
    container = alert.container
    head = logs.read(container, LogsQuery(tail=1, limit=1))
    last = int(head.get("last_seq", 0))
    if alert.seen_seq < 0 or last < alert.seen_seq:  # its first look, or the log was begun anew: from now on
        LogAlert.objects.filter(pk=alert.pk).update(seen_seq=last, problem="")
        return False
    if last == alert.seen_seq:
        return False
    page = logs.read(container, LogsQuery(after=alert.seen_seq, search=alert.pattern, limit=PAGE))
    lines = [line for line in page.get("lines", []) if line[2] != "events"]
    seen = int(page["lines"][-1][0]) if page.get("more") and page.get("lines") else last
    changes: dict[str, object] = {"seen_seq": seen, "problem": ""}
    if lines:
        text = str(lines[-1][3])
        changes |= {"matched_at": clock.now(), "matched_text": text[:500], "matches": alert.matches + len(lines)}
    # Claimed by conditional UPDATE: of two workers one tells.
    if not LogAlert.objects.filter(pk=alert.pk, seen_seq=alert.seen_seq).update(**changes) or not lines:
        return False
    record(
        "containers.log_alert",
        actor=SYSTEM,
        target=target(container),
        message=f"{len(lines)} new lines with {alert.pattern}: {text}"[:1000],
        after={"pattern": alert.pattern, "lines": len(lines), "seq": lines[-1][0]},
    )
    return True
