"""What containers stand on: our bridge network, and the volume of a `data` mount. Made when missing, taken only if ours."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from agent.runtimes.base import LABEL_CONTAINER, LABEL_INSTANCE, RuntimeFailure
from agent.runtimes.docker import errors, options
from agent.runtimes.docker.lifecycle import Lifecycle
from agent.runtimes.docker.wire import EngineStatus, Wire


class Surroundings:
    """`isolate_network`: containers reach each other only through published ports."""

    def __init__(self, wire: Wire, lifecycle: Lifecycle, *, timeout: float, isolate_network: bool) -> None:
        self._wire = wire
        self._lifecycle = lifecycle
        self._slow = timeout
        self._isolate_network = isolate_network
        self._lock = asyncio.Lock()
        self.network_ready = False
        self.instance = ""

    async def _call(self, method: str, path: str, *, query: dict[str, Any] | None = None, verb: str = "") -> Any:
        try:
            return await self._wire.call(method, path, query=query)
        except EngineStatus as error:
            raise errors.of(error, verb=verb) from error

    async def ensure_network(self) -> None:
        async with self._lock:
            if self.network_ready:
                return
            found = await self._call("GET", "/networks", query={"filters": json.dumps({"name": [options.NETWORK]})})
            if not any(network.get("Name") == options.NETWORK for network in found or []):
                settings = {"com.docker.network.bridge.enable_icc": "false" if self._isolate_network else "true"}
                labels = {options.LABEL_MANAGED: "1"}

                def make(api: Any) -> Any:
                    return api.create_network(options.NETWORK, driver="bridge", options=settings, labels=labels, check_duplicate=True)

                try:
                    await self._lifecycle.run("create network", make, timeout=self._slow)
                except RuntimeFailure as failure:
                    if "already exists" not in failure.detail:
                        raise
            self.network_ready = True

    async def ensure_volume(self, container_id: str) -> None:
        labels = {options.LABEL_MANAGED: "1", LABEL_INSTANCE: self.instance, LABEL_CONTAINER: container_id}
        name = options.volume_name(container_id)
        made = await self._lifecycle.run("create volume", lambda api: api.create_volume(name=name, labels=labels), timeout=self._slow)
        if (made.get("Labels") or {}).get(LABEL_INSTANCE) != self.instance:
            raise RuntimeFailure("name_taken", f"The engine has a foreign volume named {name}.")

    async def remove_volume(self, container_id: str) -> None:
        name = options.volume_name(container_id)
        try:
            volume = await self._call("GET", f"/volumes/{name}", verb="volume")
            if (volume.get("Labels") or {}).get(LABEL_INSTANCE) == self.instance:
                await self._lifecycle.run("remove volume", lambda api: api.remove_volume(name), timeout=self._slow)
        except RuntimeFailure as failure:
            if failure.code != "no_such_container" and "no such volume" not in failure.detail.lower():
                raise
