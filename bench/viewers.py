"""Browsers of the log figures: reads a plan on standard input, follows one container on many sockets, reports counts."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import msgspec
import uvloop
from websockets.asyncio.client import connect

PATIENCE_SECONDS = 170


class Line(msgspec.Struct, array_like=True):
    seq: int
    time: str
    stream: str
    text: str


class Message(msgspec.Struct):
    type: str
    lines: list[Line] = []
    count: int = 0
    id: Any = None


DECODE = msgspec.json.Decoder(Message).decode


def row_of(raw: bytes, last: int) -> int | None:
    """The number of a frame's last line, if the frame holds exactly the lines that follow `last`, one by one; else None: look closer.

    As many separators as numbers between the first and the last line's: a line that is missing, twice or out of its place would show. So a viewer
    costs what a socket costs, and not what it costs Python to make 200,000 objects (a browser does that on a machine of its own).
    """
    if last < 0 or not raw.startswith(b'{"type":"log",'):
        return None
    first_at = raw.find(b'"lines":[[') + 10
    last_at = raw.rfind(b"],[") + 3
    if first_at < 10 or last_at < first_at:
        return None
    first, end = int(raw[first_at : raw.index(b",", first_at)]), int(raw[last_at : raw.index(b",", last_at)])
    return end if first == last + 1 and raw.count(b"],[") == end - first else None


class Viewer:
    def __init__(self, plan: dict[str, Any], token: str) -> None:
        self.plan = plan
        self.token = token
        self.lines = self.skipped = self.twice = 0
        self.ended = 0.0
        self.subscribed = asyncio.Event()

    async def follow(self) -> None:
        async with connect(self.plan["url"], additional_headers={"Authorization": f"Bearer {self.token}"}, compression=None, max_size=None) as socket:
            await socket.send(json.dumps({"type": "subscribe_logs", "container_id": self.plan["container_id"], "tail": 0, "stream": "application"}))
            last = -1  # of a line that was counted
            while self.lines + self.skipped < self.plan["lines"]:
                raw = await socket.recv(decode=False)
                found = row_of(raw, last)
                if found is not None:
                    self.lines += found - last
                    last = found
                    continue
                message = DECODE(raw)
                if message.type == "log":
                    for line in message.lines:
                        if line.stream != "application":
                            continue
                        if line.seq <= last:
                            self.twice += 1
                            continue
                        last = line.seq
                        self.lines += 1
                elif message.type == "skipped":
                    self.skipped += message.count
                elif message.type == "ping":
                    await socket.send(json.dumps({"type": "pong", "reply_to": message.id}))
                elif message.type == "subscribed":
                    self.subscribed.set()
                elif message.type == "error":
                    raise RuntimeError(str(message))
            self.ended = time.perf_counter()


async def main() -> None:
    plan = json.loads(sys.stdin.readline())
    viewers = [Viewer(plan, token) for token in plan["tokens"]]
    tasks = [asyncio.create_task(viewer.follow()) for viewer in viewers]
    ready = asyncio.gather(*(viewer.subscribed.wait() for viewer in viewers))
    await asyncio.wait([ready, *tasks], timeout=30, return_when=asyncio.FIRST_COMPLETED)
    if not ready.done():
        raise SystemExit("not all subscribed")
    await asyncio.sleep(1.5)  # the agent begins to ship
    print("ready", flush=True)
    await asyncio.wait_for(asyncio.gather(*tasks), PATIENCE_SECONDS)
    # perf_counter is the machine's monotonic clock on Linux: comparable between processes
    print(
        json.dumps(
            {
                "lines": [v.lines for v in viewers],
                "skipped": [v.skipped for v in viewers],
                "twice": [v.twice for v in viewers],
                "ended": [v.ended for v in viewers],
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    uvloop.run(main())
