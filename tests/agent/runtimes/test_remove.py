"""remove: kills, takes its data unless told otherwise; gone is success."""

from __future__ import annotations

from typing import Any

from agent.protocol.messages import Mount
from agent.runtimes.base import ResumePoint

DATA = [Mount(kind="data", target="/data")]


async def test_a_running_one_is_killed_and_removed(bench: Any) -> None:
    container_id = await bench.started("stubborn")
    await bench.runtime.remove(container_id)
    assert await bench.runtime.inspect(container_id) is None
    assert await bench.runtime.list_owned() == []


async def test_removing_what_is_gone_is_success(bench: Any) -> None:
    container_id = await bench.create("forever")
    await bench.runtime.remove(container_id)
    await bench.runtime.remove(container_id)
    await bench.runtime.remove("5b6ae3c1-0000-4000-8000-000000000000")


async def test_data_outlives_a_recreate_only_if_kept(real_bench: Any, collect: Any) -> None:
    spec = real_bench.spec("forever", mounts=DATA, working_dir="/data", command=["sh", "-c", "ls; touch kept; exit 0"])
    runtime = real_bench.runtime

    async def again(*, keep_data: bool) -> bytes:
        await runtime.remove(spec.container_id, keep_data=keep_data)
        await runtime.create(spec, epoch=1, operation_id="op-1")
        reader = await runtime.output(spec.container_id, ResumePoint())
        await runtime.start(spec.container_id)
        return (await collect(reader))["stdout"]

    assert await again(keep_data=True) == b""
    assert await again(keep_data=True) == b"kept\n"
    assert await again(keep_data=False) == b""
