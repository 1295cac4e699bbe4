"""History: raw for an hour, minutes for a day, ten minutes for a week; nothing is left out of a mean or a maximum."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agent.protocol.messages import ContainerStats, NodeUsage, StatsReport
from containers import stats
from containers.models import Container, StatsMinute
from lormas.common import clock
from nodes.models import Node

pytestmark = pytest.mark.django_db


def minute(container: Container, ago_minutes: int, *, cpu: float, samples: int = 12, rx: int = 0, disk: int = 0) -> None:
    base = clock.now().replace(second=0, microsecond=0) - timedelta(minutes=ago_minutes)
    StatsMinute.objects.create(
        subject_id=container.pk, minute=base, count=samples, cpu_sum=cpu * samples, cpu_max=cpu + 1, memory_sum=100 * samples, memory_max=150,
        network_rx_bytes=rx, disk_bytes=disk,
    )  # fmt: skip


def test_a_week_is_made_of_ten_minutes_with_the_peak_of_each(running: Container) -> None:
    now = clock.now()
    first = 60 * 24 * 3 + now.minute % 10  # the beginning of a slot of ten minutes, three days ago
    for offset, cpu in enumerate((1.0, 1.0, 91.0, 3.0)):
        minute(running, first - offset, cpu=cpu, rx=1000 * (offset + 1), disk=5000 + offset)
    minute(running, first - 10, cpu=7.0)
    points = stats.history(running.pk, "7d")
    assert [(p["cpu_percent"], p["cpu_percent_max"]) for p in points] == [(24.0, 92.0), (7.0, 8.0)]
    assert (points[0]["network_rx_bytes"], points[0]["disk_bytes"], points[0]["memory_bytes"]) == (4000, 5003, 100)
    assert len(stats.history(running.pk, "24h")) == 0


def test_samples_are_rolled_up_as_they_come_with_their_disk_use(running: Container, node: Node) -> None:
    for cpu in (10.0, 30.0):
        sample = ContainerStats(container_id=str(running.pk), cpu_percent=cpu, memory_bytes=50, disk_bytes=4096)
        stats.take_in(node.pk, StatsReport(sampled_at_unix=0, node=NodeUsage(), containers=[sample]))
    points = stats.history(running.pk, "24h")
    assert sum(p["cpu_percent"] for p in points) in (20.0, 40.0)  # one minute, or two if it turned meanwhile
    assert {p["disk_bytes"] for p in points} == {4096}
    assert [p["disk_bytes"] for p in stats.history(running.pk, "1h")] == [4096, 4096]
