"""The promise of the log: every line exactly once, or one declared gap that the sum accounts for, whatever dies meanwhile."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from accounts.services import sign_in
from containers.models import Container
from containers.services import NewContainer, create_container
from tests.e2e.conftest import Stack, in_thread
from tests.e2e.stack import IMAGE, LogReader, reading

pytestmark = [pytest.mark.docker, pytest.mark.redis, pytest.mark.slow, pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]

TOTAL = 200_000
SCRIPT = f"i=0; while [ $i -lt {TOTAL} ]; do i=$((i+1)); echo line $i; [ $((i % 10000)) -eq 0 ] && sleep 0.7; done; sleep 3600"


def lost_by_declaration(reader: LogReader) -> int:
    """Sum of the lines that gap markers declare lost (`events` entries of the agent)."""
    declared = 0
    for _, _, stream, text in reader.lines:
        if stream == "events":
            found = re.search(r"(\d+) lines? lost", text)
            declared += int(found.group(1)) if found else 0
    return declared


async def test_200000_lines_through_two_agent_kills_a_panel_kill_and_a_cut_link(stack: Stack, alice: Any) -> None:
    """R01, R03, R06, F10"""
    token = (await in_thread(sign_in, alice, address=None, user_agent="test")).access
    new = NewContainer(name="counter", image=IMAGE, command=["sh", "-c", SCRIPT], restart_policy="no")
    container, _ = await in_thread(create_container, user=alice, actor=alice.as_actor(), data=new)
    async with reading(LogReader(url=stack.panel.url, token=token, container_id=str(container.pk))) as reader:
        await reader.until(15_000)
        await asyncio.to_thread(stack.agent.kill)
        stack.agent.start()
        await reader.until(60_000)
        await asyncio.to_thread(stack.panel.kill)
        await asyncio.to_thread(stack.panel.start)
        await reader.until(100_000)
        stack.link.cut()
        await reader.until(130_000)
        await asyncio.to_thread(stack.agent.kill)
        stack.agent.start()
        async with asyncio.timeout(90):
            while (reader.numbers[-1] if reader.numbers else 0) < TOTAL:
                await asyncio.sleep(0.2)
    seqs = [line[0] for line in reader.lines]
    assert seqs == sorted(set(seqs)), "no line twice, none out of order"
    numbers = reader.numbers
    assert numbers == sorted(set(numbers)), "no output line twice, none out of order"
    assert len(numbers) + lost_by_declaration(reader) == TOTAL
    fresh = await in_thread(Container.objects.get, pk=container.pk)
    assert fresh.status == "running"
