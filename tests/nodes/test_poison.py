"""Reports that can't be handled and clocks that are wrong: the others go on, and nothing is believed that was not seen."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest

from agent.protocol import messages as wire
from containers import inbox
from lormas.common import clock
from nodes.gateway.reports import MAX_TRIES, Intake
from nodes.models import Node
from tests.console.conftest import make_container, make_node
from tests.nodes.rig import Panel, joined


def fact(container: Any, fact_id: int, seq: int = 1) -> wire.StateFact:
    report = wire.ContainerReport(container_id=str(container.pk), state="running", epoch=container.epoch, seq=seq)
    return wire.StateFact(fact_id=fact_id, report=report)


@pytest.mark.django_db
def test_a_fact_that_no_handler_takes_is_given_up_after_five_tries_and_told_and_the_others_go_on(
    alice: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """R40: it is not acknowledged, so that its agent says it again; five times, then the log names it and it comes no more."""
    node = make_node("fra-1")
    bad, good = make_container("bad", alice, node, observed_seq=0), make_container("good", alice, node, observed_seq=0)
    sound = inbox.observe.observe

    def poisoned(node_id: uuid.UUID, report: wire.ContainerReport, **more: Any) -> bool:
        if report.container_id == str(bad.pk):
            raise RuntimeError("poison")
        return sound(node_id, report, **more)

    monkeypatch.setattr(inbox.observe, "observe", poisoned)
    intake = Intake(node.pk, strangers=frozenset())
    acknowledged = []
    for turn in range(1, MAX_TRIES + 1):
        taken = intake.take([fact(bad, 10), fact(good, 10 + turn, seq=turn)])
        acknowledged.append([answer.fact_id for answer in taken.answers if isinstance(answer, wire.FactAck)])
        good.refresh_from_db()
        assert good.observed_seq == turn, "it is held up by nobody"
    assert acknowledged[:-1] == [[9]] * (MAX_TRIES - 1), "never up to the one that failed"
    assert acknowledged[-1] == [10, 10 + MAX_TRIES]
    dropped = [record for record in caplog.records if "gateway.fact_dropped" in record.getMessage()]
    assert len(dropped) == 1 and str(bad.pk) in dropped[0].getMessage()
    monkeypatch.setattr(inbox.observe, "observe", sound)
    intake.take([fact(bad, 99, seq=2)])
    bad.refresh_from_db()
    assert bad.observed_seq == 2, "what comes later is taken as ever"


@pytest.mark.django_db(transaction=True)
@pytest.mark.redis
@pytest.mark.parametrize("hours", [-1, 1, 24 * 365])
async def test_an_agent_with_a_wrong_clock_is_as_alive_as_it_is_heard(panel: Panel, registered: Any, in_thread: Any, until: Any, hours: int) -> None:
    """R31: liveness is when the panel heard it, by the panel's clock; the skew is told beside."""
    node, token = registered
    async with joined(panel.url, token) as agent:
        first = await until(lambda: Node.objects.filter(pk=node.pk, status="ACTIVE").first())
        row = first
        for number in range(1, 60):  # three in a row count, and those of one second are one
            await agent.send(wire.Heartbeat(seq=number, sent_at_unix=clock.unix() + 3600 * hours))
            row = await until(lambda before=row.last_heartbeat: Node.objects.filter(pk=node.pk, last_heartbeat__gt=before).first())
            if row.signals.get("clock", {}).get("level") == "bad":  # signals come a moment after the beat
                break
        assert row.signals["clock"]["level"] == "bad"
        moves = await in_thread(lambda: list(row.events.filter(kind="status", after__in=("NOT_READY", "INACTIVE"))))
        assert (row.status, moves) == ("ACTIVE", [])
        assert first.last_heartbeat <= row.last_heartbeat <= clock.now() + timedelta(seconds=1)
        assert ("ahead" if hours > 0 else "behind") in row.signals["clock"]["cause"]
