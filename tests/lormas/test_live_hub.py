"""Who watches what, over all processes: frames that nobody waits for are not made (nodes.gateway.samples)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from lormas.common import live

pytestmark = pytest.mark.redis


async def test_viewers_of_every_process_are_known_and_only_while_they_look() -> None:
    ours, theirs = live.Hub(), live.Hub()  # each as one process has it
    try:
        here = await ours.tap("stats:here")
        there = await theirs.tap("stats:there")
        other = await theirs.tap("log:there")
        assert await ours.watched_anywhere("stats:") == {"stats:here", "stats:there"}
        assert await theirs.watched_anywhere("log:") == {"log:there"}
        await there.close()
        await other.close()
        assert await ours.watched_anywhere("stats:") == {"stats:here"}
        await here.close()
        assert await ours.watched_anywhere("stats:") == set()
    finally:
        await ours.close()
        await theirs.close()


async def test_without_a_broker_the_viewers_of_this_process_are_still_served(settings: Any) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    hub = live.Hub()
    try:
        tap = await hub.tap("stats:here")
        assert await hub.watched_anywhere("stats:") == {"stats:here"}
        await hub.publish("stats:here", b"one")
        assert await tap.get(5) == b"one"
    finally:
        await hub.close()


@pytest.mark.parametrize("steps", range(6))
async def test_a_viewer_that_is_cancelled_as_something_comes_goes(steps: int) -> None:
    """However close together the two are: a relay that stays waits on for a socket that is gone, and the other end is never told (R16)."""
    hub = live.Hub()
    try:
        tap = await hub.tap("bulk:x:down")

        async def relay() -> None:
            while True:
                await tap.get(600)

        task = asyncio.create_task(relay())
        await asyncio.sleep(0.01)
        hub.publish_here("bulk:x:down", b"credit")
        for _ in range(steps):
            await asyncio.sleep(0)
        task.cancel()
        done, _ = await asyncio.wait({task}, timeout=10)
        assert task in done and task.cancelled()
    finally:
        task.cancel()
        await hub.close()
