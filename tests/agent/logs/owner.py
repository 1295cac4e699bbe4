"""A process that owns the logs of one container, to be killed: `owner.py <kind> <folder> <instance> <container id> [start]`."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from agent.logs import LogService
from agent.runtimes.base import Runtime
from agent.runtimes.docker import DockerRuntime
from agent.runtimes.process import ProcessRuntime


async def main(kind: str, folder: Path, instance: str, container_id: str, act: str = "") -> None:
    runtime: Runtime = DockerRuntime() if kind == "docker" else ProcessRuntime(root=folder / "process")
    await runtime.info()
    await runtime.open(instance=instance)
    logs = LogService(folder / "logs", runtime=runtime)
    await logs.resume_all([container_id])
    if act == "start":
        await runtime.start(container_id)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    while not await logs.drained(container_id, timeout=60):
        pass
    sys.stdout.write("drained\n")
    sys.stdout.flush()
    await logs.close()
    await runtime.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:]))
