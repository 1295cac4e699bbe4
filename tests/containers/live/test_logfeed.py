"""A viewer gets every line exactly once, in order, whatever the way there does."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest

from containers.live import logfeed, logsource
from containers.live.logfeed import LogFeed
from lormas.common import live
from tests.containers.live.conftest import Viewer

pytestmark = pytest.mark.redis


@contextlib.asynccontextmanager
async def following(node: Any, viewer: Any, *, after: int = -1, tail: int = 0, streams: frozenset[str] = frozenset()) -> AsyncIterator[None]:
    feed = LogFeed(container_id=node.container_id, node_id=node.node_id, after=after, tail=tail, streams=streams, send=viewer.send)
    task = asyncio.create_task(feed.run())
    async with asyncio.timeout(60):
        while node.reads == 0:  # the history has been read: from here on the feed is live
            await asyncio.sleep(0.005)
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_history_then_live_without_a_seam(shipper: Any, viewer: Any) -> None:
    shipper.write(50)
    async with following(shipper, viewer, tail=20):
        await shipper.ship(shipper.write(5))
        await viewer.until(25)
    assert viewer.seqs == list(range(31, 56))
    assert shipper.watches >= 1


async def test_a_browser_that_comes_back_gets_exactly_what_it_missed(shipper: Any, viewer: Any) -> None:
    shipper.write(2500)
    async with following(shipper, viewer, after=100):
        await viewer.until(2400)
        await shipper.ship(shipper.write(10))
        await viewer.until(2410)
    assert viewer.seqs == list(range(101, 2511))


@pytest.mark.parametrize("seed", range(8))
async def test_lost_repeated_and_reordered_batches_change_nothing(shipper: Any, viewer: Any, seed: int) -> None:
    """F10, M4: pub/sub promises nothing; sequence numbers do."""
    chance = random.Random(seed)
    async with following(shipper, viewer):
        held = []
        for _ in range(60):
            frame = shipper.write(chance.randint(1, 30))
            fate = chance.random()
            if fate < 0.25:
                continue
            if fate < 0.4:
                held.append(frame)
                continue
            await shipper.ship(frame)
            if fate > 0.8:
                await shipper.ship(frame)
            if held and chance.random() < 0.5:
                await shipper.ship(held.pop())
        await shipper.ship(shipper.write(1))
        await viewer.until(len(shipper.lines))
    assert viewer.seqs == list(range(1, len(shipper.lines) + 1))


async def test_a_slow_viewer_falls_behind_and_catches_up_without_loss(shipper: Any, viewer: Any) -> None:
    """F11: its tap is bounded, the store fills the gap."""
    viewer.pace = 0.002
    async with following(shipper, viewer):
        for _ in range(logsource.TAP_MESSAGES * 3):
            await shipper.ship(shipper.write(2))
        viewer.pace = 0
        await shipper.ship(shipper.write(1))
        await viewer.until(len(shipper.lines))
    assert viewer.seqs == list(range(1, len(shipper.lines) + 1))


async def test_many_who_are_behind_cost_the_node_as_much_as_one(shipper: Any) -> None:
    """F11: a page that one asked for serves all; a ready frame is the same bytes for everybody."""
    shipper.write(9000)
    viewers = [Viewer() for _ in range(30)]
    async with contextlib.AsyncExitStack() as stack:
        for one in viewers:
            await stack.enter_async_context(following(shipper, one, after=0))
        for one in viewers:
            await one.until(9000)
        await shipper.ship(shipper.write(3))
        for one in viewers:
            await one.until(9003)
    assert all(one.seqs == list(range(1, 9004)) for one in viewers)
    assert shipper.reads <= 8, "three pages, and a look behind the last"
    assert len(logsource._sources) == 0


async def test_nothing_is_kept_for_one_that_stands_still(shipper: Any, viewer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """F11, M3: the ring keeps more than the newest only for viewers who move; the others get every line at their pace."""
    monkeypatch.setattr(logsource, "RING_BYTES", 20_000)
    monkeypatch.setattr(logsource, "MOVES_SECONDS", -1.0)
    still = Viewer()
    still.pace = 3600
    async with following(shipper, still, after=0), following(shipper, viewer, after=0):
        source = next(iter(logsource._sources.values()))
        for _ in range(100):
            await shipper.ship(shipper.write(20))
        await viewer.until(2000)
        assert source._ring_bytes <= 22_000
    assert viewer.seqs == list(range(1, 2001)) and still.seqs == []


async def test_one_that_is_hopelessly_behind_is_moved_forward_and_told(shipper: Any, viewer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfeed, "HOPELESS_LINES", 2000)
    shipper.write(10_000)
    async with following(shipper, viewer, after=10):
        await viewer.until(1000)
    skipped = next(m for m in viewer.messages if m["type"] == "skipped")
    assert skipped["count"] + len(viewer.seqs) == 10_000 - 10, "what is skipped and what came account for all"
    assert viewer.seqs[-1] == 10_000


async def test_only_the_streams_asked_for(shipper: Any, viewer: Any) -> None:
    async with following(shipper, viewer, streams=frozenset({"error"})):
        await shipper.ship(shipper.write(3))
        await shipper.ship(shipper.write(2, stream="error"))
        await viewer.until(2)
    assert viewer.seqs == [4, 5]


async def test_cleared_lines_are_given_to_nobody_any_more(shipper: Any, viewer: Any) -> None:
    """Not to who comes back for them, nor by a batch or an answer that was on its way while they were cleared."""
    late = Viewer()
    async with following(shipper, viewer):
        await shipper.ship(shipper.write(5))
        await viewer.until(5)
        source = next(iter(logsource._sources.values()))
        on_its_way = shipper.write(5)
        shipper.cleared = 10
        await asyncio.to_thread(live.publish, f"log:{shipper.container_id}", {"cleared": 10})
        async with asyncio.timeout(60):
            while not source.looks:
                await asyncio.sleep(0.005)
        await shipper.ship(on_its_way)
        await shipper.ship(shipper.write(2))
        async with following(shipper, late, after=2):
            await late.until(2)
            await viewer.until(7)
    assert viewer.seqs == [1, 2, 3, 4, 5, 11, 12] and late.seqs == [11, 12]


async def test_a_node_that_is_away_is_waited_for(shipper: Any, viewer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logfeed, "RETRY_SECONDS", 0.05)
    shipper.write(5)
    await shipper.stop()
    feed = LogFeed(container_id=shipper.container_id, node_id=shipper.node_id, after=0, tail=0, streams=frozenset(), send=viewer.send)
    task = asyncio.create_task(feed.run())
    async with asyncio.timeout(60):
        while not viewer.messages:
            await asyncio.sleep(0.01)
    assert viewer.messages[0]["type"] == "log_waiting"
    await shipper.start()
    await viewer.until(5)
    task.cancel()
    assert viewer.seqs == [1, 2, 3, 4, 5]


async def test_a_link_that_breaks_under_a_question_is_waited_out(shipper: Any, viewer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """R05: the gateway answers such a question with an error; the feed asks again."""
    monkeypatch.setattr(logfeed, "RETRY_SECONDS", 0.02)
    shipper.write(5)
    shipper.refusals = 3
    async with following(shipper, viewer, after=0):
        await viewer.until(5)
    assert viewer.seqs == [1, 2, 3, 4, 5]
