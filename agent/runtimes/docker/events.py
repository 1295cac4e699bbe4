"""The engine's events, for ever: with a watchdog of our own, because the stream can die without a word (SECURITY.md R16)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from agent.runtimes.base import LABEL_CONTAINER, LABEL_INSTANCE, RuntimeEvent, RuntimeFailure
from agent.runtimes.docker.wire import EngineStatus, Wire

QUIET_SECONDS = 45.0
"""After so long without an event the connection is made anew; what came meanwhile is in the engine's buffer of 256 events."""
BACKOFF_MAX_SECONDS = 10.0

ACTIONS = {
    "create": "create",
    "start": "start",
    "die": "die",
    "oom": "oom",
    "pause": "pause",
    "unpause": "unpause",
    "rename": "rename",
    "destroy": "destroy",
    "kill": "kill",
    "stop": "stop",
}


def _event(item: dict[str, Any]) -> RuntimeEvent | None:
    action = str(item.get("Action") or item.get("status") or "")
    name = "health" if action.startswith("health_status") else ACTIONS.get(action, "")
    attributes = {str(key): str(value) for key, value in ((item.get("Actor") or {}).get("Attributes") or {}).items()}
    container_id = attributes.get(LABEL_CONTAINER, "")
    if not name or not container_id:
        return None
    code = attributes.get("exitCode", "")
    if name == "health":
        attributes["health"] = action.partition(":")[2].strip()
    return RuntimeEvent(
        action=name,
        container_id=container_id,
        exit_code=int(code) if code.lstrip("-").isdigit() else None,
        time_unix=int(item.get("timeNano") or 0) / 1e9 or float(item.get("time") or 0),
        attributes=attributes,
    )


async def follow(wire: Wire, *, instance: str, since_unix: float = 0) -> AsyncIterator[RuntimeEvent]:
    """Events of containers with our label; `lost` at the begin of every interruption and `resync` after it."""
    filters = json.dumps({"type": ["container"], "label": [f"{LABEL_INSTANCE}={instance}"]})
    since = since_unix
    seen: deque[tuple[int, str, str]] = deque(maxlen=512)
    interrupted = told = False
    failures = 0
    while True:
        if interrupted and not told:
            told = True
            yield RuntimeEvent(action="lost", time_unix=time.time())
        query: dict[str, Any] = {"filters": filters}
        if since:
            query["since"] = f"{since:.9f}"
        begun = time.time()
        try:
            answer = await wire.open("GET", "/events", query=query, timeout=10)
        except (RuntimeFailure, EngineStatus):
            interrupted = True
            failures += 1
            if not told:
                continue
            await asyncio.sleep(min(BACKOFF_MAX_SECONDS, 0.2 * 2**failures) * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
            continue
        failures = 0
        since = since or begun
        if interrupted:
            interrupted = told = False
            yield RuntimeEvent(action="resync", time_unix=begun)
        try:
            chunks = answer.chunks()
            rest = b""
            replayed = 0
            while True:
                async with asyncio.timeout(QUIET_SECONDS):
                    chunk = await anext(chunks, None)
                if chunk is None:
                    interrupted = True
                    break
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    if not line.strip():
                        continue
                    item = msgspec.json.decode(line)
                    key = (int(item.get("timeNano") or 0), str(item.get("Action")), str((item.get("Actor") or {}).get("ID")))
                    if key in seen:
                        continue
                    seen.append(key)
                    since = max(since, key[0] / 1e9)
                    replayed += key[0] / 1e9 < begun
                    if replayed == 200:  # the engine's buffer may have been full
                        yield RuntimeEvent(action="resync", time_unix=begun)
                    event = _event(item)
                    if event is not None:
                        yield event
        except TimeoutError:
            # Quiet, or dead: a new connection tells. It begins at the last event seen, and repeats are dropped.
            since = max(since, begun - 1)
        except (RuntimeFailure, OSError, msgspec.DecodeError):
            interrupted = True
        finally:
            answer.close()
        if interrupted:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.sleep(0.1)
