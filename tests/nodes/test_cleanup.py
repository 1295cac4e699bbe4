"""What the panel keeps for a while goes by itself (SECURITY J14)."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from agent.protocol.commands import StartPayload
from containers.models import StatsMinute, StatsSample
from containers.services import sweep
from lormas.common import clock
from nodes import commands, events, reconcile
from nodes.models import Command, JobRun, NodeEvent, Operation
from nodes.operations import open_operation

pytestmark = pytest.mark.django_db
LONG_AGO = timedelta(days=400)


def test_only_what_is_old_and_over_goes_and_never_much_at_a_time(make_node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """J14: what still runs stays, however old; each statement deletes a chunk, so that nobody waits for its lock."""
    monkeypatch.setattr(reconcile, "CHUNK", 2)
    monkeypatch.setattr(events, "CHUNK", 2)
    node, old = make_node(), clock.now() - LONG_AGO
    made = [commands.enqueue(node, "container.start", payload=StartPayload(), subject_id=uuid.uuid4()) for _ in range(7)]
    Command.objects.filter(pk__in=[one.pk for one in made[:5]]).update(state="done", settled_at=old)
    Command.objects.filter(pk=made[5].pk).update(state="done", settled_at=clock.now())
    opened = [open_operation("container.start", user=None, target_type="container", target_id=uuid.uuid4(), target_label="x") for _ in range(5)]
    Operation.objects.filter(pk__in=[one.pk for one in opened[:4]]).update(status="failed", finished_at=old)
    NodeEvent.objects.all().delete()
    NodeEvent.objects.bulk_create(NodeEvent(node=node, time=old if number else clock.now(), kind="signal") for number in range(6))
    JobRun.objects.bulk_create(JobRun(job="x", started_at=old) for _ in range(3))
    with CaptureQueriesContext(connection) as seen:
        gone = reconcile.cleanup()
    assert (gone["commands"], gone["operations"], gone["events"], gone["runs"]) == (5, 4, 5, 3)
    assert set(Command.objects.values_list("pk", flat=True)) == {made[5].pk, made[6].pk} and Operation.objects.get() == opened[4]
    assert NodeEvent.objects.count() == 1 and not JobRun.objects.exists()
    chunks = [re.search(r"IN \((.*)\)", query["sql"]) for query in seen.captured_queries if query["sql"].startswith("DELETE")]
    assert len(chunks) >= 3 + 2 + 3 + 2 and all(found and found[1].count(",") < 2 for found in chunks)


def test_samples_go_after_hours_and_minutes_after_weeks() -> None:
    """J14"""
    subject, now = uuid.uuid4(), clock.now()
    for age in (timedelta(0), LONG_AGO):
        StatsMinute.objects.create(subject_id=subject, minute=(now - age).replace(second=0, microsecond=0), count=1)
        StatsSample.objects.create(subject_id=subject, time=now - age)
    assert sweep.trim_stats() == 2
    assert StatsMinute.objects.get().minute > now - LONG_AGO / 2 < StatsSample.objects.get().time
