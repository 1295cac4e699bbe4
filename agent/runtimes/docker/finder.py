"""Which of the engine's containers are ours, and which of the engine's ids is behind one of our ids."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from agent.runtimes.base import LABEL_CONTAINER, LABEL_INSTANCE, RuntimeFailure
from agent.runtimes.docker import reports


class Finder:
    """Finds our containers by label. `call`: the engine's API as `DockerRuntime._call`. `instance` is set when the runtime is opened."""

    def __init__(self, call: Callable[..., Awaitable[Any]]) -> None:
        self._call = call
        self._ids: dict[str, str] = {}
        self.instance = ""

    def forget(self, container_id: str = "") -> None:
        """The engine's id of one container (or of all) is to be looked up anew."""
        if container_id:
            self._ids.pop(container_id, None)
        else:
            self._ids.clear()

    def learn(self, container_id: str, ref: str) -> None:
        """The engine has just made it under this id."""
        self._ids[container_id] = ref

    def _mine(self, container_id: str = "") -> dict[str, Any]:
        if not self.instance:
            raise RuntimeFailure("internal", "The runtime was not opened.")
        wanted = [f"{LABEL_INSTANCE}={self.instance}"]
        wanted.append(f"{LABEL_CONTAINER}={container_id}" if container_id else LABEL_CONTAINER)
        return {"all": "1", "filters": json.dumps({"label": wanted})}

    async def summaries(self, container_id: str = "") -> list[dict[str, Any]]:
        found = await self._call("GET", "/containers/json", query=self._mine(container_id))
        if not isinstance(found, list):
            raise RuntimeFailure("engine_error", "The engine's listing can't be read.", retryable=True)
        return found

    async def find(self, container_id: str) -> str | None:
        """The engine's id of our container: found by label, because names can be changed and refs are the engine's (R04, R15)."""
        known = self._ids.get(container_id)
        if known:
            return known
        found = await self.summaries(container_id)
        if not found:
            return None
        self._ids[container_id] = (await self._true_one(found))["Id"]
        return self._ids[container_id]

    async def running_refs(self) -> list[str]:
        return [str(item["Id"]) for item in await self.summaries() if item.get("State") in ("running", "paused")]

    async def _true_one(self, found: list[dict[str, Any]]) -> dict[str, Any]:
        """Two with our labels can only be somebody's copy of them: the first one made is ours. A listing has whole seconds only."""
        if len(found) == 1:
            return found[0]
        made: list[tuple[str, str, dict[str, Any]]] = []
        for item in found:
            try:
                whole: dict[str, Any] = await self._call("GET", f"/containers/{item['Id']}/json", verb="inspect")
            except RuntimeFailure as failure:
                if failure.code != "no_such_container":
                    raise
                continue  # gone between our two looks
            made.append((reports.sortable_time(str(whole.get("Created", ""))), item["Id"], item))
        return min(made, key=lambda one: one[:2])[2] if made else found[0]

    async def item(self, container_id: str) -> dict[str, Any] | None:
        """`GET /containers/{ref}/json`, or None if there is none."""
        for _ in range(2):
            ref = await self.find(container_id)
            if ref is None:
                return None
            try:
                item: dict[str, Any] = await self._call("GET", f"/containers/{ref}/json", verb="inspect")
            except RuntimeFailure as failure:
                if failure.code != "no_such_container":
                    raise
                self._ids.pop(container_id, None)  # removed behind our back, and maybe made again
                continue
            return item
        return None

    async def need(self, container_id: str) -> str:
        item = await self.item(container_id)
        if item is None:
            raise RuntimeFailure("no_such_container", "The container is not on this node.")
        return str(item["Id"])

    async def owned(self) -> list[dict[str, Any]]:
        """The engine's listing of our containers, one of each."""
        claims: dict[str, list[dict[str, Any]]] = {}
        for item in await self.summaries():
            claims.setdefault(item["Labels"][LABEL_CONTAINER], []).append(item)
        first = {container_id: await self._true_one(found) for container_id, found in claims.items()}
        self._ids = {container_id: item["Id"] for container_id, item in first.items()}
        return list(first.values())
