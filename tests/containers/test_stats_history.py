"""History: raw for an hour, minutes for a day, ten minutes for a week; nothing is left out of a mean or a maximum."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

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


def test_a_disk_that_is_not_known_yet_is_told_as_unknown_and_forgets_nothing(alice_api: Any, running: Container, node: Node) -> None:
    """Null in the API, and a minute keeps what was known in it."""

    def told(at: float, disk: int | None) -> None:
        sample = ContainerStats(container_id=str(running.pk), disk_bytes=disk)
        stats.take_in(node.pk, StatsReport(sampled_at_unix=at, node=NodeUsage(), containers=[sample]))

    told(1, None)
    assert alice_api.get(f"/api/containers/{running.pk}/stats").json()["disk_bytes"] is None
    assert [one["disk_bytes"] for one in alice_api.get(f"/api/containers/{running.pk}/stats/history?range=24h").json()["points"]] == [None]
    told(2, 4096)
    told(3, None)
    assert [one["disk_bytes"] for one in stats.history(running.pk, "1h")] == [None, 4096, None]
    assert stats.history(running.pk, "24h")[-1]["disk_bytes"] in (4096, None)  # None: the minute turned between the two
    assert set(StatsMinute.objects.filter(subject_id=running.pk).values_list("disk_bytes", flat=True)) <= {4096, None}
    assert StatsMinute.objects.filter(subject_id=running.pk, disk_bytes=4096).exists()


def test_usage_that_is_told_twice_is_not_counted_twice_and_another_nodes_not_at_all(running: Container, node: Node) -> None:
    """D17: means, peaks and counters of a minute are what they would be had it been told once; a node tells of its own containers only.
    (Prices, the other half of the row, come with the catalog: no door takes one so far.)"""
    sample = ContainerStats(container_id=str(running.pk), cpu_percent=10.0, memory_bytes=50, network_rx_bytes=700, disk_bytes=4096)
    told = StatsReport(sampled_at_unix=1, node=NodeUsage(), containers=[sample])
    for _ in range(3):
        stats.take_in(node.pk, told)
    other = Node.objects.create(name="other")
    loud = ContainerStats(container_id=str(running.pk), cpu_percent=99.0, memory_bytes=9999, network_rx_bytes=1, disk_bytes=1)
    stats.take_in(other.pk, StatsReport(sampled_at_unix=1, node=NodeUsage(), containers=[loud]))
    names = ("cpu_percent", "cpu_percent_max", "memory_bytes", "memory_bytes_max", "network_rx_bytes", "disk_bytes")
    points = {tuple(point[name] for name in names) for point in stats.history(running.pk, "24h")}
    assert points == {(10.0, 10.0, 50, 50, 700, 4096)}  # of each minute, should it have turned meanwhile
    assert {point["cpu_percent"] for point in stats.history(running.pk, "1h")} == {10.0}
