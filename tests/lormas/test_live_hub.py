"""Who watches what, over all processes: frames that nobody waits for are not made (nodes.gateway.samples)."""

from __future__ import annotations

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
