"""Install scripts in containers of their own: same network, same capabilities, no host mounts (SECURITY A08), the image's own user."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import msgspec

from agent.protocol.messages import ContainerSpec, Limits, Mount
from agent.protocol.parts import InstallScript
from agent.runtimes.base import LABEL_CONTAINER, LABEL_INSTALLER, LABEL_INSTANCE, LABEL_OPERATION, InstallState, Output, ResumePoint, RuntimeFailure
from agent.runtimes.docker import enginelog, errors
from agent.runtimes.docker.lifecycle import Lifecycle
from agent.runtimes.docker.output import OutputDesk
from agent.runtimes.docker.surroundings import Surroundings
from agent.runtimes.docker.wire import EngineStatus, Wire

SERVER = "/mnt/server"
SCRIPT = "/mnt/install/install.sh"
MINIMUM_MEMORY = 1 << 30
MINIMUM_CPUS = 1.0
LOG_BYTES = 50 << 20
LOOKS = 30

Build = Callable[..., dict[str, Any]]


class DockerInstalls:
    """See `agent.runtimes.base.Installs`."""

    def __init__(self, wire: Wire, lifecycle: Lifecycle, surroundings: Surroundings, build: Build, *, timeout: float) -> None:
        self._wire = wire
        self._lifecycle = lifecycle
        self._surroundings = surroundings
        self._build = build
        self._timeout = timeout
        self._desk = OutputDesk(wire, self._item)

    async def _summaries(self, *labels: str) -> list[dict[str, Any]]:
        wanted = [f"{LABEL_INSTANCE}={self._surroundings.instance}", *labels]
        try:
            found = await self._wire.call(
                "GET", "/containers/json", query={"all": "1", "filters": json.dumps({"label": wanted})}, timeout=self._timeout
            )
        except EngineStatus as error:
            raise errors.of(error, verb="list") from error
        if not isinstance(found, list):
            raise RuntimeFailure("engine_error", "The engine's listing can't be read.", retryable=True)
        return found

    async def _item(self, container_id: str) -> dict[str, Any] | None:
        for summary in await self._summaries(f"{LABEL_INSTALLER}={container_id}"):
            try:
                item: dict[str, Any] = await self._wire.call("GET", f"/containers/{summary['Id']}/json", timeout=self._timeout)
            except EngineStatus as error:
                if error.status == 404:
                    continue
                raise errors.of(error, verb="inspect") from error
            return item
        return None

    async def begin(self, spec: ContainerSpec, install: InstallScript, *, operation_id: str) -> None:
        there = await self._item(spec.container_id)
        if there is not None and there["Config"]["Labels"].get(LABEL_OPERATION) == operation_id:
            if there["State"].get("Status") == "created":
                # An earlier try died before the start, maybe before the script was in it.
                await self.end(spec.container_id)
            else:
                return
        elif there is not None:
            await self.end(spec.container_id)
        await self._surroundings.ensure_network()
        await self._surroundings.ensure_volume(spec.container_id)
        body = self._build(_spec_of(spec, install), epoch=0, operation_id=operation_id)
        del body["Labels"][LABEL_CONTAINER]
        body["Labels"][LABEL_INSTALLER] = spec.container_id
        body["HostConfig"]["LogConfig"]["Config"] = {"max-size": str(LOG_BYTES), "max-file": "1"}
        name = f"lormas-{spec.container_id}-installer"
        made = await self._lifecycle.run("create", lambda api: api.create_container_from_config(body, name=name), timeout=self._timeout)
        ref = str(made["Id"])
        archive = _archive(install.script)
        await self._lifecycle.run("archive", lambda api: api.put_archive(ref, "/", archive), timeout=self._timeout)
        await self._surroundings.start(ref, timeout=self._timeout)

    async def output(self, container_id: str) -> AsyncIterator[bytes]:
        given = Given()
        while True:
            item = await self._item(container_id)
            if item is None:
                return
            if _is_over(item):
                for record in await enginelog.read(self._wire, str(item["Id"]), tty=True):
                    if rest := given.behind(record.data):
                        yield rest
                return
            try:
                reader = await self._desk.reader(container_id, ResumePoint())
            except RuntimeFailure as failure:
                if failure.code != "no_such_container":
                    raise
                continue
            try:
                item = await self._item(container_id)
                if item is None or _is_over(item):
                    continue  # what is attached to after its end never says that it is over (SECURITY M10)
                async for piece in reader:
                    if isinstance(piece, Output) and (rest := given.behind(piece.data)):
                        yield rest
            finally:
                await reader.close()
                given.again()
            if await self._ends(container_id):
                return

    async def _ends(self, container_id: str) -> bool:
        """Its output has ended: so does it, in a moment. If not, only the connection has."""
        for _ in range(LOOKS):
            item = await self._item(container_id)
            if item is None or _is_over(item):
                return True
            await asyncio.sleep(0.1)
        return False

    async def state(self, container_id: str) -> InstallState | None:
        item = await self._item(container_id)
        if item is None:
            return None
        state = item["State"]
        code = int(state.get("ExitCode") or 0) if _is_over(item) else None
        return InstallState(str(item["Config"]["Labels"].get(LABEL_OPERATION, "")), code, bool(state.get("OOMKilled")))

    async def end(self, container_id: str) -> None:
        for summary in await self._summaries(f"{LABEL_INSTALLER}={container_id}"):
            try:
                await self._lifecycle.run("remove", partial(_remove, ref=str(summary["Id"])), timeout=self._timeout)
            except RuntimeFailure as failure:
                if failure.code != "no_such_container" and "already in progress" not in failure.detail:
                    raise

    async def all(self) -> dict[str, str]:
        return {item["Labels"][LABEL_INSTALLER]: str(item["Labels"].get(LABEL_OPERATION, "")) for item in await self._summaries(LABEL_INSTALLER)}


def _is_over(item: dict[str, Any]) -> bool:
    return item["State"].get("Status") in ("exited", "dead", "removing")


class Given:
    """How much of an output that is read several times from its beginning was passed on. Lines are counted, as the engine's log writes bytes that
    are no text differently."""

    def __init__(self) -> None:
        self._lines = 0
        self._open = 0
        self._seen = 0
        self._skip = 0

    def again(self) -> None:
        """From its beginning once more."""
        self._seen, self._skip = 0, self._open

    def behind(self, data: bytes) -> bytes:
        """What of the next piece is new."""
        while data and self._seen < self._lines:
            _, newline, data = data.partition(b"\n")
            self._seen += bool(newline)
        if self._skip:
            skip, self._skip = min(self._skip, len(data)), self._skip - min(self._skip, len(data))
            data = data[skip:]
        if data:
            ended = data.count(b"\n")
            self._lines += ended
            self._seen += ended
            self._open = len(data) - data.rindex(b"\n") - 1 if ended else self._open + len(data)
        return data


def _remove(api: Any, *, ref: str) -> None:
    api.remove_container(ref, v=True, force=True)


def _spec_of(spec: ContainerSpec, install: InstallScript) -> ContainerSpec:
    """The installer as a container. It gets no more than its owner has, but for the memory and the core that every installation needs."""
    limits = spec.limits
    return ContainerSpec(
        container_id=spec.container_id,
        name=f"{spec.name} installer",
        image=install.image,
        entrypoint=[*(install.entrypoint.split() or ["sh"]), SCRIPT],
        env=dict(install.env),
        working_dir=SERVER,
        tty=True,
        stdin_open=False,
        hostname="installer",
        limits=msgspec.structs.replace(
            limits,
            memory_bytes=max(limits.memory_bytes, install.memory_bytes, MINIMUM_MEMORY) if limits.memory_bytes else install.memory_bytes,
            cpus=max(limits.cpus, install.cpus, MINIMUM_CPUS) if limits.cpus else install.cpus,
        )
        if limits != Limits()
        else Limits(memory_bytes=install.memory_bytes, cpus=install.cpus),
        mounts=[Mount(kind="data", target=SERVER)],
        network_mode="none" if spec.network_mode == "none" else "bridge",
    )


def _archive(script: str) -> bytes:
    data = script.replace("\r\n", "\n").replace("\r", "\n").encode()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:") as archive:
        for folder in ("mnt", "mnt/install"):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(entry)
        file = tarfile.TarInfo(SCRIPT.lstrip("/"))
        file.size, file.mode = len(data), 0o755
        archive.addfile(file, io.BytesIO(data))
    return out.getvalue()
