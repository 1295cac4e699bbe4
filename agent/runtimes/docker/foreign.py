"""Containers of this engine that carry no label of any Lormas: looking at them, setting one aside, putting it back."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from agent.protocol.foreign import Foreign, ForeignSummary
from agent.protocol.messages import StopSpec
from agent.runtimes.base import LABEL_INSTANCE, RuntimeFailure
from agent.runtimes.docker import errors, images, takeover
from agent.runtimes.docker.lifecycle import Lifecycle
from agent.runtimes.docker.wire import EngineStatus, Wire
from agent.runtimes.policy import LocalPolicy

QUICK_SECONDS = 15.0
MOST = 1000
SWARM_TASK = "com.docker.swarm.task.id"
"""On containers that a swarm runs: stopped here, it starts another elsewhere."""
NOT_ALLOWED = (
    "The node's owner has not allowed taking over containers. It is allowed by "
    '{"adopt": true} in policy.json in the agent\'s folder; the agent reads it when it starts.'
)


class DockerForeign:
    """See `agent.runtimes.base.ForeignDesk`."""

    def __init__(self, wire: Wire, lifecycle: Lifecycle, policy: LocalPolicy, *, timeout: float) -> None:
        self._wire = wire
        self._lifecycle = lifecycle
        self._policy = policy
        self._timeout = timeout

    @property
    def why_not(self) -> str:
        return "" if self._policy.adopt else NOT_ALLOWED

    async def _call(self, method: str, path: str, *, query: dict[str, Any] | None = None, body: Any = None, timeout: float = QUICK_SECONDS) -> Any:
        try:
            return await self._wire.call(method, path, query=query, body=body, timeout=timeout)
        except EngineStatus as error:
            if error.status == 404:
                raise RuntimeFailure("not_found", "There is no such container on the node any more.") from error
            raise errors.of(error, verb="stop") from error

    async def listing(self) -> list[ForeignSummary]:
        found = await self._call("GET", "/containers/json", query={"all": "1"}) or []
        return [takeover.summary(item) for item in found if not {LABEL_INSTANCE, SWARM_TASK} & set(item.get("Labels") or {})][:MOST]

    async def _item(self, ref: str) -> dict[str, Any]:
        """Raises `not_found`, also for one that is ours or another panel's."""
        if not ref.isalnum():
            raise RuntimeFailure("bad_payload", "That is no id of the engine.")
        item: dict[str, Any] = await self._call("GET", f"/containers/{ref}/json")
        labels = (item.get("Config") or {}).get("Labels") or {}
        if LABEL_INSTANCE in labels:
            raise RuntimeFailure("not_found", "It belongs to a Lormas already.")
        if SWARM_TASK in labels:
            raise RuntimeFailure("not_found", "It is a task of a swarm: the swarm would start another in its place.")
        return item

    async def look(self, ref: str) -> Foreign:
        if self.why_not:
            raise RuntimeFailure("policy_denied", self.why_not)
        item = await self._item(ref)
        config, changes = await asyncio.gather(
            images.config(self._wire, str(item.get("Image", "")), timeout=QUICK_SECONDS), self._call("GET", f"/containers/{item['Id']}/changes")
        )
        name = str((item.get("Config") or {}).get("Image", ""))
        named = await images.identity(self._wire, name, timeout=QUICK_SECONDS)
        made_for_mounts = {str(mount.get("Destination", "")) for mount in item.get("Mounts") or []}
        changed = len([one for one in changes or [] if one.get("Kind") == 1 and one.get("Path") not in made_for_mounts])
        return takeover.describe(item, image=config, named=named, policy=self._policy, changed_paths=changed, own_ref=_own_ref())

    async def set_aside(self, ref: str, *, container_id: str, stop: StopSpec) -> None:
        if self.why_not:
            raise RuntimeFailure("policy_denied", self.why_not)
        item = await self._item(ref)
        key, name = str(item["Id"]), takeover.name_of(item)
        ours = takeover.aside(container_id)
        if takeover.is_aside(name) and not name.endswith(ours):
            raise RuntimeFailure("in_use", "It was taken over already, by another container.")
        await self._call("POST", f"/containers/{key}/update", body={"RestartPolicy": {"Name": "no"}})
        if (item.get("State") or {}).get("Running"):
            if (item.get("State") or {}).get("Paused"):
                await self._call("POST", f"/containers/{key}/unpause")
            grace = int(max(0.0, min(stop.grace_seconds, 600)))
            await self._lifecycle.run("stop", lambda api: api.stop(key, timeout=grace), timeout=grace + self._timeout)
        if not name.endswith(ours):
            await self._call("POST", f"/containers/{key}/rename", query={"name": name + ours})

    async def put_back(self, ref: str, *, container_id: str, restart: dict[str, Any], start: bool) -> None:
        item = await self._item(ref)
        key, name = str(item["Id"]), takeover.name_of(item)
        ours = takeover.aside(container_id)
        if takeover.is_aside(name) and not name.endswith(ours):
            return
        if name.endswith(ours):
            await self._call("POST", f"/containers/{key}/rename", query={"name": name.removesuffix(ours)})
        policy = {name: restart[name] for name in ("Name", "MaximumRetryCount") if name in restart}
        if policy.get("Name"):
            await self._call("POST", f"/containers/{key}/update", body={"RestartPolicy": policy})
        if start:
            await self._lifecycle.run("start", lambda api: api.start(key), timeout=self._timeout)


def _own_ref() -> str:
    """In a container the host name is the beginning of its id, unless somebody gave it another one."""
    name = socket.gethostname()
    return name if len(name) == 12 and all(letter in "0123456789abcdef" for letter in name) else ""
