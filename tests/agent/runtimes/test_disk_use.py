"""Disk use of a container's data folder is in its samples."""

from __future__ import annotations

import msgspec
import pytest

from agent.protocol.messages import ContainerStats, Mount
from tests.agent.runtimes.conftest import Bench, until


@pytest.mark.docker
async def test_what_a_container_writes_into_its_folder_is_counted(docker_bench: Bench) -> None:
    container_id = await docker_bench.started("forever", mounts=[Mount(kind="data", target="/data")])
    await docker_bench.runtime.data.write(container_id, "big", b"x" * 300_000)

    first = await docker_bench.runtime.stats([container_id])
    assert [one.disk_bytes for one in first] == [None], "nobody has walked it yet: that is not known, and not 0"

    async def counted() -> bool:
        samples = await docker_bench.runtime.stats([container_id])
        return bool(samples) and (samples[0].disk_bytes or 0) >= 300_000

    await until(counted, seconds=60)


@pytest.mark.docker
async def test_a_container_without_a_folder_takes_nothing(docker_bench: Bench) -> None:
    container_id = await docker_bench.started("forever")

    async def known() -> bool:
        (sample,) = await docker_bench.runtime.stats([container_id])
        assert sample.disk_bytes in (None, 0)
        return sample.disk_bytes == 0

    await until(known, seconds=60)


def test_on_the_wire_unknown_and_nothing_are_two_things_also_beside_older_programs() -> None:
    """An older agent leaves out its 0, which may mean either: that is not known. An older panel reads what is left out as 0, as it always did."""
    for disk in (None, 0, 5):
        raw = msgspec.json.encode(ContainerStats(container_id="c", disk_bytes=disk))
        assert msgspec.json.decode(raw, type=ContainerStats).disk_bytes == disk
        assert (b"disk_bytes" in raw) is (disk is not None)
    assert msgspec.json.decode(b'{"container_id":"c","pids":1}', type=ContainerStats).disk_bytes is None
