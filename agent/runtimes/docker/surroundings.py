"""What containers stand on: our bridge network, and the volume of a `data` mount. Made when missing, taken only if ours."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from agent.runtimes.base import LABEL_CONTAINER, LABEL_INSTANCE, RuntimeFailure
from agent.runtimes.docker import errors, options
from agent.runtimes.docker.lifecycle import Lifecycle
from agent.runtimes.docker.wire import EngineStatus, Wire

START_TRIES = 4
LOOKS = 10
"""At the networks of our name, with a change between: as many agents may make one more meanwhile."""
TROUBLES = ("not found", "is ambiguous")
"""What an engine says of a network that somebody removed, or that is there twice."""


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
        """Containers' network is there, once. Raises RuntimeFailure."""
        async with self._lock:
            if not self.network_ready:
                await self._settle_network()
                self.network_ready = True

    async def start(self, ref: str, *, timeout: float) -> None:
        """Start a container. If its network is gone, or is there twice, that is mended first.

        Raises:
            RuntimeFailure: as the engine refuses it.
        """
        for tries_left in reversed(range(START_TRIES)):
            try:
                await self._lifecycle.run("start", lambda api: api.start(ref), timeout=timeout)
                return
            except RuntimeFailure as failure:
                if not tries_left or not any(f"network {options.NETWORK} {what}" in failure.detail.lower() for what in TROUBLES):
                    raise
            self.network_ready = False
            await self.ensure_network()

    async def _settle_network(self) -> None:
        """Two agents of one engine that ask at once may each get one, of the same name, and then nothing starts. Both look again, and both leave
        the same one."""
        for _ in range(LOOKS):
            named = json.dumps({"name": [options.NETWORK]})
            found = await self._call("GET", "/networks", query={"filters": named}) or []
            found = sorted((one for one in found if one["Name"] == options.NETWORK), key=lambda one: (one.get("Created", ""), one["Id"]))
            if len(found) == 1:
                return
            if found:
                await self._leave_one([str(one["Id"]) for one in found])
            else:
                await self._make_network()
        raise RuntimeFailure(
            "engine_error",
            f"The engine has several networks named {options.NETWORK}, and more than one is in use: stop what is in all but one of them, "
            "then remove those (docker network ls, docker network rm ID).",
        )

    async def _make_network(self) -> None:
        settings = {"com.docker.network.bridge.enable_icc": "false" if self._isolate_network else "true"}
        labels = {options.LABEL_MANAGED: "1"}

        def make(api: Any) -> Any:
            return api.create_network(options.NETWORK, driver="bridge", options=settings, labels=labels, check_duplicate=True)

        try:
            await self._lifecycle.run("create network", make, timeout=self._slow)
        except RuntimeFailure as failure:
            if "already exists" not in failure.detail:
                raise

    async def _leave_one(self, ids: list[str]) -> None:
        """The first that can't go, else the first."""
        removable = [one for one in ids if await self._can_go(one)]
        for network in removable if len(removable) < len(ids) else removable[1:]:
            await self._remove_network(network)

    async def _remove_network(self, network: str) -> None:
        try:
            await self._lifecycle.run("remove network", lambda api: api.remove_network(network), timeout=self._slow)
        except RuntimeFailure as failure:
            if not any(word in failure.detail.lower() for word in ("not found", "active endpoints")):  # another agent was first, or uses it now
                raise

    async def _can_go(self, network: str) -> bool:
        """Whether it is made by an agent, and nothing is in it."""
        try:
            found = await self._call("GET", f"/networks/{network}", verb="network")
        except RuntimeFailure as failure:
            if "not found" in failure.detail.lower():
                return True
            raise
        return (found.get("Labels") or {}).get(options.LABEL_MANAGED) == "1" and not found.get("Containers")

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
