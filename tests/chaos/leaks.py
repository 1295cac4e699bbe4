"""What a process holds: threads, open files, sockets. What grows with work and does not go back is a leak (SECURITY R53)."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from tests.chaos.people import Client, Person
from tests.chaos.world import World

SLACK = 12
"""Pools that fill, caches, a connection that is being closed."""


def held(pids: dict[str, int]) -> dict[str, tuple[int, int]]:
    """Of each process: threads, open files."""
    return {name: (len(list(Path(f"/proc/{pid}/task").iterdir())), len(list(Path(f"/proc/{pid}/fd").iterdir()))) for name, pid in pids.items()}


def pids(world: World) -> dict[str, int]:
    assert world.agent.process is not None
    return {"web": world.panel.pid("web"), "worker": world.panel.pid("worker"), "agent": world.agent.process.pid}


async def work(client: Client, people: list[Person], *, steps: int) -> None:
    """Each person does so many things and deletes what is left of them: a container that runs is followed, and that takes files open."""

    async def one(person: Person) -> None:
        for _ in range(steps):
            await person._step()
        await person.leave()

    await asyncio.gather(*(one(person) for person in people))


async def kept(world: World, before: dict[str, tuple[int, int]], *, seconds: float = 30) -> list[str]:
    """What has grown and stays so: a connection that is just being closed is no leak."""
    end = time.monotonic() + seconds
    while (found := grown(before, held(pids(world)))) and time.monotonic() < end:
        await asyncio.sleep(0.5)
    return found


def grown(before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> list[str]:
    """Findings in words."""
    return [
        f"{name} holds {now} {what} after the work, {then} before"
        for name in before
        for what, then, now in zip(("threads", "open files"), before[name], after[name], strict=True)
        if now > then + SLACK
    ]
