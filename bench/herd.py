"""Many whole agents in one process, each with the shipped fake runtime: all that an agent does, but no containers are made (for `bench.load`)."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
from pathlib import Path

import uvloop

AT_A_TIME = 20


async def one(plan: dict[str, str], number: int, token: str, gate: asyncio.Semaphore) -> None:
    from agent.config import Config
    from agent.engines import make
    from agent.logs import LogService
    from agent.program import Agent

    folder = Path(plan["folder"], f"agent-{number}")
    folder.mkdir(parents=True)
    settings = Config(data_dir=folder, panel_url=plan["url"], token=token, runtime="fake", instance_id=f"herd-{plan['name']}-{number}")
    runtime = make("fake", settings)
    agent = Agent(settings, runtime=runtime, logs=LogService(folder / "logs", runtime=runtime))
    async with gate:
        work = asyncio.ensure_future(agent.run())
        await asyncio.sleep(0.2)
    await work


async def main() -> None:
    plan = json.loads(sys.stdin.readline())
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gate = asyncio.Semaphore(AT_A_TIME)
    await asyncio.gather(*(one(plan, number, token, gate) for number, token in enumerate(plan["tokens"])))


if __name__ == "__main__":
    os.environ["LORMAS_TESTING"] = "1"
    uvloop.run(main())
