"""Whether the kernel ended a container for want of memory, where the engine's own flag can't be trusted yet.

The flag comes with a message of its own, which races with that of the end: an engine of before 23 never sets it if it comes second, later ones
set it a moment after the end was told. Its event stream has the message in either case.
"""

from __future__ import annotations

import asyncio
import json
import time
from datetime import datetime
from typing import Any

import msgspec

from agent.runtimes.base import RuntimeFailure
from agent.runtimes.docker.wire import EngineStatus, Wire

LATE_SECONDS = 0.5
"""How much later than the end the engine may tell of its reason."""
RECENT_SECONDS = 120.0
"""An end of longer ago was looked at when it was new; the engine keeps only its last 256 events anyway."""
KILLED = 137


def _unix(text: str) -> float:
    """Of the engine's RFC 3339 time; 0 if there is none."""
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        return 0.0


def in_doubt(item: dict[str, Any], now: float | None = None) -> bool:
    """Has it just ended as one does that lacks memory, without the engine saying so? `item`: from `GET /containers/{id}/json`; `now`: Unix time."""
    state = item.get("State") or {}
    if state.get("Running") or state.get("OOMKilled") or state.get("ExitCode") != KILLED or not (item.get("HostConfig") or {}).get("Memory"):
        return False
    finished = _unix(str(state.get("FinishedAt") or ""))
    return abs((time.time() if now is None else now) - finished) < RECENT_SECONDS


async def told(wire: Wire, item: dict[str, Any]) -> bool:
    """Do the engine's events say that it was the memory? Waits `LATE_SECONDS` from the end at most, by the engine's clock; not at all if
    somebody's SIGKILL explains the end. An engine that does not answer is no reason: then False."""
    state = item["State"]
    query = {
        "since": f"{_unix(str(state.get('StartedAt') or '')):.9f}",
        "until": f"{_unix(str(state['FinishedAt'])) + LATE_SECONDS:.9f}",
        "filters": json.dumps({"type": ["container"], "container": [str(item["Id"])], "event": ["oom", "kill"]}),
    }
    try:
        async with asyncio.timeout(LATE_SECONDS + 2):
            answer = await wire.open("GET", "/events", query=query, timeout=2)
            try:
                rest = b""
                async for chunk in answer.chunks():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for event in (msgspec.json.decode(line) for line in lines if line.strip()):
                        if event.get("Action") == "oom":
                            return True
                        if (event.get("Actor") or {}).get("Attributes", {}).get("signal") == "9":
                            return False
            finally:
                answer.close()
    except (TimeoutError, OSError, RuntimeFailure, EngineStatus, msgspec.DecodeError):
        return False
    return False
