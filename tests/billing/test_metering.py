"""Usage by the hour: what the engine counted, once, however its reports come."""

from __future__ import annotations

import random
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connections
from django.db.models import Sum

from agent.protocol.messages import ContainerStats, NodeUsage, StatsReport
from billing import metering
from billing.models import UsageCursor, UsageHour
from containers import stats
from containers.models import Container, StatsMinute, StatsSample
from lormas.common import clock
from nodes.models import Node
from tests.billing.conftest import Held

pytestmark = [pytest.mark.redis, pytest.mark.django_db]
MIB = 1 << 20


class Engine:
    """One container as an engine counts it: half a core, 64 MiB, 1 kB/s in and 2 kB/s out; knows the whole truth."""

    def __init__(self, container: Container, begin: float) -> None:
        self.container_id, self.begin, self.now = str(container.pk), begin, begin
        self.started = begin
        self.cpu = self.rx = self.ran = 0.0  # of all runs

    def upto(self, at: float) -> None:
        self.now, seconds = at, at - self.now
        self.cpu, self.rx, self.ran = self.cpu + 0.5 * seconds, self.rx + 1000 * seconds, self.ran + seconds

    def restart(self, at: float, *, away: float = 3.0) -> None:
        self.upto(at)
        self.now = self.started = at + away

    def sample(self, **fields: Any) -> ContainerStats:
        run = self.now - self.started
        told: dict[str, Any] = {
            "memory_bytes": 64 * MIB, "disk_bytes": MIB, "network_rx_bytes": int(1000 * run), "network_tx_bytes": int(2000 * run),
            "cpu_seconds_total": 0.5 * run, "started_at": str(clock.rfc3339(clock.at_unix(self.started))),
        }  # fmt: skip
        return ContainerStats(container_id=self.container_id, **{**told, **fields})

    def report(self, **fields: Any) -> StatsReport:
        return StatsReport(sampled_at_unix=self.now, node=NodeUsage(), containers=[self.sample(**fields)])


@pytest.fixture
def engine(running: Container, held: Held) -> Engine:
    Container.objects.filter(pk=running.pk).update(created_at=clock.now())
    return Engine(running, held.unix)


def totals() -> dict[str, Any]:
    return UsageHour.objects.aggregate(**{name: Sum(name) for name in metering.AMOUNTS})


def an_hour(engine: Engine, held: Held) -> list[StatsReport]:
    """Reports of 1 h, one in 10 s, with three restarts, as they arrive: some lost, some twice, some overtaken."""
    dice, made, begin = random.Random(51), [], held.unix
    for tick in range(1, 361):
        at = begin + 10 * tick
        if tick in (90, 200, 300):
            engine.restart(at - 6)
        engine.upto(at)
        if tick % 25 and tick != 360 and dice.random() < 0.1:
            continue
        made.append(engine.report())
        if dice.random() < 0.2:
            made.append(made[-1])
    for place in range(4, len(made) - 2, 7):
        made[place], made[place + 1] = made[place + 1], made[place]
    return made


def test_an_hour_of_lost_repeated_and_overtaken_reports_with_restarts_is_what_the_engine_counted(engine: Engine, held: Held, node: Node) -> None:
    """R51: one row for a container and an hour; all totals within 1 %; a report told again later changes nothing."""
    reports = an_hour(engine, held)
    for report in reports:
        held.unix = max(held.unix, report.sampled_at_unix + 0.2)
        stats.take_in(node.pk, report)
    found = totals()
    assert found["cpu_core_seconds"] == pytest.approx(engine.cpu, rel=0.01)
    assert found["network_rx_bytes"] == pytest.approx(engine.rx, rel=0.01)
    assert found["network_tx_bytes"] == pytest.approx(2 * engine.rx, rel=0.01)
    assert found["running_seconds"] == pytest.approx(engine.ran, rel=0.01)
    assert found["memory_byte_seconds"] == pytest.approx(64 * MIB * engine.ran, rel=0.01)
    assert found["disk_byte_seconds"] == pytest.approx(MIB * engine.ran, rel=0.01)
    assert found["seconds_unmeasured"] == found["seconds_without_cpu"] == 0
    rows = list(UsageHour.objects.order_by("hour").values_list("hour", "running_seconds", "container_name", "owner_id"))
    container = Container.objects.get()
    assert [row[0].minute for row in rows] == [0, 0]
    assert rows[0][1] == pytest.approx(600, abs=10)  # cut where the hour is full
    assert {row[2:] for row in rows} == {("web", container.owner_id)}
    for report in reports[-12:]:
        stats.take_in(node.pk, report)
    assert totals() == found


def test_a_repeated_report_adds_no_point_to_the_history_either(engine: Engine, held: Held, node: Node) -> None:
    """R51: nor to the minute's count; an older one neither; a clock that was set back by more than reports overtake each other is believed."""
    first = engine.report()
    engine.upto(held.unix + 10)
    held.unix += 10
    second = engine.report()
    for report in (second, second, first):
        stats.take_in(node.pk, report)
    subject = engine.container_id
    assert StatsSample.objects.filter(subject_id=subject).count() == 1
    assert StatsMinute.objects.get(subject_id=subject).count == 1
    engine.now -= 500
    stats.take_in(node.pk, engine.report())
    assert StatsSample.objects.filter(subject_id=subject).count() == 2


@pytest.mark.django_db(transaction=True)
def test_of_rival_writers_of_one_report_one_counts_it(engine: Engine, held: Held, node: Node) -> None:
    """R51: 8 writers with the same ten reports, in whatever order they come: each second is counted once."""
    reports = []
    for _ in range(10):
        engine.upto(engine.now + 10)
        reports.append(engine.report())
    held.unix = engine.now
    gate = threading.Barrier(8)

    def write(number: int) -> None:
        gate.wait(60)
        try:
            for report in reports[number % 3 :]:
                stats.take_in(node.pk, report)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    found = totals()
    assert found["cpu_core_seconds"] == pytest.approx(50, abs=0.01)
    assert found["running_seconds"] == pytest.approx(100, abs=0.01)
    assert found["network_rx_bytes"] == 100_000
    assert UsageHour.objects.count() == UsageCursor.objects.count() == 1
    assert StatsSample.objects.filter(subject_id=engine.container_id).count() <= 10


def test_a_gap_is_marked_and_counters_are_shared_over_its_hours(engine: Engine, held: Held, node: Node) -> None:
    """R51: three hours without a report, one run: CPU and bytes are known; what memory it held is not made up."""
    stats.take_in(node.pk, engine.report())
    engine.upto(engine.now + 3 * 3600)
    held.unix = engine.now
    stats.take_in(node.pk, engine.report())
    rows = list(UsageHour.objects.order_by("hour"))
    assert [round(row.seconds_unmeasured) for row in rows] == [600, 3600, 3600, 3000]
    assert [round(row.cpu_core_seconds) for row in rows] == [300, 1800, 1800, 1500]
    assert sum(row.network_rx_bytes for row in rows) == 3 * 3600 * 1000
    assert totals()["memory_byte_seconds"] < 64 * MIB
    assert totals()["running_seconds"] == pytest.approx(3 * 3600, abs=0.01)


def test_time_in_which_it_did_not_run_is_nobodys(engine: Engine, held: Held, node: Node) -> None:
    engine.upto(engine.now + 10)
    held.unix = engine.now
    stats.take_in(node.pk, engine.report())
    engine.restart(engine.now, away=1800)
    engine.upto(engine.now + 20)
    held.unix = engine.now
    stats.take_in(node.pk, engine.report())
    found = totals()
    assert (round(found["running_seconds"]), round(found["cpu_core_seconds"]), found["seconds_unmeasured"]) == (30, 15, 0)


def test_a_node_with_a_wrong_clock_writes_neither_the_future_nor_the_past(engine: Engine, held: Held, node: Node) -> None:
    """R51, D17: the panel's clock bounds; amounts are those of the time that went by."""
    for skew in (86_400.0, -86_400.0):
        UsageHour.objects.all().delete()
        UsageCursor.objects.all().delete()
        for _ in range(4):
            engine.upto(engine.now + 10)
            held.unix = engine.now
            sample = engine.sample(started_at=str(clock.rfc3339(clock.at_unix(engine.started + skew))))
            stats.take_in(node.pk, StatsReport(sampled_at_unix=engine.now + skew, node=NodeUsage(), containers=[sample]))
        row = UsageHour.objects.get()
        assert row.hour <= clock.now() < row.hour + timedelta(hours=1)
        assert row.cpu_core_seconds == pytest.approx(0.5 * (engine.now - engine.started), abs=0.01)


def test_more_than_the_nodes_cores_can_do_is_not_counted(engine: Engine, held: Held, node: Node) -> None:
    """D17: 4 cores for 10 s (and the slack of a stamp) are all that a lie can claim; NaN and less than nothing are not told."""
    stats.take_in(node.pk, engine.report())
    for lie, most in ((1e12, 48), (float("nan"), 48), (-5.0, 48)):
        engine.upto(engine.now + 10)
        held.unix = engine.now
        stats.take_in(node.pk, engine.report(cpu_seconds_total=lie))
        assert totals()["cpu_core_seconds"] <= most + 0.01
    assert totals()["seconds_without_cpu"] == pytest.approx(20, abs=0.01)


def test_an_older_agents_cpu_is_unknown_which_is_not_nothing(engine: Engine, held: Held, node: Node) -> None:
    for _ in range(3):
        stats.take_in(node.pk, engine.report(cpu_seconds_total=None, started_at=""))
        engine.upto(engine.now + 10)
        held.unix = engine.now
    found = totals()
    assert (found["seconds_without_cpu"], found["running_seconds"], found["cpu_core_seconds"]) == (20, 20, 0)
    assert found["memory_byte_seconds"] == 64 * MIB * 20


def test_a_disk_that_is_not_known_yet_is_not_an_empty_one(engine: Engine, held: Held, node: Node) -> None:
    """R51: an agent walks the folders after its start; one side of a difference is enough, and where neither tells the time is marked."""
    for disk in (None, None, MIB, 3 * MIB, None):
        stats.take_in(node.pk, engine.report(disk_bytes=disk))
        engine.upto(engine.now + 10)
        held.unix = engine.now
    found = totals()
    assert found["disk_byte_seconds"] == pytest.approx(10 * (MIB + 2 * MIB + 3 * MIB), rel=1e-6)
    assert found["seconds_without_disk"] == pytest.approx(10, abs=0.01)
    assert (found["seconds_unmeasured"], round(found["running_seconds"])) == (0, 40)
    assert [one.disk_bytes for one in StatsSample.objects.filter(subject_id=engine.container_id).order_by("pk")] == [None, None, MIB, 3 * MIB, None]


def test_what_it_used_before_the_panel_knew_it_is_not_counted(engine: Engine, held: Held, node: Node) -> None:
    """An adopted container comes with counters of its own."""
    engine.started = engine.now - 7200
    stats.take_in(node.pk, engine.report())
    assert not UsageHour.objects.exists()
    engine.upto(engine.now + 10)
    held.unix = engine.now
    stats.take_in(node.pk, engine.report())
    assert totals()["cpu_core_seconds"] == pytest.approx(5, abs=0.01)


def test_a_foreign_nodes_report_counts_nothing(engine: Engine, held: Held, node: Node) -> None:
    """D17."""
    other = Node.objects.create(name="other")
    for _ in range(2):
        stats.take_in(other.pk, engine.report())
        engine.upto(engine.now + 10)
        held.unix = engine.now
    assert not UsageHour.objects.exists() and not UsageCursor.objects.exists()


def test_usage_outlives_its_container_for_as_long_as_is_set(engine: Engine, held: Held, node: Node) -> None:
    engine.upto(engine.now + 10)
    held.unix = engine.now
    stats.take_in(node.pk, engine.report())
    Container.objects.all().delete()
    assert metering.forget_old(days=2) == 0
    held.unix += 86_400 * 3
    assert metering.forget_old(days=0) == 0
    assert metering.forget_old(days=2) == 1
    assert not UsageHour.objects.exists()
    held.unix += 86_400 * 40
    assert metering.forget_old(days=2) == 1 and not UsageCursor.objects.exists()
