"""Periodic comparing of what the panel knows with what nodes say. Each function is a job of `lormas.wiring.JOBS` and runs under its lease."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import structlog
from django.db import connections, models, transaction

from agent.protocol.messages import NodeFacts
from lormas.common import clock, live
from nodes import events, health
from nodes.gateway.store import facts_columns
from nodes.models import Command, Drain, JobRun, MaintenanceWindow, Node, OnboardingKey, Operation
from nodes.states import COMMAND_SETTLED, OPERATION_OPEN
from nodes.states import NodeStatus as Status

log = structlog.get_logger(__name__)

AT_ONCE = 16
ASK_SECONDS = 8.0
KEEP_COMMANDS, KEEP_OPERATIONS, KEEP_RUNS = timedelta(days=14), timedelta(days=90), timedelta(days=14)
RUNS_OF_A_JOB = 500
CHUNK = 1000


def _ask_all(kind: str) -> dict[UUID, dict[str, Any] | None]:
    """The answer of each connected node, or None. Bounded in time whatever the nodes do: `AT_ONCE` of them at a time."""
    ids = list(Node.objects.exclude(gateway="").values_list("pk", flat=True))

    def ask(node_id: UUID) -> tuple[UUID, dict[str, Any] | None]:
        try:
            return node_id, live.ask_node(node_id, kind, timeout_seconds=ASK_SECONDS)
        except (live.NodeOffline, live.NodeTimeout, live.NodeRefused) as error:
            log.info("reconcile.no_answer", node_id=str(node_id), kind=kind, reason=str(error))
            return node_id, None
        finally:
            connections.close_all()

    with ThreadPoolExecutor(max_workers=AT_ONCE, thread_name_prefix="reconcile") as pool:
        return dict(pool.map(ask, ids))


def _counted(answers: dict[UUID, dict[str, Any] | None]) -> dict[str, int]:
    return {"asked": len(answers), "answered": sum(answer is not None for answer in answers.values())}


def sync() -> dict[str, int]:
    """Every node sends a full listing; it is taken in where it arrives (`containers.inbox.on_snapshot`)."""
    return _counted(_ask_all("node.sync"))


def rotation() -> dict[str, int]:
    """Agents rotate their log segments and forget what they no longer need."""
    return _counted(_ask_all("node.tidy"))


def health_of(node: Node, now: datetime) -> None:
    """Bring the signals of one node up to date with how long it has been silent."""
    silent = (now - node.last_heartbeat).total_seconds() if node.last_heartbeat else None
    reading = health.socket(bool(node.gateway), silent_seconds=silent)
    with transaction.atomic():
        locked = Node.objects.select_for_update(of=("self",)).get(pk=node.pk)
        kept, moved = health.update(locked.signals, {"socket": reading}, now=now.timestamp())
        Node.objects.filter(pk=node.pk).update(signals=kept, last_health_check=now)
        for name, before, after in moved:
            if before.level != "unknown" or after.level == "bad":
                level = {"bad": "error", "warning": "warning"}.get(after.level, "info")
                events.note(locked, "signal", f"{name}: {after.cause or after.level}", level=level, before=before.level, after=after.level)


def look() -> dict[str, int]:
    """Facts of all connected nodes anew (a disk may have grown), and the signals of all."""
    answers = _ask_all("node.facts")
    for node_id, answer in answers.items():
        if answer is None:
            continue
        try:
            facts = msgspec.convert(answer.get("facts"), NodeFacts)
        except msgspec.ValidationError as error:
            log.warning("reconcile.bad_facts", node_id=str(node_id), reason=str(error))
            continue
        Node.objects.filter(pk=node_id).update(**facts_columns(facts))
    now = clock.now()
    levels = {"ok": 0, "warning": 0, "bad": 0, "unknown": 0}
    for node in Node.objects.exclude(status=Status.PENDING):
        health_of(node, now)
        node.refresh_from_db(fields=["signals"])
        levels[health.worst(node.signals)] += 1
    return {**_counted(answers), **levels}


def _delete(rows: Callable[[], models.QuerySet[Any]]) -> int:
    """In chunks, so that no lock is held long."""
    count = 0
    while ids := list(rows().values_list("pk", flat=True)[:CHUNK]):
        rows().model._default_manager.filter(pk__in=ids).delete()
        count += len(ids)
    return count


def _old_runs() -> int:
    count = _delete(lambda: JobRun.objects.filter(started_at__lt=clock.now() - KEEP_RUNS))
    for job in JobRun.objects.order_by().values_list("job", flat=True).distinct():
        oldest = JobRun.objects.filter(job=job).values_list("started_at", flat=True)[RUNS_OF_A_JOB : RUNS_OF_A_JOB + 1]
        for moment in list(oldest):
            count += _delete(lambda job=job, moment=moment: JobRun.objects.filter(job=job, started_at__lte=moment))  # type: ignore[misc]
    return count


def cleanup() -> dict[str, int]:
    """Forget what nobody asks for any more."""
    now = clock.now()
    done = now - KEEP_OPERATIONS
    return {
        "events": events.forget_old(),
        "runs": _old_runs(),
        "commands": _delete(lambda: Command.objects.filter(state__in=COMMAND_SETTLED, settled_at__lt=now - KEEP_COMMANDS)),
        "operations": _delete(lambda: Operation.objects.exclude(status__in=OPERATION_OPEN).filter(finished_at__lt=done)),
        "drains": _delete(lambda: Drain.objects.exclude(state="running").filter(finished_at__lt=done)),
        "windows": _delete(lambda: MaintenanceWindow.objects.filter(state__in=("ended", "cancelled"), ends_at__lt=done)),
        "keys": _delete(lambda: OnboardingKey.objects.filter(expires_at__lt=done)),
    }
