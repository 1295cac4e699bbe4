"""A whole Lormas that may be broken at will: the quick start's tree on servers of our own, an agent behind a mischievous link, its own engine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

from bench.panel import Panel, panel
from tests.chaos.link import Mischief
from tests.chaos.servers import Postgres, Redis
from tests.e2e.second_engine import SecondEngine
from tests.e2e.stack import IMAGE, AgentProcess

FOREIGN = {
    "somebody-elses": [],
    "other-panel": [
        *("--label", "lormas.instance=another-panel", "--label", "lormas.managed=true"),
        *("--label", "lormas.container=00000000-0000-4000-8000-000000000000"),
    ],
}  # fmt: skip
"""Containers that are none of ours: one without labels, and one of another Lormas on the same engine."""

SCOPES = [f"containers.{act}" for act in ("view", "create", "start", "stop", "delete", "choose_node")] + ["nodes.view"]


class World:
    """Everything that a fault can reach."""

    def __init__(self, *, panel: Panel, postgres: Postgres | None, redis: Redis, engine: SecondEngine, link: Mischief, agent: AgentProcess) -> None:
        self.panel = panel
        self.postgres = postgres
        self.redis = redis
        self.engine = engine
        self.link = link
        self.agent = agent
        self.key = ""
        self.node_id = ""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.panel.port}"

    def signal(self, program: str, number: signal.Signals) -> None:
        """To a program of the tree: `web` or `worker`."""
        os.kill(self.panel.pid(program), number)

    def foreign(self) -> dict[str, tuple[str, str, bool]]:
        """Of each container that is none of ours: engine id, when it was made, runs."""
        found = json.loads(self.engine.docker("inspect", *FOREIGN))
        return {one["Name"].lstrip("/"): (one["Id"], one["Created"], bool(one["State"]["Running"])) for one in found}

    def ours(self) -> dict[str, list[dict[str, Any]]]:
        """What the engine has, by container id. Those of FOREIGN are left out."""
        for left in (2, 1, 0):
            ids = self.engine.docker("ps", "-aq", "--no-trunc", "--filter", "label=lormas.container").split()
            try:
                found = json.loads(self.engine.docker("inspect", *ids)) if ids else []
                break
            except RuntimeError:  # one of them was just removed
                if not left:
                    raise
        by_container: dict[str, list[dict[str, Any]]] = {}
        for one in found:
            if one["Name"].lstrip("/") not in FOREIGN:
                by_container.setdefault(one["Config"]["Labels"]["lormas.container"], []).append(one)
        return by_container

    def start_foreign(self) -> None:
        """They have no restart policy: an engine restart ends them, as it would without us."""
        self.engine.docker("start", *FOREIGN)


@contextlib.contextmanager
def _servers(*, postgres: bool) -> Iterator[tuple[Postgres | None, Redis]]:
    store = Postgres() if postgres else None
    broker = Redis()
    try:
        broker.start()
        if store is not None:
            store.start()
        yield store, broker
    finally:
        broker.remove()
        if store is not None:
            store.remove()


@contextlib.asynccontextmanager
async def world(*, postgres: bool, seed: int) -> AsyncIterator[World]:
    """Made whole, with one node that is ACTIVE, and removed."""
    folder = Path(tempfile.mkdtemp(prefix="lormas-chaos-"))
    engine = SecondEngine()
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        stack.callback(engine.remove)
        await asyncio.to_thread(engine.make)
        store, broker = await asyncio.to_thread(stack.enter_context, _servers(postgres=postgres))
        where = {"REDIS_URL": broker.url, "DATABASE_URL": store.url if store else "", "RATE_LIMIT_PERSON": "100000/60"}
        found = await asyncio.to_thread(stack.enter_context, panel(agent=False, **where))
        link = Mischief(found.port, seed=seed)
        await link.start()
        token = str((await asyncio.to_thread(found.call, "POST", "/api/nodes", {"name": "chaos-1"}))["token"])
        agent = AgentProcess(data=folder / "agent", panel_url=f"http://127.0.0.1:{link.port}", token=token, DOCKER_HOST=engine.host)
        stack.callback(agent.stop)
        agent.start()
        for name, labels in FOREIGN.items():
            await asyncio.to_thread(engine.docker, "run", "-d", "--name", name, *labels, IMAGE, "sleep", "86400")
        made = World(panel=found, postgres=store, redis=broker, engine=engine, link=link, agent=agent)
        made.key = str((await asyncio.to_thread(found.call, "POST", "/api/auth/keys", {"name": "chaos", "scopes": SCOPES}))["key"])
        made.node_id = await asyncio.to_thread(_active, found)
        try:
            yield made
        finally:
            await link.stop()


def _active(found: Panel) -> str:
    end = time.monotonic() + 40
    while True:
        (node,) = found.call("GET", "/api/nodes")["results"]
        if node["status"] == "ACTIVE":
            return str(node["id"])
        if time.monotonic() > end:
            raise RuntimeError(f"the node did not become active: {node}")
        time.sleep(0.1)
