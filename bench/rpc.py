"""A question to an agent and back, over the API; against a request that the panel answers by itself."""

from __future__ import annotations

import time

from bench.figures import Figure, median, percentile
from bench.panel import Panel, panel, wait_for_node
from bench.rawengine import IMAGE, RawEngine, ensure_image

ROUNDS = 200


def _times(found: Panel, path: str, rounds: int) -> list[float]:
    times = []
    for turn in range(rounds + 10):
        begun = time.perf_counter()
        found.call("GET", path)
        if turn >= 10:
            times.append((time.perf_counter() - begun) * 1000)
    return times


def measure(*, quick: bool) -> list[Figure]:
    ensure_image()
    rounds = 30 if quick else ROUNDS
    engine = RawEngine()
    with panel(LORMAS_AGENT_RUNTIME="docker") as found:
        wait_for_node(found)
        made = found.call("POST", "/api/containers?wait=60", {"name": "bench-rpc", "image": IMAGE, "command": ["sh", "-c", "echo hello; sleep 3600"]})
        address = f"/api/containers/{made['id']}"
        asked = _times(found, f"{address}/logs?tail=1", rounds)
        own = _times(found, address, rounds)
        raw = []
        ref = engine.call("GET", "/containers/json", all="true", filters=f'{{"label":["lormas.container={made["id"]}"]}}')[0]["Id"]
        for _ in range(rounds):
            begun = time.perf_counter()
            engine.stream(f"/containers/{ref}/logs", stdout="true", tail="1").read()
            raw.append((time.perf_counter() - begun) * 1000)
        found.call("DELETE", f"{address}?force=true&wait=60")
    return [
        Figure(
            "GET logs?tail=1 through the agent, median",
            median(asked),
            "ms",
            "a request the panel answers itself",
            median(own),
            note="the difference is the way to the agent and back",
        ),
        Figure("GET logs?tail=1 through the agent, p95", percentile(asked, 95), "ms", "the engine's own logs?tail=1, p95", percentile(raw, 95)),
        Figure("way to the agent and back, median", max(median(asked) - median(own), 0), "ms", aim="< 10 ms", met=median(asked) - median(own) < 10),
    ]
