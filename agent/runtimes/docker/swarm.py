"""The swarm of a Docker engine that manages one. Ours is told by the label of the service; its containers carry none of our labels, so that no
listing takes a task for a container of ours (and no sweep for an orphan)."""

from __future__ import annotations

import asyncio
import base64
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec

from agent.protocol.parts import RegistryAuth
from agent.protocol.swarm import SwarmCreate, SwarmTask, SwarmUpdate, SwarmView
from agent.runtimes.base import LABEL_INSTANCE, LABEL_OPERATION, RuntimeFailure
from agent.runtimes.docker import errors, swarmspec
from agent.runtimes.docker.wire import EngineStatus, Wire
from agent.runtimes.policy import LimitDefaults

QUICK_SECONDS = 10.0
WRITE_SECONDS = 30.0
TRIES = 5
"""Swarm counts versions: whoever comes second reads again."""
MOST = 1000
ID = re.compile(r"^[a-z0-9]{20,40}$")

_RULES: tuple[tuple[re.Pattern[str], str, str], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), code, words)
    for pattern, code, words in (
        (r"not a swarm manager|not part of a swarm", "not_a_manager", "This engine manages no swarm"),
        (r"does not have a leader|no elected .*leader|quorum|context deadline exceeded|too few managers|raft", "no_quorum",
         "Too few managers of the swarm answer, so nothing can be read or changed there"),
        (r"name conflicts with an existing object", "name_taken", "The swarm has a service of this name"),
    )
)  # fmt: skip


def _failure(error: EngineStatus) -> RuntimeFailure:
    for pattern, code, words in _RULES:
        if pattern.search(error.message):
            return RuntimeFailure(code, f"{words}: {error.message[:300]}", retryable=code == "no_quorum")
    if error.status == 404:
        return RuntimeFailure("not_found", f"It is not in the swarm: {error.message[:300]}")
    if error.status == 400 or "InvalidArgument" in error.message:
        return RuntimeFailure("invalid_spec", f"The swarm refuses the settings: {error.message[:300]}")
    return errors.of(error, verb="swarm")


class DockerSwarm:
    """See `agent.swarm.Swarm`. `instance` gives the ownership label's value of now."""

    def __init__(self, wire: Wire, *, instance: Callable[[], str], defaults: LimitDefaults) -> None:
        self._wire = wire
        self._instance = instance
        self._defaults = defaults

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, Any] | None = None,
        body: Any = None,
        auth: RegistryAuth | None = None,
        timeout: float = QUICK_SECONDS,
    ) -> Any:
        headers = {}
        if auth is not None:
            config = {"username": auth.username, "password": auth.password, "serveraddress": auth.server}
            headers["X-Registry-Auth"] = base64.urlsafe_b64encode(msgspec.json.encode(config)).decode()
        try:
            return await self._wire.call(method, path, query=query, body=body, headers=headers, timeout=timeout)
        except EngineStatus as error:
            raise _failure(error) from error

    async def _stand(self, swarm_id: str) -> tuple[str, str]:
        """(id of the swarm, id of this engine in it). Raises `not_a_manager`, `other_swarm`, `no_quorum`."""
        found = (await self._call("GET", "/info")).get("Swarm") or {}
        state = str(found.get("LocalNodeState", "inactive"))
        if not found.get("ControlAvailable"):
            if state in ("active", "pending"):
                raise RuntimeFailure("not_a_manager", "This engine is a worker of its swarm: only a manager can tell of it.")
            if state == "error" or found.get("Error"):
                raise RuntimeFailure("no_quorum", f"This engine's swarm does not work: {str(found.get('Error', ''))[:300]}", retryable=True)
            raise RuntimeFailure("not_a_manager", "This engine is in no swarm.")
        ident = str((found.get("Cluster") or {}).get("ID", ""))
        if not ident:
            raise RuntimeFailure("no_quorum", "Too few managers of the swarm answer, so nothing can be read or changed there.", retryable=True)
        if swarm_id and ident != swarm_id:
            raise RuntimeFailure("other_swarm", "This engine is in another swarm than the one that is meant.")
        return ident, str(found.get("NodeID", ""))

    # ------------------------------------------------------------------------------------------------------------------ reads

    async def look(self, *, swarm_id: str) -> SwarmView:
        ident, own = await self._stand(swarm_id)
        nodes, services, tasks = await asyncio.gather(
            self._call("GET", "/nodes"), self._call("GET", "/services"), self._tasks({"desired-state": ["running"]})
        )
        there = Counter(str(task.get("NodeID", "")) for task in tasks)
        wanted = Counter(str(task.get("ServiceID", "")) for task in tasks)
        running = Counter(str(task.get("ServiceID", "")) for task in tasks if (task.get("Status") or {}).get("State") == "running")
        shown = [swarmspec.node(item, tasks=there[str(item.get("ID", ""))]) for item in nodes or []]
        found = []
        for item in services or []:
            key = str(item.get("ID", ""))
            found.append(swarmspec.service(item, ours=self._is_ours(item), running=running[key], planned=wanted[key]))
        return SwarmView(
            swarm_id=ident,
            node_id=own,
            nodes=sorted(shown, key=lambda one: (one.role != "manager", one.hostname, one.id))[:MOST],
            services=sorted(found, key=lambda one: (not one.ours, one.name))[:MOST],
        )

    async def tasks(self, service_id: str, *, swarm_id: str) -> list[SwarmTask]:
        await self._stand(swarm_id)
        service = await self._service(service_id)
        nodes, tasks = await asyncio.gather(self._call("GET", "/nodes"), self._tasks({"service": [str(service["ID"])]}))
        names = {str(item.get("ID", "")): str((item.get("Description") or {}).get("Hostname", "")) for item in nodes or []}
        made = [swarmspec.task(item, names=names) for item in tasks]
        # What is to run first, by slot; then the history, newest first.
        made.sort(key=lambda one: one.since, reverse=True)
        made.sort(key=lambda one: (one.desired not in ("running", "ready"), one.slot if one.desired in ("running", "ready") else 0))
        return made[:MOST]

    async def _tasks(self, filters: dict[str, list[str]]) -> list[dict[str, Any]]:
        return await self._call("GET", "/tasks", query={"filters": msgspec.json.encode(filters).decode()}) or []

    def _is_ours(self, item: dict[str, Any]) -> bool:
        labels = (item.get("Spec") or {}).get("Labels") or {}
        return bool(self._instance()) and labels.get(LABEL_INSTANCE) == self._instance()

    async def _service(self, service_id: str) -> dict[str, Any]:
        if not ID.match(service_id):
            raise RuntimeFailure("bad_payload", "That is no id of a service.")
        found: dict[str, Any] = await self._call("GET", f"/services/{service_id}")
        return found

    # ----------------------------------------------------------------------------------------------------------------- writes

    async def create(self, wish: SwarmCreate, *, operation_id: str) -> str:
        await self._stand(wish.swarm_id)
        filters = msgspec.json.encode({"label": [f"{LABEL_OPERATION}={operation_id}"]}).decode()
        before = [item for item in await self._call("GET", "/services", query={"filters": filters}) or [] if self._is_ours(item)]
        if before:
            return str(before[0]["ID"])
        body = swarmspec.build(wish, instance=self._instance(), operation_id=operation_id, defaults=self._defaults)
        made = await self._call("POST", "/services/create", body=body, auth=wish.registry_auth, timeout=WRITE_SECONDS)
        return str(made["ID"])

    async def update(self, wish: SwarmUpdate) -> None:
        await self._stand(wish.swarm_id)

        async def once() -> None:
            item = await self._service(wish.service_id)
            if not self._is_ours(item):
                raise RuntimeFailure("foreign", "This service was made by somebody else: it is shown here, and never changed.")
            spec = swarmspec.changed(item.get("Spec") or {}, wish)
            query = {"version": (item.get("Version") or {}).get("Index", 0)}
            if wish.registry_auth is None:
                query["registryAuthFrom"] = "spec"
            path = f"/services/{item['ID']}/update"
            await self._call("POST", path, query=query, body=spec, auth=wish.registry_auth, timeout=WRITE_SECONDS)

        await _in_sequence(once)

    async def remove(self, service_id: str, *, swarm_id: str) -> None:
        await self._stand(swarm_id)
        try:
            item = await self._service(service_id)
            if not self._is_ours(item):
                raise RuntimeFailure("foreign", "This service was made by somebody else: it is shown here, and never changed.")
            await self._call("DELETE", f"/services/{item['ID']}", timeout=WRITE_SECONDS)
        except RuntimeFailure as failure:
            if failure.code != "not_found":
                raise

    async def set_availability(self, node_id: str, availability: str, *, swarm_id: str) -> None:
        await self._stand(swarm_id)
        if not ID.match(node_id):
            raise RuntimeFailure("bad_payload", "That is no id of a node of a swarm.")

        async def once() -> None:
            item = await self._call("GET", f"/nodes/{node_id}")
            spec = item.get("Spec") or {}
            if spec.get("Availability") == availability:
                return
            query = {"version": (item.get("Version") or {}).get("Index", 0)}
            await self._call("POST", f"/nodes/{item['ID']}/update", query=query, body={**spec, "Availability": availability}, timeout=WRITE_SECONDS)

        await _in_sequence(once)


async def _in_sequence(once: Callable[[], Any]) -> None:
    """Read, change and write; again where somebody else wrote in between."""
    for left in range(TRIES - 1, -1, -1):
        try:
            await once()
            return
        except RuntimeFailure as failure:
            if not left or "out of sequence" not in failure.detail:
                raise
