"""Disk use of a container's data folder is in its samples."""

from __future__ import annotations

import pytest

from agent.protocol.messages import Mount
from tests.agent.runtimes.conftest import Bench, until


@pytest.mark.docker
async def test_what_a_container_writes_into_its_folder_is_counted(docker_bench: Bench) -> None:
    container_id = await docker_bench.started("forever", mounts=[Mount(kind="data", target="/data")])
    await docker_bench.runtime.data.write(container_id, "big", b"x" * 300_000)

    async def counted() -> bool:
        samples = await docker_bench.runtime.stats([container_id])
        return bool(samples) and samples[0].disk_bytes >= 300_000

    await until(counted, seconds=60)
