"""Reads for pages."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db.models import Count, QuerySet

from containers.models import Container, StatsSample
from lormas.common import clock

SPARK_SECONDS = 300
SPARK_POINTS = 60


def sparks(ids: Iterable[UUID]) -> dict[UUID, dict[str, list[float]]]:
    """The last five minutes of CPU and memory of each container, oldest first; one query."""
    found: dict[UUID, dict[str, list[float]]] = {}
    since = clock.now() - timedelta(seconds=SPARK_SECONDS)
    wanted = list(ids)
    if not wanted:
        return found
    samples = StatsSample.objects.filter(subject_id__in=wanted, time__gte=since).order_by("time")
    for subject, cpu, memory in samples.values_list("subject_id", "cpu_percent", "memory_bytes")[: SPARK_POINTS * 100]:
        series = found.setdefault(subject, {"cpu": [], "memory": []})
        series["cpu"].append(cpu)
        series["memory"].append(memory)
    for series in found.values():
        for name in series:
            series[name] = series[name][-SPARK_POINTS:]
    return found


def counts_by_status(containers: QuerySet[Container]) -> dict[str, int]:
    """How many in each state; one query."""
    rows: Any = containers.order_by().values("status").annotate(count=Count("pk"))
    return {row["status"]: row["count"] for row in rows}
