"""The engine ends, dies and hangs under the agent (SECURITY R12, R13): what the panel says is true all the while, and what should run runs again."""

from __future__ import annotations

import asyncio
import os
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from accounts.services import sign_in
from containers.models import Container
from containers.services import NewContainer, PortWish, create_container
from tests.conftest import REQUIRED
from tests.e2e.conftest import Stack, in_thread, running_stack, served, until, watched
from tests.e2e.second_engine import SecondEngine, cannot, second_engine
from tests.e2e.stack import IMAGE, LogReader, WorkerProcess, reading

pytestmark = [pytest.mark.docker, pytest.mark.redis, pytest.mark.slow, pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]

COUNTING = """
echo run >> /data/runs
cp /data/runs /data/index.html
httpd -p 8080 -h /data
trap 'exit 143' TERM
i=0; while :; do i=$((i+1)); echo line $i; sleep 0.2; done
"""
"""Serves how often it was started, counts aloud, and obeys SIGTERM."""


def engine_or_skip() -> None:
    why = cannot()
    if not why:
        return
    if "docker" in REQUIRED and os.geteuid() == 0:
        pytest.fail(f"LORMAS_REQUIRE names docker, but: {why}")
    pytest.skip(why)


@pytest.fixture
def engine(request: pytest.FixtureRequest) -> Iterator[SecondEngine]:
    engine_or_skip()
    with second_engine(live_restore=getattr(request, "param", False)) as made:
        yield made


@pytest.fixture
async def stack(transactional_db: None, engine: SecondEngine, worker: WorkerProcess, tmp_path: Path) -> AsyncIterator[Stack]:
    async with running_stack(tmp_path, DOCKER_HOST=engine.host) as built:
        yield built


async def running(user: Any, name: str, script: str, **fields: Any) -> Container:
    """A container that runs, with a folder for data."""
    wish = NewContainer(name=name, **{"image": IMAGE, "command": ["sh", "-c", script], "mounts": [{"kind": "data", "target": "/data"}], **fields})
    container, operation = await in_thread(create_container, user=user, actor=user.as_actor(), data=wish)
    await until(lambda: type(operation).objects.get(pk=operation.pk).status == "succeeded", what=f"{name} made")
    await until(lambda: Container.objects.get(pk=container.pk).status == "running", what=f"{name} running")
    made: Container = await in_thread(lambda: Container.objects.get(pk=container.pk))
    return made


async def page(engine: SecondEngine, container: Container, *, seconds: float = 20) -> bytes:
    return await served(await in_thread(lambda: container.ports.get().host_port), engine.address, seconds=seconds)


async def fresh(container: Container) -> Container:
    found: Container = await in_thread(lambda: Container.objects.get(pk=container.pk))
    return found


@pytest.mark.parametrize("how", ["terminate", "kill"])
async def test_containers_that_die_with_their_engine_come_back_with_it(
    stack: Stack, engine: SecondEngine, alice: Any, how: str, measured: Any
) -> None:
    """R12: NOT_READY with the engine's reason within 15 s, and within 30 s of the engine's return they run again, once, on the same data."""
    web = await running(alice, "web", COUNTING, restart_policy="unless-stopped", ports=[PortWish(8080)])
    once = await running(alice, "once", "trap 'exit 143' TERM; while :; do sleep 0.2; done", restart_policy="no")
    assert await page(engine, web) == b"run\n"
    async with watched(stack.node, web) as timeline:
        began = time.monotonic()
        await asyncio.to_thread(getattr(engine, how))
        gone = time.monotonic() - began
        timeline.mark()
        measured("not_ready", gone + await timeline.node("NOT_READY", seconds=15 - gone))
        reason = timeline.seen[-1][3]
        assert "engine" in reason.lower() and str(engine.socket) in reason, reason
        assert (await fresh(web)).status in ("running", "stopped", "crashed")
        await asyncio.to_thread(engine.start)
        timeline.mark()
        measured("active", await timeline.node("ACTIVE", seconds=15))
        await until(
            lambda: Container.objects.filter(pk=web.pk, started_at__gt=web.started_at).exists(), seconds=30 - timeline.now(), what="started again"
        )
        measured("running", await timeline.container("running", seconds=30))
        measured("seen", timeline.seen)
    assert await page(engine, web) == b"run\nrun\n", "the same data, one start"
    assert len(await asyncio.to_thread(engine.containers, str(web.pk))) == 1
    stays = await fresh(once)
    assert (stays.status, stays.status_reason) == ("stopped", "Stopped with its engine.")
    assert not (await asyncio.to_thread(engine.state, str(once.pk)))["Running"]


@pytest.mark.parametrize("engine", [True], indirect=True, ids=["live-restore"])
@pytest.mark.parametrize("how", ["terminate", "kill"])
async def test_containers_that_outlive_their_engine_are_left_alone(stack: Stack, engine: SecondEngine, alice: Any, how: str, measured: Any) -> None:
    """R12: the node says NOT_READY, its containers run on, and afterwards all is as before: the same process, its log without a hole."""
    token = (await in_thread(sign_in, alice, address=None, user_agent="test")).access
    web = await running(alice, "web", COUNTING, restart_policy="unless-stopped", ports=[PortWish(8080)])
    before = await asyncio.to_thread(engine.state, str(web.pk))
    async with reading(LogReader(url=stack.panel.url, token=token, container_id=str(web.pk))) as reader, watched(stack.node, web) as timeline:
        await reader.until(10)
        timeline.mark()
        await asyncio.to_thread(getattr(engine, how))
        measured("not_ready", await timeline.node("NOT_READY", seconds=15))
        timeline.mark()
        await asyncio.to_thread(engine.start)
        measured("active", await timeline.node("ACTIVE", seconds=15))
        back = len(reader.numbers)
        await reader.until(len(reader.lines) + 20)
        measured("seen", timeline.seen)
        assert {container for _, _, container, _ in timeline.seen} == {"running"}
    numbers = reader.numbers
    assert numbers == list(range(1, numbers[-1] + 1)), "each line once, none lost"
    assert len(numbers) > back
    after = await asyncio.to_thread(engine.state, str(web.pk))
    assert (after["Pid"], after["StartedAt"]) == (before["Pid"], before["StartedAt"])
    assert await page(engine, web, seconds=0) == b"run\n"
    assert (await fresh(web)).started_at == web.started_at


async def test_an_engine_that_hangs_makes_not_ready_and_nothing_else(stack: Stack, engine: SecondEngine, alice: Any, measured: Any) -> None:
    """R13: twenty seconds of SIGSTOP. The panel answers, the agent keeps its threads and files, and afterwards all is true again."""
    web = await running(alice, "web", COUNTING, restart_policy="unless-stopped", ports=[PortWish(8080)])
    token = (await in_thread(sign_in, alice, address=None, user_agent="test")).access
    await asyncio.sleep(5)  # until it has sampled, and its pools are grown
    threads, files = stack.agent.threads(), stack.agent.files()

    def ask() -> float:
        began = time.monotonic()
        asked = urllib.request.Request(f"{stack.panel.url}/api/v1/containers", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(asked, timeout=10) as answer:
            assert answer.status == 200
        return time.monotonic() - began

    async with watched(stack.node, web) as timeline:
        timeline.mark()
        await asyncio.to_thread(engine.freeze)
        slowest, most = 0.0, 0
        try:
            while timeline.now() < 20:
                slowest = max(slowest, await asyncio.to_thread(ask))
                most = max(most, stack.agent.threads())
                await asyncio.sleep(0.5)
            assert timeline.statuses() == {"ACTIVE", "NOT_READY"}, timeline.seen
            measured("not_ready", timeline.since_mark()[0][0])
            assert timeline.since_mark()[0][0] <= 15
            assert "did not answer within" in timeline.seen[-1][3], timeline.seen
        finally:
            await asyncio.to_thread(engine.thaw)
        timeline.mark()
        measured("active", await timeline.node("ACTIVE", seconds=15))
        measured("slowest_answer", slowest)
        await asyncio.sleep(3)
        assert {container for _, _, container, _ in timeline.seen} == {"running"}
    measured("threads", (threads, most, stack.agent.threads()))
    assert slowest < 2
    assert most <= threads + 8, "the pool of lifecycle calls is bounded"
    assert stack.agent.threads() <= threads + 2
    assert stack.agent.files() <= files + 4
    assert await page(engine, web, seconds=0) == b"run\n"
