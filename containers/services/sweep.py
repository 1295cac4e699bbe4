"""What must happen by itself: restarts that are due, passing states past their deadline, the trash."""

from __future__ import annotations

from datetime import timedelta

import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import Q

from audit.services import SYSTEM
from containers.models import Container, StatsMinute, StatsSample
from containers.services import power, remove
from containers.services.observe import settle_status
from containers.states import PASSING, Desired, Status
from lormas.common import clock
from lormas.common.errors import Problem
from nodes.states import NodeStatus

log = structlog.get_logger(__name__)
RAW_HOURS = 6
MINUTE_DAYS = 8
RUNS = ("running", "paused", "restarting")


def restart_due() -> int:
    """Start what its restart policy wants back. Claimed by conditional UPDATE, so any number of workers may run this."""
    started = 0
    for container in Container.objects.alive().filter(restart_at__lte=clock.now(), desired=Desired.RUNNING).select_related("node", "operation")[:200]:
        claimed = Container.objects.filter(pk=container.pk, restart_at=container.restart_at).update(restart_at=clock.now() + timedelta(seconds=60))
        if not claimed:
            continue
        try:
            power.act(container, "start", user=None, actor=SYSTEM, automatic=True)
            started += 1
        except Problem as problem:
            log.info("containers.restart_put_off", container=str(container.pk), reason=problem.detail)
    return started


def settle_stuck() -> int:
    """Passing states past their deadline whose operation is over: take the last observation for the truth."""
    stuck = Container.objects.unlocked().filter(status__in=PASSING, status_deadline__lte=clock.now()).exclude(desired=Desired.DELETED)
    count = 0
    for container in stuck.select_related("node", "operation"):
        with transaction.atomic():
            if container.status == Status.STOPPING and container.observed == "running" and container.desired == Desired.STOPPED:
                container.desired = Desired.RUNNING  # it was asked by its console and did not listen: then it is to run, as it does
            settle_status(container, cause="command", waited=container.status == Status.STARTING)
            count += 1
    return count


def empty_trash() -> int:
    """Purge what has been in the trash longer than TRASH_SECONDS."""
    due = clock.now() - timedelta(seconds=settings.TRASH_SECONDS)
    count = 0
    for container in Container.objects.trashed().unlocked().filter(deleted_at__lte=due).exclude(desired=Desired.DELETED)[:100]:
        try:
            remove.purge_container(container, user=None, actor=SYSTEM)
            count += 1
        except Problem as problem:
            log.info("containers.purge_put_off", container=str(container.pk), reason=problem.detail)
    return count


def delete_again() -> int:
    """What was deleted and is still there, or in the trash and runs: its node could not do it, and is told again, with growing pauses.

    An engine that was down, hung or out of memory may do it next time; what a person has deleted must not stay behind on a node. What failed before
    the node was last back counts for nothing.
    """
    again = 0
    waiting = Container.objects.trashed().unlocked().exclude(node__gateway="").filter(node__status__in=(NodeStatus.ACTIVE, NodeStatus.MAINTENANCE))
    for container in waiting.filter(Q(desired=Desired.DELETED) | Q(observed__in=RUNS)).select_related("node", "operation")[:100]:
        told = remove.told(container)
        assert container.node is not None
        last = told["last"]
        if told["count"] > 1 and last is not None and last > max(container.node.status_since, clock.now() - remove.pause(told)):
            continue
        try:
            remove.delete_again(container)
            again += 1
        except Problem as problem:
            log.info("containers.deletion_put_off", container=str(container.pk), reason=problem.detail)
    return again


def trim_stats() -> int:
    """Delete old samples in chunks, so that no lock is held long."""
    removed = 0
    for model, column, age in ((StatsSample, "time", timedelta(hours=RAW_HOURS)), (StatsMinute, "minute", timedelta(days=MINUTE_DAYS))):
        while True:
            ids = list(model.objects.filter(**{f"{column}__lt": clock.now() - age}).values_list("pk", flat=True)[:1000])
            if not ids:
                break
            removed += model.objects.filter(pk__in=ids).delete()[0]
    return removed
