"""A process runtime in a folder of its own; after each test nothing of it may be alive."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from agent.runtimes.base import RuntimeFailure
from agent.runtimes.process import ProcessRuntime
from tests.agent.runtimes.process.rig import INSTANCE, processes, shims, until


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "agent"


@pytest.fixture
async def runtime(data_dir: Path) -> AsyncIterator[ProcessRuntime]:
    made = ProcessRuntime.from_config(data_dir=data_dir)
    await made.open(instance=INSTANCE)
    yield made
    containers = [report.container_id for report in await _listed(made)]
    for container_id in containers:
        await made.remove(container_id)
    await made.close()
    await until(lambda: not shims(data_dir), what="the end of all shims")
    for container_id in containers:
        await until(lambda name=container_id: not processes(name), what=f"the end of {container_id}'s processes")


async def _listed(runtime: ProcessRuntime) -> list:
    with contextlib.suppress(RuntimeFailure):
        return await runtime.list_owned()
    return []
