"""Lines per second that reach 1, 10 and 50 browsers, against `docker logs -f` of the same output on the same engine.

The container waits for a file, then writes N lines as fast as it can. Both sides follow before it begins. Viewers count lines by their sequence
numbers, so that a lost one would show (`viewers.row_of`); lines that the panel declares as skipped are counted apart.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from typing import Any

from bench.figures import Figure
from bench.panel import ROOT, Panel, panel, wait_for_node
from bench.rawengine import IMAGE, RawEngine, ensure_image

TEXT = "2026-11-21 12:00:00 INFO request handled in 12 ms path=/api/things/4711 status=200 bytes=5123"
LINES = 200_000
PER_USER = 15
"""The panel lets one person have 20 sockets."""


def script(lines: int) -> list[str]:
    return ["sh", "-c", f"while [ ! -e /tmp/go ]; do usleep 20000; done; yes '{TEXT}' | head -n {lines}; sleep 3600"]


def _go(engine: RawEngine, container: str) -> float:
    """Let it write; returns when."""
    made = engine.call("POST", f"/containers/{container}/exec", {"Cmd": ["touch", "/tmp/go"]})
    begun = time.perf_counter()
    engine.call("POST", f"/exec/{made['Id']}/start", {"Detach": True})
    return begun


def raw_rate(engine: RawEngine, lines: int) -> float:
    """Lines/s of `docker logs -f`."""
    container = engine.create({"Image": IMAGE, "Cmd": script(lines), "HostConfig": {"NetworkMode": "none"}})
    engine.start(container)
    try:
        follower = subprocess.Popen(["docker", "logs", "-f", container], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert follower.stdout is not None
        time.sleep(1)
        begun = _go(engine, container)
        seen = 0
        while seen < lines:
            part = follower.stdout.read1(1 << 16)
            if not part:
                raise RuntimeError(f"docker logs -f ended after {seen} of {lines} lines")
            seen += part.count(b"\n")
        seconds = time.perf_counter() - begun
        follower.kill()
        follower.wait(10)
    finally:
        engine.remove(container)
    return lines / seconds


def viewers_rate(found: Panel, engine: RawEngine, tokens: list[str], *, viewers: int, lines: int) -> dict[str, Any]:
    made = found.call("POST", "/api/containers?wait=60", {"name": f"bench-logs-{viewers}", "image": IMAGE, "command": script(lines)})
    container_id = made["id"]
    ref = engine.call("GET", "/containers/json", all="true", filters=f'{{"label":["lormas.container={container_id}"]}}')[0]["Id"]
    plan = {
        "url": f"ws://127.0.0.1:{found.port}/ws",
        "container_id": container_id,
        "lines": lines,
        "tokens": [tokens[i // PER_USER] for i in range(viewers)],
    }
    process = subprocess.Popen([sys.executable, "-m", "bench.viewers"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    patience = threading.Timer(180, process.kill)
    patience.start()
    try:
        process.stdin.write(json.dumps(plan) + "\n")
        process.stdin.flush()
        if process.stdout.readline().strip() != "ready":
            raise RuntimeError("the viewers did not come up")
        begun = _go(engine, ref)
        answer = json.loads(process.stdout.readline() or "null")
        if answer is None:
            raise RuntimeError("the viewers did not get to the end within 180 s")
    finally:
        patience.cancel()
        process.kill()
        process.wait(10)
        found.call("DELETE", f"/api/containers/{container_id}?force=true&wait=60")
    seconds = max(answer["ended"]) - begun
    delivered = sum(answer["lines"])
    return {
        "each": delivered / viewers / seconds,
        "total": delivered / seconds,
        "skipped": sum(answer["skipped"]),
        "twice": sum(answer["twice"]),
        "seconds": seconds,
    }


def measure(*, quick: bool) -> list[Figure]:
    ensure_image()
    lines = 20_000 if quick else LINES
    engine = RawEngine()
    with panel(LORMAS_AGENT_RUNTIME="docker") as found:
        wait_for_node(found)
        tokens = found.more_administrators(4)
        raw_before = raw_rate(engine, lines)
        rates = {viewers: viewers_rate(found, engine, tokens, viewers=viewers, lines=lines) for viewers in (1, 10, 50)}
        raw = (raw_before + raw_rate(engine, lines)) / 2
    figures = []
    for viewers, rate in rates.items():
        note = f"{rate['skipped']} lines declared as skipped, {rate['twice']} twice"
        if viewers == 50:
            figures.append(
                Figure(
                    "log lines to 50 viewers, in total", rate["total"], "lines/s", "docker logs -f", raw, ">= 10x", rate["total"] >= 10 * raw, note
                )
            )
        else:
            aim = 1.0 if viewers == 1 else 0.8
            figures.append(
                Figure(
                    f"log lines to {viewers} viewer{'s, each' if viewers > 1 else ''}",
                    rate["each"],
                    "lines/s",
                    "docker logs -f",
                    raw,
                    f">= {aim}x",
                    rate["each"] >= aim * raw,
                    note,
                )
            )
    return figures
