"""Memory that an idle agent costs the panel: 1,000 of them say hello and beat; the growth of the web process, divided."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time

from bench.figures import Figure
from bench.panel import ROOT, memory_bytes, panel

AGENTS = 1_000
WARM = 30
SETTLE_SECONDS = 25
"""Two heartbeats and a half: what is allocated on the first ones is there."""


def measure(*, quick: bool) -> list[Figure]:
    agents = 100 if quick else AGENTS
    with panel(agent=False) as found:
        tokens = found.node_tokens(WARM + agents)
        pid = found.pid("web")
        processes = []
        try:
            processes.append(_connect(found.port, tokens[:WARM]))
            time.sleep(12)
            before = memory_bytes(pid)
            begun = time.perf_counter()
            processes.append(_connect(found.port, tokens[WARM:]))
            took = time.perf_counter() - begun
            time.sleep(SETTLE_SECONDS)
            each = (memory_bytes(pid) - before) / agents / 1024
            online = found.in_django(
                "from collections import Counter\nfrom nodes.models import Node\nanswer = Counter(Node.objects.values_list('status', flat=True))"
            )
        finally:
            for process in processes:
                process.kill()
                process.wait(10)
    return [
        Figure(
            "panel memory per idle agent",
            each,
            "kB",
            aim="<= 64 kB",
            met=each <= 64 and online.get("ACTIVE") == WARM + agents,
            note=f"{agents} agents with 10 s heartbeats; nodes by status afterwards: {json.dumps(online)}",
        ),
        Figure(f"{agents} agents from first dial to last welcome", took, "s"),
    ]


def _connect(port: int, tokens: list[str]) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-m", "bench.idle_agents"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    guard = threading.Timer(180, process.kill)
    guard.start()
    process.stdin.write(json.dumps({"url": f"ws://127.0.0.1:{port}/api/ws/nodes", "tokens": tokens}) + "\n")
    process.stdin.flush()
    said = process.stdout.readline().strip()
    guard.cancel()
    if said != "ready":
        process.kill()
        raise RuntimeError(f"the agents did not come up: {said!r}")
    return process
