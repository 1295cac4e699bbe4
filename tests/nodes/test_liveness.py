"""Nodes live and die by the panel's ear (SECURITY R05-R10, R54)."""

from __future__ import annotations

import asyncio
import random
import signal
import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest

from agent.protocol import messages as wire
from lormas.common import clock
from nodes import services, warden
from nodes.gateway import store
from nodes.models import Node
from nodes.states import NODE_MOVES, NodeStatus
from tests.nodes.rig import Panel, joined


def beat(node: Node, moment: datetime, **changes: Any) -> store.Beat:
    values = {"usage": wire.NodeUsage(cpu_percent=1.0), "engine_ok": True, "engine_error": "", **changes}
    return store.Beat(node.pk, values.pop("epoch", node.session_epoch), moment, **values)


@pytest.fixture
def alive(make_node: Any) -> Node:
    """Heard of right now, at session epoch 3."""
    return make_node(last_heartbeat=clock.now(), session_epoch=3, gateway="g")  # type: ignore[no-any-return]


@pytest.mark.django_db
def test_silence_makes_not_ready_at_25_and_inactive_at_35_seconds_never_before_20(alive: Node) -> None:
    """R07: loss to INACTIVE within 40 s, never before 20 s, with 10 s beats."""
    assert alive.last_heartbeat is not None
    seen: list[tuple[float, str]] = []
    for tenth in range(500):
        silent = tenth / 10
        warden.judge(alive.last_heartbeat + timedelta(seconds=silent))
        status = Node.objects.get(pk=alive.pk).status
        if not seen or seen[-1][1] != status:
            seen.append((silent, status))
        signal = Node.objects.get(pk=alive.pk).signals.get("socket", {})
        told = {"ACTIVE": None, "NOT_READY": "warning", "INACTIVE": "bad"}[status]
        assert signal.get("level") == told, "of a node that is not heard no signal says that it is connected"
    assert seen == [(0.0, "ACTIVE"), (25.1, "NOT_READY"), (35.1, "INACTIVE")]
    row = Node.objects.get(pk=alive.pk)
    assert row.signals["socket"]["cause"] == "No agent is connected."
    assert (row.status_reason, row.gateway) == ("Nothing heard for 35 s.", "")


@pytest.mark.django_db
def test_a_beat_brings_it_back_at_once(alive: Node) -> None:
    assert alive.last_heartbeat is not None
    warden.judge(alive.last_heartbeat + timedelta(seconds=60))
    assert Node.objects.get(pk=alive.pk).status == "INACTIVE"
    stale, due = store.write_beats([beat(alive, clock.now())])
    row = Node.objects.get(pk=alive.pk)
    assert (row.status, row.status_reason, row.usage["cpu_percent"], stale, due) == ("ACTIVE", "", 1.0, set(), set())
    assert row.signals["socket"]["level"] == "ok"


@pytest.mark.django_db
def test_the_engine_down_makes_not_ready_with_its_reason_and_up_again_active(alive: Node) -> None:
    """R12."""
    store.write_beats([beat(alive, clock.now(), engine_ok=False, engine_error="connection refused")])
    row = Node.objects.get(pk=alive.pk)
    assert (row.status, row.status_reason) == ("NOT_READY", "The engine does not answer: connection refused")
    store.write_beats([beat(alive, clock.now(), engine_ok=False, engine_error="timed out\x00")])
    assert Node.objects.get(pk=alive.pk).status_reason == "The engine does not answer: timed out"
    store.write_beats([beat(alive, clock.now())])
    assert Node.objects.get(pk=alive.pk).status == "ACTIVE"


@pytest.mark.django_db
def test_maintenance_stays_through_silence_and_beats(alive: Node) -> None:
    from audit.services import SYSTEM

    services.set_status(alive, actor=SYSTEM, status="MAINTENANCE", reason="disks")
    warden.judge(clock.now() + timedelta(seconds=100))
    store.write_beats([beat(alive, clock.now(), engine_ok=False)])
    assert Node.objects.get(pk=alive.pk).status == "MAINTENANCE"


@pytest.mark.django_db
def test_beats_of_a_replaced_session_count_for_nothing(alive: Node) -> None:
    """R06, R09."""
    assert alive.last_heartbeat is not None
    stale, _ = store.write_beats([beat(alive, clock.now() + timedelta(hours=1), epoch=2)])
    assert stale == {alive.pk}
    assert Node.objects.get(pk=alive.pk).last_heartbeat == alive.last_heartbeat


@pytest.mark.django_db
def test_a_beat_that_comes_while_it_is_judged_wins(alive: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rival beat between the look and the move: the conditional UPDATE finds nothing to do."""
    assert alive.last_heartbeat is not None
    late = alive.last_heartbeat + timedelta(seconds=60)
    real = services.move_status

    def rival(node: Node, **kwargs: Any) -> bool:
        Node.objects.filter(pk=node.pk).update(last_heartbeat=late)
        return real(node, **kwargs)

    monkeypatch.setattr(services, "move_status", rival)
    assert warden.judge(late) == 0
    assert Node.objects.get(pk=alive.pk).status == "ACTIVE"


@pytest.mark.django_db
def test_lossy_jittery_beats_make_no_flapping(alive: Node) -> None:
    """R08: 5 % of the frames lost (heartbeats, stats and pongs are all signs of life), 200 ms of jitter, thirty minutes: no transition."""
    chance = random.Random(11)
    begin = heard = clock.now()
    for second in range(1800):
        now = begin + timedelta(seconds=second)
        for every in (10, 5, 10):
            if second % every == 0 and chance.random() > 0.05:
                heard = now - timedelta(seconds=chance.random() * 0.2)
        if second % 10 in (4, 9):
            Node.objects.filter(pk=alive.pk).update(last_heartbeat=heard)
            assert warden.judge(now) == 0, f"at {second} s, silent for {(now - heard).total_seconds()} s"


def test_nobody_is_judged_after_a_pause_of_the_panel_itself() -> None:
    """R10."""
    grace = warden.Grace(seconds=35, monotonic=100.0, wall=1000.0)
    assert grace.tick(monotonic=101, wall=1001), "just started"
    assert [grace.tick(monotonic=float(t), wall=900.0 + t) for t in range(102, 140)][-1] is False
    assert grace.tick(monotonic=200, wall=1100), "stopped for a minute"
    assert all(grace.tick(monotonic=float(t), wall=900.0 + t) for t in range(201, 235))
    assert not grace.tick(monotonic=236, wall=1136)
    assert grace.tick(monotonic=237, wall=9999), "the wall clock jumped"


@pytest.mark.django_db
def test_every_move_of_the_table_and_no_other(make_node: Any) -> None:
    for before in NodeStatus.values:
        for after in NodeStatus.values:
            node = make_node(f"n-{before}-{after}".lower().replace("_", "-"), status=before)
            moved = services.move_status(node, to=after, reason="x")
            assert moved is (after in NODE_MOVES[before]), (before, after)
            assert Node.objects.get(pk=node.pk).status == (after if moved else before)


@pytest.mark.django_db
def test_handlers_hear_of_each_move_in_its_transaction(alive: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[str, str]] = []
    monkeypatch.setattr(services, "wired", lambda table: ("x",))
    monkeypatch.setattr(services, "resolve", lambda dotted: lambda node, before: heard.append((before, node.status)))
    warden.judge(clock.now() + timedelta(seconds=60))
    store.write_beats([beat(alive, clock.now())])
    assert heard == [("ACTIVE", "INACTIVE"), ("INACTIVE", "ACTIVE")]


@pytest.mark.slow
@pytest.mark.waits
@pytest.mark.timeout(240)
@pytest.mark.redis
@pytest.mark.django_db(transaction=True)
async def test_a_stopped_panel_wakes_without_blaming_anybody(panel: Panel, registered: Any, in_thread: Any) -> None:
    """R10 with real clocks: SIGSTOP the panel for 40 s."""
    node, token = registered

    def status() -> str:
        return str(Node.objects.values_list("status", flat=True).get(pk=node.pk))

    async def beats(agent: Any) -> None:
        while True:
            await agent.beat()
            await asyncio.sleep(5)

    async with joined(panel.url, token) as agent:
        task = asyncio.create_task(beats(agent))
        await asyncio.sleep(37)  # past the panel's own grace at its start
        panel.signal(signal.SIGSTOP)
        await asyncio.sleep(40)
        panel.signal(signal.SIGCONT)
        for _ in range(20):
            await asyncio.sleep(0.25)
            assert await in_thread(status) == "ACTIVE"
        await asyncio.sleep(36)
        assert await in_thread(status) == "ACTIVE"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.django_db
def test_the_sweep_survives_a_handler_that_fails(make_node: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """R40, R54: one poisonous command does not hold up the others."""
    from agent.protocol.commands import StartPayload
    from nodes import commands
    from nodes.models import Command

    node = make_node()
    poison, fine = (commands.enqueue(node, "container.start", payload=StartPayload(), subject_id=uuid.uuid4()) for _ in range(2))
    Command.objects.update(deadline=clock.now() - timedelta(seconds=1))

    def handler(command: Command) -> None:
        if command.pk == poison.pk:
            raise ValueError("bug above")

    monkeypatch.setattr(commands, "wired", lambda table: {"container.start": "x"} if table == "SETTLED" else {})
    monkeypatch.setattr(commands, "resolve", lambda dotted: handler)
    commands.sweep_overdue()
    fine.refresh_from_db()
    assert fine.state == "expired"
