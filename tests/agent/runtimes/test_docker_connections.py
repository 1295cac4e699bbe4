"""Connections to the engine are as many as there is work, not as many as there once was (SECURITY R53)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from agent.protocol.messages import StopSpec

pytestmark = pytest.mark.docker


def sockets() -> set[str]:
    """The inodes of this process's open sockets."""
    found = set()
    for file in Path("/proc/self/fd").iterdir():
        try:
            target = os.readlink(file)
        except FileNotFoundError:  # the listing's own
            continue
        if target.startswith("socket:"):
            found.add(target)
    return found


async def test_a_container_that_is_gone_leaves_no_connection_behind(docker_bench: Any, poll: Any) -> None:
    """R53: start, pause, kill and removal go through the SDK, which would keep a connection for every address it ever asked."""
    await docker_bench.runtime.list_owned()
    before = sockets()
    for _ in range(3):
        container_id = await docker_bench.started("forever")
        await docker_bench.runtime.pause(container_id)
        await docker_bench.runtime.stop(container_id, StopSpec(grace_seconds=0))
        await docker_bench.runtime.remove(container_id)

    async def closed() -> bool:
        return sockets() <= before

    await poll(closed, what="all connections are closed")
