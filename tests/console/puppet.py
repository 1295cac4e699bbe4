"""A node's voice without an agent: answers log questions and ships lines and samples over the real message bus."""

from __future__ import annotations

import asyncio
import json
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from agent.protocol.frames import LogFrame, pack_log
from lormas.common import clock, live


class Puppet:
    """Plays the gateway of one node in a thread of its own."""

    def __init__(self, node_id: Any) -> None:
        self.node_id = str(node_id)
        self.lines: dict[str, list[list[Any]]] = {}
        self.typed: list[str] = []
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> Puppet:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def say(self, container_id: Any, *texts: str, stream: str = "application") -> None:
        """Append lines to the store and ship them as one batch."""
        store = self.lines.setdefault(str(container_id), [])
        rows = [[len(store) + 1 + index, clock.rfc3339(clock.now()), stream, text] for index, text in enumerate(texts)]
        store.extend(rows)
        frame = LogFrame(str(uuid.uuid4()), str(container_id), rows[0][0], rows[-1][0], len(rows), json.dumps(rows).encode())
        self._wait(lambda: live.hub().publish(f"log:{container_id}", pack_log(frame)))

    def sample(self, container_id: Any, **values: Any) -> None:
        sample = {"time": clock.rfc3339(clock.now()), "cpu_percent": 0, "memory_bytes": 0, "network_rx_bytes": 0, "network_tx_bytes": 0, **values}
        self._wait(lambda: live.hub().publish(f"stats:{container_id}", json.dumps(sample).encode()))

    def _wait(self, make: Callable[[], Any]) -> None:
        async def call() -> Any:
            return await make()  # in our own loop: `hub()` is that of the running one

        done: Future[Any] = asyncio.run_coroutine_threadsafe(call(), self._loop)
        done.result(10)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.create_task(self._serve())
        self._loop.run_forever()

    async def _serve(self) -> None:
        tap = await live.hub().tap(f"node:{self.node_id}")
        self._ready.set()
        async for data in tap:
            if data == live.RESYNC:
                continue
            question = json.loads(data)
            if question.get("op") == "rpc":
                await live.hub().reply(question["reply"], {"ok": True, "data": self._answer(question)})

    def _answer(self, question: dict[str, Any]) -> dict[str, Any]:
        store, asked = self.lines.get(question["container_id"], []), question["payload"]
        if question["kind"] == "container.stdin":
            self.typed.append(asked["text"])
            return {}
        if question["kind"] != "logs.read":
            return {}
        limit = asked.get("limit") or asked.get("tail") or 500
        if asked.get("before"):
            rows = [row for row in store if row[0] < asked["before"]][-limit:]
        elif asked.get("after"):
            rows = [row for row in store if row[0] > asked["after"]][:limit]
        else:
            rows = store[-(asked.get("tail") or limit) :]
        return {"lines": rows, "first_seq": 1, "last_seq": len(store), "more": False, "gaps": []}
