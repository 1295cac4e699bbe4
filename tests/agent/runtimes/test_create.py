"""create: made once, not started, whoever asks twice."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from agent.runtimes.base import RuntimeFailure


async def test_a_created_container_is_reported_and_does_not_run(bench: Any) -> None:
    spec = bench.spec("forever")
    report = await bench.runtime.create(spec, epoch=7, operation_id="op-7")
    assert (report.state, report.epoch, report.operation_id, report.container_id) == ("created", 7, "op-7", spec.container_id)
    assert report.runtime_ref


async def test_a_repeated_create_gives_the_first_one_and_makes_no_twin(bench: Any) -> None:
    """R04: a retry after a death between engine and answer finds by label what the first try made."""
    spec = bench.spec("forever")
    first = await bench.runtime.create(spec, epoch=1, operation_id="op-1")
    after_a_restart = bench.fresh()
    bench.others.append(after_a_restart)
    await after_a_restart.info()
    if bench.kind != "fake":
        await after_a_restart.open(instance=bench.instance)
        second = await after_a_restart.create(spec, epoch=2, operation_id="op-2")
        assert (second.runtime_ref, second.operation_id) == (first.runtime_ref, "op-1")
    again = await bench.runtime.create(spec, epoch=2, operation_id="op-2")
    assert again.operation_id == "op-1"
    assert len(await bench.runtime.list_owned()) == 1


async def test_many_creates_at_once_make_one_container(bench: Any) -> None:
    spec = bench.spec("forever")
    reports = await asyncio.gather(*(bench.runtime.create(spec, epoch=1, operation_id=f"op-{number}") for number in range(8)))
    assert len({report.runtime_ref for report in reports}) == 1
    assert len(await bench.runtime.list_owned()) == 1


async def test_a_missing_image_is_told_apart(docker_bench: Any) -> None:
    spec = docker_bench.spec("forever", image="lormas-test/no-such-image:1")
    with pytest.raises(RuntimeFailure) as caught:
        await docker_bench.runtime.create(spec, epoch=1, operation_id="op-1")
    assert caught.value.code == "no_such_image"
    assert not await docker_bench.runtime.has_image(spec.image)
    assert await docker_bench.runtime.has_image("lormas-test/busybox:1")
    assert await docker_bench.runtime.list_owned() == []


async def test_a_name_that_a_foreign_container_has_is_not_taken_over(docker_bench: Any) -> None:
    spec = docker_bench.spec("forever")
    name = f"lormas-{spec.container_id.replace('-', '')[:12]}-a-test"
    docker_bench.outside("create", "--name", name, spec.image, "true")
    try:
        with pytest.raises(RuntimeFailure) as caught:
            await docker_bench.runtime.create(spec, epoch=1, operation_id="op-1")
        assert caught.value.code == "name_taken"
    finally:
        docker_bench.outside("rm", "-f", name)


async def test_without_a_command_a_process_can_not_be_made(process_bench: Any) -> None:
    with pytest.raises(RuntimeFailure) as caught:
        await process_bench.runtime.create(process_bench.spec("forever", command=[]), epoch=1, operation_id="op-1")
    assert caught.value.code == "invalid_spec"
