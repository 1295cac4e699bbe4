"""The meter beside a real engine's own count."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest
from asgiref.sync import sync_to_async
from django.db.models import Sum

from agent.protocol.messages import ContainerSpec, NodeUsage, StatsReport
from billing.models import UsageHour
from containers import stats
from containers.models import Container
from nodes.models import Node
from tests.agent.runtimes.conftest import docker_bench, until

__all__ = ["docker_bench"]

pytestmark = [pytest.mark.redis, pytest.mark.django_db(transaction=True)]
BURN = "i=0; while [ $i -lt 400000 ]; do i=$((i+1)); done; echo burnt; exec sleep 3600"


async def _engines_count(bench: Any, container_id: str) -> float:
    """Core-seconds of its cgroup, as the engine tells them; not the way that the agent reads them."""
    ref = (await bench.runtime.inspect(container_id)).runtime_ref
    item = await bench.runtime._wire.call("GET", f"/containers/{ref}/stats", query={"stream": 0, "one-shot": 1}, timeout=20)
    return float(item["cpu_stats"]["cpu_usage"]["total_usage"]) / 1e9


async def test_what_a_real_container_burns_is_what_its_cgroup_says(running: Container, node: Node, docker_bench: Any) -> None:
    """R51: two runs with a restart between them, reports lost in the midst of each; CPU within 1 % of the engine's own count of both."""
    spec: ContainerSpec = msgspec.structs.replace(docker_bench.spec(command=["sh", "-c", BURN]), container_id=str(running.pk))
    docker_bench.made.append(spec.container_id)
    runtime, key = docker_bench.runtime, spec.container_id
    take_in = sync_to_async(stats.take_in)

    async def sample() -> Any:
        return next(iter(await runtime.stats([key])), None)

    async def report() -> None:
        found = await until(sample)
        await take_in(node.pk, StatsReport(sampled_at_unix=time.time(), node=NodeUsage(), containers=[found]))

    async def burnt() -> bool:
        """It sleeps: its count stands still."""
        before = await _engines_count(docker_bench, key)
        return before > 0.3 and await _engines_count(docker_bench, key) == before

    await runtime.create(spec, epoch=1, operation_id="op-1")
    truth = 0.0
    for _ in range(2):
        await runtime.start(key)
        await report()
        await until(burnt, seconds=120, what="the end of the loop")
        await report()
        await report()
        truth += await _engines_count(docker_bench, key)
        await runtime.kill(key)
        await docker_bench.ended(key)
    counted = await sync_to_async(lambda: UsageHour.objects.aggregate(cpu=Sum("cpu_core_seconds"))["cpu"])()
    assert truth > 0.6
    assert counted == pytest.approx(truth, rel=0.01)
