"""Images, volumes and networks of a Docker engine. Removing never forces: what is in use is the engine's to refuse."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from agent.runtimes.base import LABEL_CONTAINER, LABEL_INSTANCE, RuntimeFailure
from agent.runtimes.docker import errors, options
from agent.runtimes.docker.wire import EngineStatus, Wire
from agent.stock import Kind

QUICK_SECONDS = 15.0
SLOW_SECONDS = 60.0
BUILT_IN = frozenset({"bridge", "host", "none", "ingress", "docker_gwbridge"})
NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,511}$")
MOST = 5000


class DockerStock:
    """See `agent.stock.Stock`. `instance` gives the ownership label's value of now."""

    def __init__(self, wire: Wire, *, instance: Callable[[], str]) -> None:
        self._wire = wire
        self._instance = instance

    async def _call(self, method: str, path: str, *, query: dict[str, Any] | None = None, timeout: float = QUICK_SECONDS) -> Any:
        try:
            return await self._wire.call(method, path, query=query, timeout=timeout)
        except EngineStatus as error:
            if error.status == 404:
                raise RuntimeFailure("not_found", f"It is not on the node: {error.message[:300]}") from error
            if error.status == 409 or "in use" in error.message or "active endpoints" in error.message or "being used" in error.message:
                raise RuntimeFailure("in_use", f"It is in use: {error.message[:300]}") from error
            raise errors.of(error, verb="stock") from error

    async def listing(self, kind: Kind) -> list[dict[str, Any]]:
        found = await {"images": self._images, "volumes": self._volumes, "networks": self._networks}[kind]()
        return sorted(found, key=lambda item: str(item["name"]))[:MOST]

    async def _containers(self) -> list[dict[str, Any]]:
        return await self._call("GET", "/containers/json", query={"all": "true"}) or []

    async def _images(self) -> list[dict[str, Any]]:
        images, containers = await asyncio.gather(self._call("GET", "/images/json"), self._containers())
        used: dict[str, int] = {}
        for container in containers:
            used[str(container.get("ImageID", ""))] = used.get(str(container.get("ImageID", "")), 0) + 1
        found = []
        for image in images or []:
            key = str(image.get("Id", ""))
            tags = [tag for tag in image.get("RepoTags") or [] if tag != "<none>:<none>"]
            digests = [digest.partition("@")[0] for digest in image.get("RepoDigests") or []]
            found.append(
                {
                    "id": key,
                    "name": tags[0] if tags else (f"{digests[0]}@<untagged>" if digests and digests[0] != "<none>" else key[7:19]),
                    "tags": tags,
                    "size_bytes": int(image.get("Size") or 0),
                    "created_at": _time(image.get("Created")),
                    "in_use": key in used,
                    "containers": used.get(key, 0),
                    "ours": False,
                }
            )
        return found

    async def _volumes(self) -> list[dict[str, Any]]:
        volumes, containers = await asyncio.gather(self._call("GET", "/volumes"), self._containers())
        used = {str(mount.get("Name", "")) for container in containers for mount in container.get("Mounts") or [] if mount.get("Type") == "volume"}
        found = []
        for volume in (volumes or {}).get("Volumes") or []:
            labels = volume.get("Labels") or {}
            found.append(
                {
                    "id": str(volume.get("Name", "")),
                    "name": str(volume.get("Name", "")),
                    "driver": str(volume.get("Driver", "")),
                    "created_at": str(volume.get("CreatedAt", "")),
                    "in_use": str(volume.get("Name", "")) in used,
                    **self._owner(labels),
                }
            )
        return found

    async def _networks(self) -> list[dict[str, Any]]:
        networks, containers = await asyncio.gather(self._call("GET", "/networks"), self._containers())
        used = {
            str(network.get("NetworkID", ""))
            for container in containers
            for network in ((container.get("NetworkSettings") or {}).get("Networks") or {}).values()
        }
        found = []
        for network in networks or []:
            name, labels = str(network.get("Name", "")), network.get("Labels") or {}
            found.append(
                {
                    "id": str(network.get("Id", "")),
                    "name": name,
                    "driver": str(network.get("Driver", "")),
                    "scope": str(network.get("Scope", "")),
                    "created_at": str(network.get("Created", "")),
                    # The engine's own ones can't be removed, and our common bridge is needed by the next container.
                    "in_use": str(network.get("Id", "")) in used or name in BUILT_IN or name == options.NETWORK,
                    **self._owner(labels),
                }
            )
        return found

    def _owner(self, labels: dict[str, str]) -> dict[str, Any]:
        ours = bool(self._instance()) and labels.get(LABEL_INSTANCE) == self._instance()
        return {"ours": ours, "container_id": labels.get(LABEL_CONTAINER, "") if ours else ""}

    async def remove(self, kind: Kind, name: str, *, force: bool = False) -> list[str]:
        if not NAME.match(name) or "/../" in f"/{name}/" or "/./" in f"/{name}/":
            raise RuntimeFailure("bad_payload", "That is no name of an image, volume or network.")
        there = [item for item in await self.listing(kind) if name in (item["id"], item["name"], *item.get("tags", ()))]
        if not there:
            raise RuntimeFailure("not_found", f"There is no {kind[:-1]} {name} on this node.")
        if there[0]["in_use"]:
            raise RuntimeFailure("in_use", f"{name} is in use.")
        # The engine's own id, never what came: a name may have several meanings there.
        if kind == "images":
            image = there[0]
            target = name if name in image["tags"] else image["id"]
            # `force` takes all names of an image; an image that containers use was refused above, and is by the engine.
            gone = await self._call(
                "DELETE", f"/images/{quote(target, safe='/:@')}", query={"force": "true" if force else "false"}, timeout=SLOW_SECONDS
            )
            return [str(item.get("Untagged") or item.get("Deleted")) for item in gone or []]
        await self._call("DELETE", f"/{kind}/{quote(there[0]['id'], safe='')}", timeout=SLOW_SECONDS)
        return [name]


def _time(unix: Any) -> str:
    try:
        return datetime.fromtimestamp(int(unix), UTC).isoformat().replace("+00:00", "Z")
    except (TypeError, ValueError, OverflowError):
        return ""
