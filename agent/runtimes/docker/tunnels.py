"""A tunnel's program in a small container of its own that shares the network of the container it serves, and nothing else.

So `localhost` in the tunnel's settings is the container itself, and the tunnel reaches no more of the node than the container does.
"""

from __future__ import annotations

import json
import re
from functools import partial
from typing import Any

from agent.runtimes.base import LABEL_BOUND, LABEL_INSTANCE, LABEL_TUNNEL, RuntimeFailure, TunnelRun
from agent.runtimes.docker import enginelog, errors, images
from agent.runtimes.docker.lifecycle import Lifecycle
from agent.runtimes.docker.pulls import PullDesk
from agent.runtimes.docker.surroundings import Surroundings
from agent.runtimes.docker.wire import EngineStatus, Wire
from agent.runtimes.policy import LocalPolicy, denied
from agent.tunnels.words import ARGUMENTS, PROGRAM, TOKEN_VARIABLE

MEMORY_BYTES = 256 << 20
PIDS = 128
PULL_SECONDS = 600.0
LOG_BYTES = 1 << 20
NOBODY = "65532:65532"
"""As cloudflared's own image runs it."""
_EXIT = re.compile(r"^Exited \((-?\d+)\)")


class DockerTunnels:
    """See `agent.runtimes.base.TunnelDesk`. The engine's name for it can be had once only, so there is never a second one."""

    def __init__(self, wire: Wire, lifecycle: Lifecycle, surroundings: Surroundings, policy: LocalPolicy, *, pulls: PullDesk, timeout: float) -> None:
        self._wire = wire
        self._pulls = pulls
        self._lifecycle = lifecycle
        self._surroundings = surroundings
        self._policy = policy
        self._timeout = timeout

    async def check(self) -> None:
        if not self._policy.tunnels:
            raise denied("tunnels")

    async def _summaries(self, label: str) -> list[dict[str, Any]]:
        filters = json.dumps({"label": [f"{LABEL_INSTANCE}={self._surroundings.instance}", label]})
        try:
            found = await self._wire.call("GET", "/containers/json", query={"all": "1", "filters": filters}, timeout=self._timeout)
        except EngineStatus as error:
            raise errors.of(error, verb="list") from error
        if not isinstance(found, list):
            raise RuntimeFailure("engine_error", "The engine's listing can't be read.", retryable=True)
        return found

    async def all(self) -> dict[str, TunnelRun]:
        return {str(item["Labels"][LABEL_TUNNEL]): _run(item) for item in await self._summaries(LABEL_TUNNEL)}

    async def begin(self, container_id: str, *, token: str, runtime_ref: str, bound_to: str) -> None:
        await self.check()
        image = self._policy.tunnel_image
        if not await images.has(self._wire, image, timeout=self._timeout):
            await self._pulls.pull(image, auth=None, progress=None, timeout_seconds=PULL_SECONDS)
        await self.end(container_id)
        body = self._body(container_id, image=image, token=token, runtime_ref=runtime_ref, bound_to=bound_to)
        made = await self._lifecycle.run(
            "create", lambda api: api.create_container_from_config(body, name=f"lormas-{container_id}-tunnel"), timeout=self._timeout
        )
        await self._lifecycle.run("start", lambda api: api.start(str(made["Id"])), timeout=self._timeout)

    def _body(self, container_id: str, *, image: str, token: str, runtime_ref: str, bound_to: str) -> dict[str, Any]:
        return {
            "Image": image,
            "Entrypoint": [PROGRAM],
            "Cmd": list(ARGUMENTS),
            "Env": [f"{TOKEN_VARIABLE}={token}"],
            "User": NOBODY,
            "Labels": {LABEL_INSTANCE: self._surroundings.instance, LABEL_TUNNEL: container_id, LABEL_BOUND: bound_to},
            "HostConfig": {
                "NetworkMode": f"container:{runtime_ref}",
                "RestartPolicy": {"Name": "no"},  # the agent tries again, and says why it had to
                "LogConfig": {"Type": "json-file", "Config": {"max-size": str(LOG_BYTES), "max-file": "1"}},
                "Memory": MEMORY_BYTES,
                "PidsLimit": PIDS,
                "CapDrop": ["ALL"],
                "SecurityOpt": ["no-new-privileges"],
                "ReadonlyRootfs": True,
                "IpcMode": "private",
            },
        }

    async def output(self, container_id: str, *, after: int) -> tuple[list[str], int]:
        lines: list[str] = []
        for item in await self._summaries(f"{LABEL_TUNNEL}={container_id}"):
            for record in await enginelog.read(self._wire, str(item["Id"]), tty=False, since_ns=after + 1 if after else 0, timeout=self._timeout):
                if record.time_ns > after:
                    lines.append(record.data.decode("utf-8", "replace").rstrip("\n"))
                    after = record.time_ns
        return lines, after

    async def end(self, container_id: str) -> None:
        for item in await self._summaries(f"{LABEL_TUNNEL}={container_id}"):
            try:
                await self._lifecycle.run("remove", partial(_remove, ref=str(item["Id"])), timeout=self._timeout)
            except RuntimeFailure as failure:
                if failure.code != "no_such_container" and "already in progress" not in failure.detail:
                    raise


def _remove(api: Any, *, ref: str) -> None:
    api.remove_container(ref, v=True, force=True)


def _run(item: dict[str, Any]) -> TunnelRun:
    bound_to = str(item["Labels"].get(LABEL_BOUND, ""))
    if item.get("State") in ("running", "paused", "restarting"):
        return TunnelRun(bound_to)
    found = _EXIT.match(str(item.get("Status", "")))
    return TunnelRun(bound_to, int(found.group(1)) if found else 1)
