"""Logs at night: every node begins new files and forgets what is too old. Nodes that are away are asked the next night."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import structlog
from django.conf import settings

from agent.protocol.commands import LogsTidy
from containers.models import Container, KeptLog
from lormas.common import clock, live
from nodes.models import Node

log = structlog.get_logger(__name__)
ASK_SECONDS = 60
FORGET_MOST = 1000


def _ask(node_id: UUID, payload: LogsTidy) -> dict[str, Any] | None:
    try:
        return live.ask_node(node_id, "logs.tidy", payload=msgspec.to_builtins(payload), timeout_seconds=ASK_SECONDS)
    except (live.NodeOffline, live.NodeTimeout, live.NodeRefused) as error:
        log.info("containers.logs_not_tidied", node=str(node_id), reason=str(error))
        return None


def _nodes() -> list[UUID]:
    return list(Node.objects.exclude(gateway="").values_list("pk", flat=True))


def rotate_logs() -> int:
    """Gives how many nodes did."""
    return sum(_ask(node_id, LogsTidy(rotate=True)) is not None for node_id in _nodes())


def expire_logs() -> dict[str, int]:
    """Forget lines, and whole logs of containers that are gone, after LOG_RETENTION_DAYS; the rows of the latter go when their node has done it."""
    days = settings.LOG_RETENTION_DAYS
    due = clock.now() - timedelta(days=days)
    dropped = forgotten = 0
    for node_id in _nodes():
        gone = list(KeptLog.objects.filter(node_id=node_id, deleted_at__lte=due).values_list("pk", flat=True)[:FORGET_MOST])
        alive = set(Container.objects.filter(pk__in=gone).values_list("pk", flat=True))
        forget = [str(pk) for pk in gone if pk not in alive]
        done = _ask(node_id, LogsTidy(older_than_seconds=days * 86400, forget=forget))
        if done is not None:
            KeptLog.objects.filter(pk__in=gone).delete()
            dropped, forgotten = dropped + int(done.get("dropped", 0)), forgotten + len(forget)
    return {"dropped": dropped, "forgotten": forgotten}
