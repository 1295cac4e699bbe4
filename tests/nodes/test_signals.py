"""Health as separate signals with hysteresis (pure), and as the row and the timeline keep them."""

from __future__ import annotations

from typing import Any

import pytest

from agent.protocol import messages as wire
from lormas.common import clock
from nodes import events, health, reconcile
from nodes.gateway import store
from nodes.models import Node, NodeEvent

GB = 10**9


def seen(*levels: Any, rule: health.Rule) -> list[str]:
    """What counts after each reading."""
    signal, found = health.Signal(), []
    for number, level in enumerate(levels):
        signal = health.take(signal, health.Reading(level, f"cause {number}"), rule=rule, now=100.0 + number)
        found.append(signal.level)
    return found


def test_a_level_counts_only_after_it_was_seen_often_enough_in_a_row() -> None:
    """R08: a single odd reading is no transition."""
    rule = health.Rule(worse_after=2, better_after=3)
    assert seen("ok", "bad", "ok", "bad", "ok", rule=rule) == ["ok"] * 5
    assert seen("ok", "bad", "bad", "ok", "ok", "ok", rule=rule) == ["ok", "ok", "bad", "bad", "bad", "ok"]
    assert seen("ok", "bad", "warning", "bad", "bad", rule=rule) == ["ok", "ok", "ok", "ok", "bad"], "only the same level counts in a row"


def test_the_age_is_of_the_level_and_not_of_the_last_look() -> None:
    signal = health.Signal()
    for now in (10.0, 20.0, 30.0):
        signal = health.take(signal, health.Reading("ok"), rule=health.Rule(), now=now)
    assert (signal.since, signal.checked) == (10.0, 30.0)
    signal = health.take(signal, health.Reading("bad", "gone"), rule=health.Rule(), now=40.0)
    assert (signal.level, signal.since, signal.cause) == ("bad", 40.0, "gone")


def test_a_disk_has_to_fall_clearly_below_its_limit_to_be_better() -> None:
    assert health.disk(90, 100, before="ok").level == "warning"
    assert health.disk(89, 100, before="warning").level == "warning"
    assert health.disk(87, 100, before="warning").level == "ok"
    assert health.disk(98, 100, before="warning").level == "bad"
    assert health.disk(96, 100, before="bad").level == "bad"
    assert health.disk(1, 0, before="ok").level == "unknown"
    assert health.disk(98, 100, before="ok").cause == "The disk is 98% full."


def test_a_clock_that_is_wrong_is_told_with_its_direction() -> None:
    """R31: liveness is by the panel's own clock; a wrong one at the agent is a signal."""
    assert health.clock(3, before="ok").level == "ok"
    assert "ahead of" in health.clock(3600, before="ok").cause and health.clock(3600, before="ok").level == "bad"
    assert "behind" in health.clock(-15, before="ok").cause and health.clock(-15, before="ok").level == "warning"
    assert health.clock(None, before="ok").level == "unknown"


def test_another_version_is_a_warning_that_says_which_side_to_upgrade() -> None:
    """R41: a version beside is served; it is told."""
    assert health.version("1.2.0", "1.2.0").level == "ok"
    assert "upgrade the agent" in health.version("1.1.9", "1.2.0").cause
    assert "upgrade the panel" in health.version("1.10.0", "1.9.0").cause


@pytest.mark.django_db
def test_beats_move_the_signals_of_the_row_and_the_timeline_tells_each_move_once(make_node: Any) -> None:
    node = make_node(session_epoch=1, gateway="g", agent_version="0.1.0", total_storage_bytes=100 * GB)

    def beat(used: int, *, skew: float = 0) -> None:
        usage = wire.NodeUsage(storage_used_bytes=used)
        store.write_beats([store.Beat(node.pk, 1, clock.now(), usage, True, "", skew)])

    for _ in range(3):
        beat(98 * GB)
    row = Node.objects.get(pk=node.pk)
    assert row.signals["disk"]["level"] == "bad" and row.signals["disk"]["cause"] == "The disk is 98% full."
    assert row.status == "ACTIVE", "a full disk is a signal, no other state"
    beat(10 * GB)
    assert Node.objects.get(pk=node.pk).signals["disk"]["level"] == "bad"
    beat(10 * GB)
    assert Node.objects.get(pk=node.pk).signals["disk"]["level"] == "ok"
    for _ in range(4):
        beat(10 * GB, skew=3600)
    assert Node.objects.get(pk=node.pk).signals["clock"]["level"] == "bad"
    told = list(NodeEvent.objects.filter(node=node, kind="signal").order_by("id").values_list("before", "after"))
    assert [move for move in told if "bad" in move] == [("unknown", "bad"), ("bad", "ok"), ("ok", "bad")]


@pytest.mark.django_db
def test_a_node_whose_disk_is_full_is_sent_nothing_new_and_the_reason_says_so(make_node: Any, api: Any, olga: Any) -> None:
    make_node("full", signals={"disk": {"level": "bad", "cause": "The disk is 98% full.", "since": 1, "checked": 1}})
    make_node("roomy")
    answer = api(olga).post("/api/placement/preview", {"cpus": 1})
    assert [c["name"] for c in answer.json()["candidates"]] == ["roomy"]
    assert [(r["rule"], r["reason"]) for r in answer.json()["rejected"]] == [("health", "The disk is 98% full.")]
    assert answer.json()["candidates"][0]["why"]


@pytest.mark.django_db
@pytest.mark.redis
def test_the_periodic_look_brings_the_socket_signal_up_to_date_for_nodes_that_say_nothing(make_node: Any) -> None:
    node = make_node(status="INACTIVE", gateway="")
    counted = reconcile.look()
    row = Node.objects.get(pk=node.pk)
    assert counted["asked"] == 0 and row.signals["socket"]["level"] in ("bad", "unknown")
    assert row.last_health_check is not None


@pytest.mark.django_db
def test_uptime_is_told_in_stretches_and_maintenance_counts_for_nobody(make_node: Any, clock_at: Any) -> None:
    node = make_node(status="PENDING")
    from nodes import services

    for hours, to in ((1, "ACTIVE"), (3, "INACTIVE"), (4, "ACTIVE"), (5, "MAINTENANCE"), (9, "ACTIVE")):
        clock_at(hours=hours)
        node.refresh_from_db()
        assert services.move_status(node, to=to, reason=f"to {to}")
    clock_at(hours=10)
    node.refresh_from_db()
    found = events.uptime(node, hours=24)
    assert [s.status for s in found.stretches] == ["PENDING", "ACTIVE", "INACTIVE", "ACTIVE", "MAINTENANCE", "ACTIVE"]
    assert found.percent == pytest.approx(80.0, abs=0.5)
    assert sum(s.share for s in found.stretches) == pytest.approx(100, abs=0.1)


@pytest.mark.parametrize(
    ("runtime", "told"),
    [
        ("docker://20.10.24+dfsg1", True), ("docker://29.5.0", True), ("docker://29.5", True), ("docker://29.5.1", False),
        ("docker://30.0.0-rc1", False), ("docker://", False), ("docker://unknown", False), ("process://", False), ("fake://1", False), ("", False),
    ],
)  # fmt: skip
def test_an_engine_that_is_too_old_is_told(runtime: str, told: bool) -> None:
    """B11: what Lormas sends is plain anyway; the person learns that the engine wants an upgrade."""
    assert ("older than 29.5.1" in health.engine_advice(runtime)) is told
