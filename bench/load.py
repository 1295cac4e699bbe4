"""`make load`: a fleet on one small machine. 200 agents, 2,000 containers, 50 people who read logs, 20 requests a second, for minutes.

Agents are whole ones with the fake runtime (`bench.herd`), so panel, worker, Redis, 200 agents and all clients share the cores. Requests are sent
by the clock and not one after the other: a slow answer does not make the next one wait, and its waiting counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import aiohttp

from bench.figures import Figure, median, percentile, text
from bench.panel import ROOT, Panel, memory_bytes, panel, private_bytes, processor_seconds

HERDS = 2
TALKERS = 10
"""Containers that write a line a second, for the people who read."""
TALK = ["print tick", "sleep 1"] * 900
QUIET = ["print hello"]
READS = (
    "/api/nodes?page_size=25",
    "/api/nodes/stats",
    "/api/nodes/{node}",
    "/api/containers?page_size=25",
    "/api/containers/{container}",
    "/api/containers/{container}/logs?tail=20",
    "/api/containers/{container}/stats",
    "/api/operations?page_size=10",
)
WRITES = ("restart", "stop", "start")
SAMPLE_SECONDS = 5
MOVES = """
from nodes.models import NodeEvent
moves = NodeEvent.objects.filter(pk__gt=values["after"], kind="status")
answer = sorted(moves.values_list("pk", "before", "after", "message"))
"""
REQUEST_SECONDS = 30


class Load:
    """The plan and what was seen."""

    def __init__(self, given: argparse.Namespace, found: Panel, key: str) -> None:
        self.given = given
        self.panel = found
        self.key = key
        self.dice = random.Random(given.seed)
        self.containers: list[str] = []
        self.nodes: list[str] = []
        self.reads: list[float] = []
        self.writes: list[float] = []
        self.codes: Counter[str] = Counter()
        self.memory: list[tuple[float, int, int]] = []
        """When, and the private bytes of web and worker."""
        self.whole = 0
        """Bytes of both at the end, with mapped files."""
        self.used: list[tuple[float, float]] = []
        """Processor seconds of web and worker: before and after the making, and at the end."""
        self.away: list[dict[str, int]] = []

    # -------------------------------------------------------------------------------------------------------------- setup

    async def until(self, what: str, question: Any, *, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not await question():
            if time.monotonic() > end:
                raise RuntimeError(f"not within {seconds} s: {what}")
            await asyncio.sleep(1)

    async def get(self, session: aiohttp.ClientSession, path: str) -> Any:
        async with session.get(self.url + path) as answer:
            if answer.status != 200:
                raise RuntimeError(f"{path}: {answer.status} {(await answer.text())[:300]}")
            return await answer.json()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.panel.port}"

    async def make_containers(self, session: aiohttp.ClientSession) -> None:
        gate = asyncio.Semaphore(8)
        made: dict[int, str] = {}

        async def one(number: int) -> None:
            body = {
                "name": f"load-{number}", "image": "load:1", "command": TALK if number < TALKERS else QUIET, "restart_policy": "no",
                "limits": {"cpus": 0.01, "memory_bytes": 8 * 1024**2},
            }  # fmt: skip
            async with gate, session.post(f"{self.url}/api/containers", json=body) as answer:
                if answer.status not in (201, 202):
                    raise RuntimeError(f"create: {answer.status} {(await answer.text())[:300]}")
                made[number] = str((await answer.json())["id"])

        await one(0)
        await asyncio.gather(*(one(number) for number in range(1, self.given.containers)))
        self.containers = [made[number] for number in sorted(made)]

        async def all_run() -> bool:
            return int((await self.get(session, "/api/containers?status=running&page_size=1"))["count"]) == int(self.given.containers)

        await self.until("all containers run", all_run, seconds=300)

    # ------------------------------------------------------------------------------------------------------------ the load

    async def ask(self, session: aiohttp.ClientSession) -> None:
        container, node = self.dice.choice(self.containers[TALKERS:]), self.dice.choice(self.nodes)
        write = self.dice.random() < self.given.writes
        path = f"/api/containers/{container}/{self.dice.choice(WRITES)}" if write else self.dice.choice(READS).format(container=container, node=node)
        begun = time.perf_counter()
        try:
            async with session.request("POST" if write else "GET", self.url + path, json={} if write else None) as answer:
                await answer.read()
                code = str(answer.status)
        except (aiohttp.ClientError, TimeoutError) as error:
            code = type(error).__name__
        (self.writes if write else self.reads).append((time.perf_counter() - begun) * 1000)
        # A container that is busy or already so is refused: that is an answer, and as dear as a yes.
        self.codes["write " + code if write else "read " + code] += 1

    async def keep_asking(self, session: aiohttp.ClientSession, end: float) -> None:
        due = time.monotonic()
        tasks = set()
        while due < end:
            due += 1 / self.given.rate
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            task = asyncio.create_task(self.ask(session))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)

    async def sample(self, session: aiohttp.ClientSession, end: float) -> None:
        web, worker = self.panel.pid("web"), self.panel.pid("worker")
        begun = time.monotonic()
        while time.monotonic() < end:
            self.memory.append((time.monotonic() - begun, *await asyncio.to_thread(lambda: (private_bytes(web), private_bytes(worker)))))
            await asyncio.sleep(SAMPLE_SECONDS)
        self.whole = await asyncio.to_thread(lambda: memory_bytes(web) + memory_bytes(worker))

    def note_use(self) -> None:
        self.used.append((processor_seconds(self.panel.pid("web")), processor_seconds(self.panel.pid("worker"))))

    async def view(self, token: str, number: int, end: float, seen: list[int]) -> None:
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
            async with session.ws_connect(self.url.replace("http", "ws", 1) + "/ws", max_msg_size=0) as socket:
                await socket.send_json({"type": "subscribe_logs", "container_id": self.containers[number % TALKERS], "tail": 0})
                while (left := end - time.monotonic()) > 0:
                    try:
                        frame = await socket.receive(timeout=left)
                    except TimeoutError:
                        return
                    if frame.type is not aiohttp.WSMsgType.TEXT:
                        raise RuntimeError(f"a log viewer was put out: {frame}")
                    message = json.loads(frame.data)
                    if message.get("type") == "log":
                        seen[number] += len(message["lines"])
                    elif message.get("type") == "error":
                        raise RuntimeError(f"a log viewer was refused: {message}")
                    elif message.get("type") == "ping":
                        await socket.send_json({"type": "pong", "reply_to": message["id"]})


def fleet(found: Panel, folder: Path, count: int) -> list[subprocess.Popen[str]]:
    """`count` agents in HERDS processes."""
    tokens = found.node_tokens(count)
    herds = []
    for number in range(HERDS):
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.herd"], cwd=ROOT, stdin=subprocess.PIPE, text=True, stdout=subprocess.DEVNULL,
            stderr=(folder / f"herd-{number}.log").open("w"), env={**os.environ, "LORMAS_TESTING": "1"},
        )  # fmt: skip
        assert process.stdin is not None
        plan = {
            "name": str(number),
            "url": f"http://127.0.0.1:{found.port}",
            "folder": str(folder / f"herd-{number}"),
            "tokens": tokens[number::HERDS],
        }
        process.stdin.write(json.dumps(plan) + "\n")
        process.stdin.flush()
        herds.append(process)
    return herds


async def run(given: argparse.Namespace, found: Panel) -> list[Figure]:
    scopes = [f"containers.{act}" for act in ("view", "create", "start", "stop", "logs", "any")] + ["nodes.view"]
    key = str(found.call("POST", "/api/auth/keys", {"name": "load", "scopes": scopes})["key"])
    load = Load(given, found, key)
    viewers = await asyncio.to_thread(found.more_administrators, -(-given.viewers // 10))
    folder = Path(tempfile.mkdtemp(prefix="lormas-load-"))
    herds = await asyncio.to_thread(fleet, found, folder, given.agents)
    limits = aiohttp.TCPConnector(limit=0)
    try:
        async with aiohttp.ClientSession(
            connector=limits, headers={"Authorization": f"Bearer {key}"}, timeout=aiohttp.ClientTimeout(total=REQUEST_SECONDS)
        ) as session:

            async def all_active() -> bool:
                return int((await load.get(session, "/api/nodes?status=ACTIVE&page_size=1"))["count"]) == int(given.agents)

            begun = time.monotonic()
            await load.until("all agents are in", all_active, seconds=240)
            joined = time.monotonic() - begun
            load.nodes = [one["id"] for one in (await load.get(session, "/api/nodes?page_size=200"))["results"]]
            begun = time.monotonic()
            load.note_use()
            await load.make_containers(session)
            load.note_use()
            made = time.monotonic() - begun
            print(f"   {given.agents} agents in {joined:.0f} s, {given.containers} containers running in {made:.0f} s", flush=True)
            last = max((row[0] for row in await asyncio.to_thread(found.in_django, MOVES, after=0)), default=0)
            seen = [0] * given.viewers
            end = time.monotonic() + given.minutes * 60
            watching = [asyncio.create_task(load.view(viewers[number // 10], number, end, seen)) for number in range(given.viewers)]
            load.note_use()
            await asyncio.gather(load.keep_asking(session, end), load.sample(session, end), *watching)
            load.note_use()
            news = await asyncio.to_thread(found.in_django, MOVES, after=last)
    finally:
        for herd in herds:
            herd.kill()
            herd.wait(10)
        for log in folder.glob("*.log"):
            said = log.read_text()
            if "Traceback" in said:
                print(f"   {log.name}: {said[-1500:]}", flush=True)
        shutil.rmtree(folder, ignore_errors=True)
    return figures(load, news, seen, joined=joined, made=made)


def figures(load: Load, news: list[Any], seen: list[int], *, joined: float, made: float) -> list[Figure]:
    given = load.given
    lost = [row for row in news if row[2] in ("INACTIVE", "NOT_READY")]
    wrong = {code: count for code, count in load.codes.items() if code.split()[1] not in ("200", "202", "409", "423")}
    # The first third fills caches and pools; what leaks goes on after it.
    later = [row for row in load.memory if row[0] > given.minutes * 20]
    half = len(later) // 2
    grown = (sum(sum(row[1:]) for row in later[half:]) / max(1, len(later) - half) - sum(sum(row[1:]) for row in later[:half]) / max(1, half)) / 2**20
    span = max(1e-9, (later[-1][0] - later[0][0]) / 120) if later else 1.0
    slowest = min(seen) / (given.minutes * 60) if seen else 0.0
    p99_read, p99_write = percentile(load.reads, 99), percentile(load.writes, 99)
    return [
        Figure("agents joined", joined, "s", note=f"{given.agents} whole agents, fake runtime"),
        Figure("containers created and running", given.containers / made, "a second"),
        Figure("nodes wrongly called lost", len(lost), "times", aim="0", met=not lost, note=json.dumps(lost[:5]) if lost else ""),
        Figure(
            "answers that are neither a yes nor a conflict", sum(wrong.values()), "times", aim="0", met=not wrong, note=json.dumps(dict(load.codes))
        ),
        Figure("read, median", median(load.reads), "ms", note=f"{len(load.reads)} at {given.rate}/s together with the writes"),
        Figure("read, p99", p99_read, "ms", aim="<= 500 ms", met=p99_read <= 500),
        Figure("write, median", median(load.writes), "ms", note=f"{len(load.writes)}"),
        Figure("write, p99", p99_write, "ms", aim="<= 1,000 ms", met=p99_write <= 1000),
        Figure("lines a second that the slowest of the log viewers saw", slowest, "lines/s", "written", 1.0, ">= 0.9x", slowest >= 0.9),
        Figure("memory of web and worker", load.whole / 2**20, "MB", note="with what is mapped of the database"),
        Figure("of it private", sum(load.memory[-1][1:]) / 2**20, "MB"),
        Figure(
            "growth of what is private", grown / span, "MB/min", aim="<= 2 MB/min", met=grown / span <= 2, note="after the first third of the time"
        ),
        Figure("web's processor time for one container from create to running", 1000 * _used(load, 0, 1)[0] / given.containers, "ms"),
        Figure("web's processor time for a minute of this load", _used(load, 2, 3)[0] / given.minutes, "s"),
        Figure("the worker's", _used(load, 2, 3)[1] / given.minutes, "s"),
    ]


def _used(load: Load, first: int, last: int) -> tuple[float, float]:
    """Processor seconds of web and worker between two notes."""
    return load.used[last][0] - load.used[first][0], load.used[last][1] - load.used[first][1]


def main() -> int:
    asked = argparse.ArgumentParser(prog="make load ARGS=...", description=__doc__)
    asked.add_argument("--minutes", type=float, default=3)
    asked.add_argument("--agents", type=int, default=200)
    asked.add_argument("--containers", type=int, default=2000)
    asked.add_argument("--viewers", type=int, default=50)
    asked.add_argument("--rate", type=float, default=20, help="requests a second")
    asked.add_argument("--writes", type=float, default=0.2, help="share of them that change something")
    asked.add_argument("--seed", type=int, default=1)
    given = asked.parse_args()
    with panel(agent=False, RATE_LIMIT_PERSON="1000000/60") as found:
        seen = asyncio.run(run(given, found))
    print(text(seen), flush=True)
    return 0 if all(figure.met is not False for figure in seen) else 1


if __name__ == "__main__":
    sys.exit(main())
