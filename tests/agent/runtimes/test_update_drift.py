"""Limits changed in place, and what somebody changed by hand on the engine."""

from __future__ import annotations

import msgspec
import pytest

from agent.protocol.messages import Limits
from agent.runtimes.base import RuntimeFailure
from tests.agent.runtimes.conftest import Bench

MIB = 1024 * 1024


async def test_limits_change_under_a_running_program_or_the_runtime_says_that_it_cant(bench: Bench) -> None:
    spec = bench.spec("forever", limits=Limits(cpus=0.5, memory_bytes=64 * MIB, pids=100))
    await bench.runtime.create(spec, epoch=1, operation_id="op-1")
    begun = await bench.runtime.start(spec.container_id)
    wider = msgspec.structs.replace(spec, limits=Limits(cpus=1, memory_bytes=96 * MIB, pids=200))
    if "update" not in bench.runtime.capabilities:
        with pytest.raises(RuntimeFailure) as refusal:
            await bench.runtime.update(wider)
        assert refusal.value.code == "unsupported"
        return
    after = await bench.runtime.update(wider)
    assert (after.state, after.started_at) == ("running", begun.started_at)
    assert await bench.runtime.drift(wider) == []
    assert {one.field for one in await bench.runtime.drift(spec)} == {"cpus", "memory_bytes", "pids"}


async def test_a_container_is_as_its_spec_makes_it_until_one_of_both_changes(bench: Bench) -> None:
    spec = bench.spec("forever", env={"COLOUR": "blue"}, labels={"team": "red"})
    await bench.runtime.create(spec, epoch=1, operation_id="op-1")
    assert await bench.runtime.drift(spec) == []
    other = msgspec.structs.replace(spec, env={"COLOUR": "green", "NEW": "1"}, labels={})
    found = {one.field: (one.wanted, one.running) for one in await bench.runtime.drift(other)}
    assert found == {"env.COLOUR": ("green", "blue"), "env.NEW": ("1", None), "labels.team": (None, "red")}
    with pytest.raises(RuntimeFailure) as refusal:
        await bench.runtime.drift(bench.spec("forever"))
    assert refusal.value.code == "no_such_container"


@pytest.mark.docker
async def test_a_hand_on_the_engine_is_seen(docker_bench: Bench) -> None:
    spec = docker_bench.spec("forever", limits=Limits(cpus=0.5, memory_bytes=64 * MIB))
    report = await docker_bench.runtime.create(spec, epoch=1, operation_id="op-1")
    docker_bench.outside("update", "--cpus", "0.25", report.runtime_ref)
    assert [(one.field, one.wanted, one.running) for one in await docker_bench.runtime.drift(spec)] == [("cpus", 0.5, 0.25)]
    await docker_bench.runtime.update(spec)
    assert await docker_bench.runtime.drift(spec) == []


@pytest.mark.docker
async def test_an_engine_that_refuses_limits_says_why(docker_bench: Bench) -> None:
    spec = docker_bench.spec("forever", limits=Limits(memory_bytes=64 * MIB))
    with pytest.raises(RuntimeFailure) as refusal:
        await docker_bench.runtime.update(spec)
    assert refusal.value.code == "no_such_container"
