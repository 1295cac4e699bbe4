"""The Docker engine without anything between: HTTP on its unix socket, one kept connection. The baseline of the lifecycle and log figures."""

from __future__ import annotations

import http.client
import json
import os
import socket
from typing import Any
from urllib.parse import urlencode

IMAGE = "lormas/busybox:local"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("docker", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class RawEngine:
    """Calls as a careful client makes them."""

    def __init__(self) -> None:
        host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
        if not host.startswith("unix://"):
            raise SystemExit("the raw baseline needs an engine on a unix socket")
        self._path = host.removeprefix("unix://")
        self._connection = _UnixConnection(self._path, 120)

    def call(self, method: str, path: str, body: Any = None, **query: Any) -> Any:
        address = f"/v1.41{path}{'?' + urlencode(query) if query else ''}"
        payload = None if body is None else json.dumps(body)
        self._connection.request(method, address, payload, {"Content-Type": "application/json", "Accept-Encoding": "identity"})
        answer = self._connection.getresponse()
        raw = answer.read()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {raw[:300]!r}")
        return json.loads(raw) if raw else None

    def stream(self, path: str, **query: Any) -> http.client.HTTPResponse:
        """A response on a connection of its own, to be read by the caller."""
        connection = _UnixConnection(self._path, 120)
        connection.request("GET", f"/v1.41{path}?{urlencode(query)}", headers={"Accept-Encoding": "identity"})
        return connection.getresponse()

    def create(self, body: dict[str, Any]) -> str:
        return str(self.call("POST", "/containers/create", body)["Id"])

    def start(self, container: str) -> None:
        self.call("POST", f"/containers/{container}/start")

    def remove(self, container: str) -> None:
        self.call("DELETE", f"/containers/{container}", force="true", v="true")

    def inspect(self, container: str) -> dict[str, Any]:
        found: dict[str, Any] = self.call("GET", f"/containers/{container}/json")
        return found

    def like(self, container: str, *, ports: bool = True) -> dict[str, Any]:
        """A create body with the very options of an existing container, without its labels (an agent would take it for its own) and name."""
        seen = self.inspect(container)
        config, host = dict(seen["Config"]), dict(seen["HostConfig"])
        config["Labels"] = {}
        config.pop("Hostname", None)
        host["Binds"] = None
        host["Mounts"] = []
        if not ports:
            host["PortBindings"] = {}
        network = host.get("NetworkMode", "default")
        return {
            **config,
            "HostConfig": host,
            "NetworkingConfig": {"EndpointsConfig": {network: {}}} if network not in ("default", "none", "host") else {},
        }


def ensure_image() -> None:
    from lormas.quickstart import engine

    if not engine.import_busybox(os.environ.get("DOCKER_HOST"), IMAGE):
        raise SystemExit("no static busybox here to make the image of: apt-get install busybox-static")
