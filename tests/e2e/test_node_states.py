"""A real agent falls silent in every way (SECURITY R05-R07, R10): the panel says so in time, never too early, and all is true again afterwards."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from containers.models import Container
from containers.services import NewContainer, create_container
from nodes.models import Node
from tests.e2e.conftest import Stack, engine_containers, in_thread, until, watched
from tests.e2e.stack import IMAGE

pytestmark = [
    pytest.mark.docker,
    pytest.mark.redis,
    pytest.mark.slow,
    pytest.mark.waits,
    pytest.mark.django_db(transaction=True),
    pytest.mark.timeout(200),
]


async def running(user: Any, name: str, node: Node) -> Container:
    node = await in_thread(Node.objects.get, pk=node.pk)
    wish = NewContainer(name=f"{name}-{node.name}", node=node, image=IMAGE, command=["sleep", "3600"], restart_policy="no")
    container, _ = await in_thread(create_container, user=user, actor=user.as_actor(), data=wish)
    await until(lambda: Container.objects.get(pk=container.pk).status == "running", what=f"{name} running")
    made: Container = container
    return made


def sessions_left(stack: Stack) -> list[int]:
    """Epochs of the sessions that the panel has ended."""
    lines = [json.loads(line) for line in stack.panel.said().splitlines() if line.startswith("{")]
    return [line["session_epoch"] for line in lines if line.get("event") == "gateway.left"]


async def freeze(stack: Stack) -> None:
    stack.agent.signal(signal.SIGSTOP)


async def thaw(stack: Stack) -> None:
    stack.agent.signal(signal.SIGCONT)


async def kill(stack: Stack) -> None:
    await asyncio.to_thread(stack.agent.kill)


async def start(stack: Stack) -> None:
    stack.agent.start()


async def swallow(stack: Stack) -> None:
    stack.link.swallow()
    stack.link.blocked = True


async def heal(stack: Stack) -> None:
    stack.link.blocked = False


async def lost_and_found(
    stack: Stack, user: Any, lose: Callable[[Stack], Any], find: Callable[[Stack], Any], seconds: float, measured: Callable[[str, Any], None]
) -> None:
    """Lose an agent: INACTIVE in time; find it again: ACTIVE and true within `seconds`."""
    stays, dies = await running(user, "stays", stack.node), await running(user, "dies", stack.node)
    [engine_id] = await asyncio.to_thread(engine_containers, str(dies.pk))
    await asyncio.sleep(random.uniform(0, 10))  # at any moment between two beats
    async with watched(stack.node, stays) as timeline:
        await lose(stack)
        timeline.mark()
        inactive = await timeline.node("INACTIVE", seconds=42)
        await timeline.container("unknown", seconds=42)
        measured(lose.__name__, timeline.seen)
        first = timeline.since_mark()[0]
        assert 20 <= first[0] <= inactive <= 40, timeline.seen
        assert first[1] == "NOT_READY", timeline.seen
        assert "Nothing heard" in timeline.seen[-1][3]
        await asyncio.to_thread(subprocess.run, ["docker", "kill", engine_id], check=True, capture_output=True, timeout=30)
        await find(stack)
        timeline.mark()
        measured(find.__name__, await timeline.node("ACTIVE", seconds=seconds))
        await timeline.container("running", seconds=seconds)
        await until(lambda: Container.objects.get(pk=dies.pk).status == "stopped", seconds=15, what="the dead one stopped")
        measured(f"{find.__name__}, all true", timeline.now())
        assert timeline.now() <= seconds + 1


async def heals_by_itself(stack: Stack, user: Any, measured: Callable[[str, Any], None]) -> None:
    """A half-open link that could be dialled anew: the agent hears the silence and does that, before the node is lost."""
    stays = await running(user, "stays", stack.node)
    async with watched(stack.node, stays) as timeline:
        stack.link.swallow()
        timeline.mark()
        await until(lambda: Node.objects.filter(pk=stack.node.pk, session_epoch=2).exists(), seconds=45, what="second session")
        measured("healed by itself", timeline.now())
        await timeline.node("ACTIVE", seconds=45)
        assert all(at >= 20 for at, status, _, _ in timeline.since_mark() if status != "ACTIVE"), timeline.seen
        assert timeline.statuses() <= {"ACTIVE", "NOT_READY"}, timeline.seen
        assert {container for _, _, container, _ in timeline.seen} == {"running"}


async def test_lost_agents_are_inactive_within_40_s_never_before_20_and_true_when_they_are_back(
    stack: Stack, alice: Any, tmp_path: Path, measured: Any
) -> None:
    """R05-R07: agents frozen, killed and behind a dead link, all at once. Containers are unknown, then all is known."""
    began = time.monotonic()
    async with (
        stack.beside("two", tmp_path / "two") as two,
        stack.beside("three", tmp_path / "three") as three,
        stack.beside("four", tmp_path / "4") as four,
    ):
        await asyncio.sleep(37 - (time.monotonic() - began))  # a panel judges nobody in its first 35 s
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(lost_and_found(stack, alice, freeze, thaw, 15, measured))
            tasks.create_task(lost_and_found(two, alice, kill, start, 15, measured))
            # Behind a dead link the agent must dial first, and waits up to 20 s between tries.
            tasks.create_task(lost_and_found(three, alice, swallow, heal, 30, measured))
            tasks.create_task(heals_by_itself(four, alice, measured))


async def test_a_new_connection_replaces_a_half_open_one_at_once(stack: Stack, measured: Any) -> None:
    """R06: the panel does not wait until the old one is silent for long."""
    async with watched(stack.node) as timeline:
        stack.link.swallow()
        await asyncio.to_thread(stack.agent.kill)
        stack.panel.mark()
        stack.agent.start()
        began = time.monotonic()
        await until(lambda: Node.objects.filter(pk=stack.node.pk, session_epoch=2).exclude(gateway="").exists(), seconds=10, what="second session")
        measured("second session", time.monotonic() - began)
        while sessions_left(stack) != [1]:
            assert time.monotonic() - began < 10, "the old session is still there"
            await asyncio.sleep(0.1)
        measured("first session ended", time.monotonic() - began)
        await asyncio.sleep(12)  # longer than the beats and signs of life of whatever is left of the old one
        assert sessions_left(stack) == [1]
        assert timeline.statuses() == {"ACTIVE"}


async def test_the_death_of_the_panel_is_no_loss_of_its_nodes(stack: Stack, alice: Any, measured: Any) -> None:
    """R01, R10: away for longer than a node may be silent; agents are back within 30 s, and nobody was called lost."""
    stays = await running(alice, "stays", stack.node)
    async with watched(stack.node, stays) as timeline:
        await asyncio.to_thread(stack.panel.kill)
        await asyncio.sleep(38)
        await asyncio.to_thread(stack.panel.start)
        timeline.mark()
        await until(lambda: Node.objects.filter(pk=stack.node.pk, session_epoch__gte=2).exists(), seconds=30, what="the agent back")
        measured("back", timeline.now())
        await asyncio.sleep(38 - timeline.now())  # over the grace of a panel that has just begun
        measured("seen", timeline.seen)
        assert timeline.since_mark() == []
        assert timeline.seen[-1][1:3] == ("ACTIVE", "running")
