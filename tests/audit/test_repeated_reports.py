"""What agents report again and again while nobody listens is bounded with them, and one row each with us."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from agent.outbox import Outbox
from agent.program import RESEND_MOST
from agent.protocol.messages import ContainerReport, FactAck, StateFact
from audit.models import Entry
from nodes.gateway.reports import Intake
from tests.console.conftest import make_container, make_node

pytestmark = [pytest.mark.django_db, pytest.mark.redis]
CONTAINERS, CHANGES = 30, 30


async def spooled(file: Path, containers: list[Any]) -> list[StateFact]:
    """Each container changes many times while the panel is away, and the agent is restarted in the middle of it."""
    outbox = Outbox(file)
    await outbox.open()
    for turn in range(CHANGES):
        if turn == CHANGES // 2:
            await outbox.close()
            outbox = Outbox(file)
            await outbox.open()
        for one in containers:
            state, code = ("exited", turn) if turn % 2 else ("running", None)
            report = ContainerReport(container_id=str(one.pk), state=state, exit_code=code, epoch=one.epoch, cause="exit" if code else "")
            _, fact = await outbox.observe(report)
            assert fact is not None
            assert (await outbox.observe(report))[1] is None, "the same again is no news"
    kept = await outbox.unacknowledged_facts()
    await outbox.close()
    return kept


async def acknowledged(file: Path, fact_id: int) -> list[StateFact]:
    outbox = Outbox(file)
    await outbox.open()
    await outbox.facts_acknowledged(fact_id)
    left = await outbox.unacknowledged_facts()
    await outbox.close()
    return left


def test_reports_nobody_took_are_bounded_and_however_often_they_come_each_is_one_row(alice: Any, tmp_path: Path) -> None:
    """I05: the newest of each container is kept, at most 500 go at a time, ids acknowledge, repeats in any order add nothing to the journal."""
    node = make_node("fra-1")
    containers = [make_container(f"web-{number}", alice, node) for number in range(CONTAINERS)]
    facts = asyncio.run(spooled(tmp_path / "outbox.db", containers))
    assert len(facts) == CONTAINERS and {fact.report.seq for fact in facts} == {CHANGES}, "a thousand changes, one fact each"
    assert RESEND_MOST <= 500
    intake = Intake(node.pk, strangers=frozenset())
    acks = [answer for answer in intake.take(list(facts)).answers if isinstance(answer, FactAck)]
    rows = list(Entry.objects.filter(target_type="container").values_list("target_id", "action"))
    assert sorted(target for target, _ in rows) == sorted(str(one.pk) for one in containers), rows
    for seed in range(4):
        again = [*facts, *facts]
        random.Random(seed).shuffle(again)
        taken = intake.take(again)
        assert not taken.violations and len(taken.answers) == len(again), "each repeat is acknowledged, else it would come for ever"
    assert list(Entry.objects.filter(target_type="container").values_list("target_id", "action")) == rows
    half = asyncio.run(acknowledged(tmp_path / "outbox.db", facts[CONTAINERS // 2 - 1].fact_id))
    assert [fact.fact_id for fact in half] == [fact.fact_id for fact in facts[CONTAINERS // 2 :]]
    assert asyncio.run(acknowledged(tmp_path / "outbox.db", max(ack.fact_id for ack in acks))) == []
