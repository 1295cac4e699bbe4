"""Many light agents in one process: hello, then heartbeats. They run nothing."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import sys
import time

import msgspec
import uvloop
from websockets.asyncio.client import connect

from agent.protocol.messages import PROTOCOL_MINIMUM, PROTOCOL_VERSION, Heartbeat, Hello, NodeFacts, NodeUsage

ENCODE = msgspec.json.encode
AT_A_TIME = 40


async def agent(url: str, token: str, number: int, gate: asyncio.Semaphore, welcomed: asyncio.Event) -> None:
    async with gate:
        socket = await connect(url, additional_headers={"Authorization": f"Bearer {token}"}, compression=None, open_timeout=60, ping_interval=None)
        facts = NodeFacts(
            hostname=f"idle-{number}",
            cpu_cores=4,
            total_memory_bytes=8 * 1024**3,
            total_storage_bytes=10**11,
            container_runtime="fake://1",
            runtime_kind="fake",
        )
        hello = Hello(
            protocol=PROTOCOL_VERSION, protocol_minimum=PROTOCOL_MINIMUM, agent_version="0.1.0", instance_id=f"idle-{number}", facts=facts,
            capabilities=["events"], containers_complete=True,
        )  # fmt: skip
        await socket.send(ENCODE(hello).decode())
        answer = json.loads(await socket.recv())
        if answer["type"] != "welcome":
            raise SystemExit(f"refused: {answer}")
        welcomed.set()
    beat = float(answer.get("heartbeat_seconds", 10))

    async def listen() -> None:
        async for _ in socket:
            pass

    listener = asyncio.create_task(listen())
    await asyncio.sleep(random.uniform(0, beat))
    for seq in itertools.count(1):
        await socket.send(ENCODE(Heartbeat(seq=seq, sent_at_unix=time.time(), usage=NodeUsage(cpu_percent=3.0))).decode())
        await asyncio.sleep(beat)
        if listener.done():
            return


async def main() -> None:
    plan = json.loads(sys.stdin.readline())
    gate = asyncio.Semaphore(AT_A_TIME)
    events = [asyncio.Event() for _ in plan["tokens"]]
    tasks = [
        asyncio.create_task(agent(plan["url"], token, index, gate, event))
        for index, (token, event) in enumerate(zip(plan["tokens"], events, strict=True))
    ]
    everybody = asyncio.gather(*(event.wait() for event in events))
    await asyncio.wait([everybody, *tasks], return_when=asyncio.FIRST_COMPLETED)
    if not everybody.done():
        for task in tasks:
            if task.done():
                task.result()
        raise SystemExit("an agent left")
    print("ready", flush=True)
    await asyncio.gather(*tasks)


if __name__ == "__main__":
    uvloop.run(main())
