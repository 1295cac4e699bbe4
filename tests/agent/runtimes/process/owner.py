"""A small agent without a panel, made to be killed: starts a container if there is none and stores its output until the end of its life."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import msgspec

from agent.logs import LogService
from agent.protocol.messages import ContainerSpec
from agent.runtimes.process import ProcessRuntime
from tests.agent.runtimes.process.rig import INSTANCE


async def main(data_dir: Path, spec_file: Path) -> None:
    spec = msgspec.json.decode(spec_file.read_bytes(), type=ContainerSpec)
    runtime = ProcessRuntime.from_config(data_dir=data_dir)
    await runtime.open(instance=INSTANCE)
    logs = LogService(data_dir / "logs", runtime=runtime)
    report = await runtime.create(spec, epoch=1, operation_id="op-1")
    await logs.attach(spec.container_id)
    if report.state == "created":
        await runtime.start(spec.container_id)
    sys.stdout.write("up\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
