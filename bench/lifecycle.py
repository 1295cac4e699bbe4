"""create -> running: through the API, against the same create and start sent straight to the engine, turn by turn."""

from __future__ import annotations

import time

from bench.figures import Figure, median, percentile
from bench.panel import panel, wait_for_node
from bench.rawengine import IMAGE, RawEngine, ensure_image

ROUNDS = 15


def measure(*, quick: bool) -> list[Figure]:
    ensure_image()
    rounds = 4 if quick else ROUNDS
    raw_times: list[float] = []
    api_times: list[float] = []
    engine = RawEngine()
    with panel(LORMAS_AGENT_RUNTIME="docker") as found:
        wait_for_node(found)
        body = None
        for turn in range(rounds + 2):  # two to warm up
            begun = time.perf_counter()
            made = found.call(
                "POST",
                "/api/containers?wait=60",
                {"name": f"bench-{turn}", "image": IMAGE, "command": ["sleep", "3600"], "limits": {"cpus": 0.05, "memory_bytes": 16 * 1024**2}},
            )
            api = time.perf_counter() - begun
            if made.get("status") != "running":
                raise RuntimeError(f"not running: {made.get('status')} {made.get('status_reason')} {made.get('operation')}")
            if body is None:
                body = engine.like(_engine_id(engine, made["id"]))
            begun = time.perf_counter()
            raw_id = engine.create(body)
            engine.start(raw_id)
            raw = time.perf_counter() - begun
            engine.remove(raw_id)
            found.call("DELETE", f"/api/containers/{made['id']}?force=true&wait=60")
            if turn >= 2:
                api_times.append(api * 1000)
                raw_times.append(raw * 1000)
    api, raw = median(api_times), median(raw_times)
    return [
        Figure(
            "create -> running, median",
            api,
            "ms",
            "raw create + start",
            raw,
            "<= 1.25x",
            api <= 1.25 * raw,
            note=f"{rounds} rounds each, in turn; same options",
        ),
        Figure("create -> running, p95", percentile(api_times, 95), "ms", "raw p95", percentile(raw_times, 95)),
    ]


def _engine_id(engine: RawEngine, container_id: str) -> str:
    found = engine.call("GET", "/containers/json", all="true", filters=f'{{"label":["lormas.container={container_id}"]}}')
    return str(found[0]["Id"])
