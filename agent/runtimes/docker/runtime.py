"""`DockerRuntime`: the runtime interface on a Docker engine (API 1.41 and up)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from agent.protocol.messages import ContainerReport, ContainerSpec, ContainerStats, NodeUsage, RegistryAuth, StopSpec
from agent.runtimes.base import (
    LABEL_CONTAINER,
    Difference,
    EngineInfo,
    ExecSession,
    OutputReader,
    ProgressCallback,
    ResumePoint,
    RuntimeEvent,
    RuntimeFailure,
)
from agent.runtimes.docker import compare, errors, events, images, oom, options, reports, startup, terminal
from agent.runtimes.docker.datafolder import DockerData
from agent.runtimes.docker.diskuse import DiskUse
from agent.runtimes.docker.finder import Finder
from agent.runtimes.docker.foreign import DockerForeign
from agent.runtimes.docker.inside import DockerInside
from agent.runtimes.docker.installs import DockerInstalls
from agent.runtimes.docker.lifecycle import Lifecycle
from agent.runtimes.docker.output import OutputDesk
from agent.runtimes.docker.pulls import PullDesk
from agent.runtimes.docker.stats import StatsDesk
from agent.runtimes.docker.stock import DockerStock
from agent.runtimes.docker.surroundings import Surroundings
from agent.runtimes.docker.swarm import DockerSwarm
from agent.runtimes.docker.tunnels import DockerTunnels
from agent.runtimes.docker.wire import EngineStatus, Wire, endpoint_from
from agent.runtimes.inside import Inside
from agent.runtimes.node import NodeMeter, raise_file_limit
from agent.runtimes.policy import LimitDefaults, LocalPolicy, load_policy

MINIMUM_API = (1, 41)
NEWEST_API = (1, 44)
"""What this code was written against. The engine speaks older versions too, so a newer engine is asked for this one."""
SETTLING_LOOKS = 100
"""The engine's record may lag behind what it did: so often it is looked at again, 20 ms apart."""


class DockerRuntime:
    """See `agent.runtimes.base.Runtime`. `host` as `DOCKER_HOST`; empty = that variable, else the default socket."""

    kind: Literal["docker", "process", "fake"] = "docker"
    capabilities = frozenset(
        "pause pull limits stats exec exec_tty stdin events install stock update tunnel adopt swarm swarm_change".split()  # noqa: SIM905 - one line
    )

    def __init__(
        self,
        *,
        host: str = "",
        policy: LocalPolicy = LocalPolicy(),  # noqa: B008 - frozen
        defaults: LimitDefaults = LimitDefaults(),  # noqa: B008 - frozen
        threads: int = 8,
        call_timeout_seconds: float = 10,
        start_timeout_seconds: float = 60,
        isolate_network: bool = True,
    ) -> None:
        endpoint = endpoint_from(host)
        self._wire = Wire(endpoint)
        self._lifecycle = Lifecycle(endpoint, threads=threads)
        self._policy = policy
        self._defaults = defaults
        self._quick = call_timeout_seconds
        self._slow = start_timeout_seconds
        self._instance = ""
        self._facts = options.EngineFacts()
        self._surroundings = Surroundings(self._wire, self._lifecycle, timeout=start_timeout_seconds, isolate_network=isolate_network)
        self._finder = Finder(self._call)
        self._making: dict[str, asyncio.Lock] = {}
        self._output = OutputDesk(self._wire, self._finder.item, self._finder.find)
        self._stats = StatsDesk(self._wire)
        self.inside: Inside = DockerInside(self._finder.item, self._finder.running_refs, run_mark=terminal.RUN_MARK)
        self.pulls = PullDesk(self._wire, policy, is_local=endpoint.is_local)
        self._meter = NodeMeter()
        self.stock = DockerStock(self._wire, instance=lambda: self._instance)
        self.swarm = DockerSwarm(self._wire, instance=lambda: self._instance, defaults=defaults)
        self.data = DockerData(self._wire, self._lifecycle, self._finder.item, self._surroundings, timeout=start_timeout_seconds)
        if endpoint.is_local:
            self.capabilities = self.capabilities | {"move"}
        self._disk = DiskUse(self.data.usage)
        self.installs = DockerInstalls(self._wire, self._lifecycle, self._surroundings, self._options, timeout=start_timeout_seconds)
        self.foreign = DockerForeign(self._wire, self._lifecycle, policy, timeout=start_timeout_seconds)
        self.tunnels = DockerTunnels(self._wire, self._lifecycle, self._surroundings, policy, pulls=self.pulls, timeout=start_timeout_seconds)

    @classmethod
    def from_config(cls, *, data_dir: Path, docker_host: str = "") -> DockerRuntime:
        """As the agent's program makes it: with the policy file of its own folder."""
        return cls(host=docker_host, policy=load_policy(data_dir))

    # ---------------------------------------------------------------------------------------------------------------- engine

    async def _negotiate(self) -> dict[str, Any]:
        self._wire.version = ""
        found: dict[str, Any] = await self._call("GET", "/version", timeout=5)
        theirs = tuple(int(part) for part in str(found.get("ApiVersion", "0.0")).split(".")[:2])
        if theirs < MINIMUM_API:
            raise RuntimeFailure(
                "unsupported", f"The engine speaks API {found.get('ApiVersion')}; at least {MINIMUM_API[0]}.{MINIMUM_API[1]} is needed."
            )
        version = ".".join(map(str, min(theirs, NEWEST_API)))
        self._wire.version = self._lifecycle.version = version
        return found

    async def open(self, *, instance: str) -> None:
        raise_file_limit()
        await self.info()
        self._instance = self._finder.instance = self._surroundings.instance = instance
        self._finder.forget()

    async def close(self) -> None:
        await self._stats.close()
        await self._disk.close()
        self._lifecycle.close()

    async def info(self) -> EngineInfo:
        version = await self._negotiate()
        found: dict[str, Any] = await self._call("GET", "/info", timeout=5)
        self._facts = options.engine_facts(found)
        root = self.pulls.storage_root = str(found.get("DockerRootDir", ""))
        self._meter.storage = Path(root or "/")
        return EngineInfo(
            kind="docker",
            version=str(version.get("Version", "")),
            api_version=str(version.get("ApiVersion", "")),
            cgroup_version=str(found.get("CgroupVersion", "")),
            storage_root=root,
            warnings=tuple(map(str, found.get("Warnings") or ())),
        )

    async def _call(
        self, method: str, path: str, *, query: dict[str, Any] | None = None, body: Any = None, timeout: float = 0, verb: str = ""
    ) -> Any:
        try:
            return await self._wire.call(method, path, query=query, body=body, timeout=timeout or self._quick)
        except EngineStatus as error:
            raise errors.of(error, verb=verb) from error

    # ---------------------------------------------------------------------------------------------------------------- images

    async def has_image(self, image: str) -> bool:
        return await images.has(self._wire, image, timeout=self._quick)

    async def pull(
        self, image: str, *, auth: RegistryAuth | None = None, progress: ProgressCallback | None = None, timeout_seconds: float = 900
    ) -> None:
        await self.pulls.pull(image, auth=auth, progress=progress, timeout_seconds=timeout_seconds)

    # ------------------------------------------------------------------------------------------------------------- containers

    async def inspect(self, container_id: str) -> ContainerReport | None:
        item = await self._finder.item(container_id)
        if item is not None and oom.in_doubt(item):
            item["State"]["OOMKilled"] = await oom.told(self._wire, item)
        return reports.from_inspect(item) if item is not None else None

    async def _report(self, container_id: str) -> ContainerReport:
        return await self.inspect(container_id) or ContainerReport(container_id=container_id, state="removed")

    async def list_owned(self) -> list[ContainerReport]:
        return [reports.from_summary(item) for item in await self._finder.owned()]

    def _options(self, spec: ContainerSpec, *, epoch: int, operation_id: str) -> dict[str, Any]:
        return options.build(
            spec,
            instance=self._instance,
            epoch=epoch,
            operation_id=operation_id,
            policy=self._policy,
            defaults=self._defaults,
            facts=self._facts,
        )

    async def create(self, spec: ContainerSpec, *, epoch: int, operation_id: str) -> ContainerReport:
        if spec.shell and spec.shell_when == "auto":
            spec = startup.choose(spec, await images.config(self._wire, spec.image, timeout=self._quick))
        elif spec.shell:
            spec = startup.choose(spec, {})
        body = self._options(spec, epoch=epoch, operation_id=operation_id)
        async with self._making.setdefault(spec.container_id, asyncio.Lock()):
            there = await self.inspect(spec.container_id)
            if there is not None:
                return there
            if spec.network_mode == "bridge":
                await self._surroundings.ensure_network()
            if any(mount.kind == "data" for mount in spec.mounts):
                await self._surroundings.ensure_volume(spec.container_id)
            name = options.engine_name(spec)
            try:
                made = await self._lifecycle.run("create", lambda api: api.create_container_from_config(body, name=name), timeout=self._slow)
                self._finder.learn(spec.container_id, str(made["Id"]))
            except RuntimeFailure as failure:
                # The engine may have made it although its answer was lost: then it is there under our label.
                if failure.code not in ("timeout", "engine_down", "name_taken"):
                    raise
                found = None
                with contextlib.suppress(RuntimeFailure):
                    found = await self.inspect(spec.container_id)
                if found is None:
                    raise failure from None
                return found
            return await self._report(spec.container_id)

    async def start(self, container_id: str) -> ContainerReport:
        ref = await self._finder.find(container_id) or await self._finder.need(container_id)
        try:
            await self._surroundings.start(ref, timeout=self._slow)
        except RuntimeFailure as failure:
            if failure.code != "no_such_container":  # removed behind our back, and maybe made again
                raise
            ref = await self._finder.need(container_id)
            await self._surroundings.start(ref, timeout=self._slow)
        return await self._report(container_id)

    async def stop(self, container_id: str, stop: StopSpec) -> ContainerReport:
        item = await self._finder.item(container_id)
        if item is None:
            return await self._report(container_id)
        state = item["State"]
        if not state.get("Running"):
            return reports.from_inspect(item)
        ref = str(item["Id"])
        if state.get("Paused"):
            # A frozen process takes no signal: thaw it, or the grace is always spent in vain.
            await self._lifecycle.run("unpause", lambda api: api.unpause(ref), timeout=self._quick)
        grace = max(0.0, min(stop.grace_seconds, self._defaults.stop_grace_seconds_max))
        try:
            if stop.command:
                try:
                    await self.write_stdin(container_id, stop.command.encode() + b"\n")
                except RuntimeFailure as failure:
                    if failure.code != "unsupported":
                        raise
                    await self._signal(ref, "SIGTERM")
            else:
                await self._signal(ref, stop.signal or "SIGTERM")
        except RuntimeFailure as failure:
            if failure.code not in ("not_running", "no_such_container", "engine_error", "timeout"):
                raise
        if not await self._ended(ref, seconds=grace):
            return await self.kill(container_id)
        return await self._report(container_id)

    async def _signal(self, ref: str, signal: str) -> None:
        await self._lifecycle.run("kill", lambda api: api.kill(ref, signal), timeout=self._quick)

    async def _ended(self, ref: str, *, seconds: float) -> bool:
        """Wait for its end without holding a thread. The engine is asked anew at least every minute."""
        loop = asyncio.get_running_loop()
        until = loop.time() + seconds
        while True:
            left = until - loop.time()
            try:
                await self._call("POST", f"/containers/{ref}/wait", query={"condition": "not-running"}, timeout=max(0.05, min(left, 60)), verb="wait")
                return True
            except RuntimeFailure as failure:
                if failure.code == "no_such_container":
                    return True
                if failure.code != "timeout":
                    raise
                if loop.time() >= until:
                    return False

    async def kill(self, container_id: str, signal: str = "SIGKILL") -> ContainerReport:
        ref = await self._finder.find(container_id)
        if ref is not None:
            try:
                await self._signal(ref, signal)
            except RuntimeFailure as failure:
                if failure.code not in ("not_running", "no_such_container"):
                    raise
            if signal.upper().removeprefix("SIG") in ("KILL", "9") and not await self._ended(ref, seconds=self._quick):
                raise RuntimeFailure("timeout", "The container did not end after SIGKILL.", retryable=True)
        return await self._report(container_id)

    async def pause(self, container_id: str) -> ContainerReport:
        ref = await self._finder.need(container_id)
        try:
            await self._lifecycle.run("pause", lambda api: api.pause(ref), timeout=self._quick)
        except RuntimeFailure as failure:
            if "already paused" not in failure.detail:
                raise
        return await self._settled(container_id, "running")

    async def unpause(self, container_id: str) -> ContainerReport:
        ref = await self._finder.need(container_id)
        try:
            await self._lifecycle.run("unpause", lambda api: api.unpause(ref), timeout=self._quick)
        except RuntimeFailure as failure:
            if "is not paused" not in failure.detail:
                raise
        return await self._settled(container_id, "paused")

    async def _settled(self, container_id: str, before: str) -> ContainerReport:
        """
        Its report once it is no longer what it was before.

        The engine corrects its record from events that come late: a container paused right after it was resumed is called running for a moment.
        """
        report = await self._report(container_id)
        for _ in range(SETTLING_LOOKS):
            if report.state != before:
                break
            await asyncio.sleep(0.02)
            report = await self._report(container_id)
        return report

    async def remove(self, container_id: str, *, keep_data: bool = False) -> None:
        ref = await self._finder.find(container_id)
        if ref is not None:
            try:
                # v=True takes only the anonymous volumes of the image; ours has a name.
                await self._lifecycle.run("remove", lambda api: api.remove_container(ref, v=True, force=True), timeout=self._slow)
            except RuntimeFailure as failure:
                if failure.code == "engine_error" and "already in progress" in failure.detail:
                    await self._gone(container_id)
                elif failure.code != "no_such_container":
                    raise
            self._finder.forget(container_id)
            self._stats.forget(container_id)
            self._disk.forget(container_id)
            self._output.forget(container_id)
        if not keep_data:
            await self.data.clear(container_id)
            await self._surroundings.remove_volume(container_id)

    async def update(self, spec: ContainerSpec) -> ContainerReport:
        ref = await self._finder.need(spec.container_id)
        body = compare.limits_body(self._options(spec, epoch=0, operation_id=""))
        await self._call("POST", f"/containers/{ref}/update", body=body, timeout=self._slow, verb="update")
        return await self._report(spec.container_id)

    async def drift(self, spec: ContainerSpec) -> list[Difference]:
        item = await self._finder.item(spec.container_id)
        if item is None:
            raise RuntimeFailure("no_such_container", "The container is not on this node.")
        config: dict[str, Any] = {}
        with contextlib.suppress(RuntimeFailure):  # an image that is gone says nothing of its environment
            config = await images.config(self._wire, str(item.get("Image") or spec.image), timeout=self._quick)
        wanted = startup.choose(spec, config if spec.shell_when == "auto" else {}) if spec.shell else spec
        return compare.differences(self._options(wanted, epoch=0, operation_id=""), item, image_config=config)

    async def _gone(self, container_id: str) -> None:
        for _ in range(int(self._slow / 0.1)):
            if not await self._finder.summaries(container_id):
                return
            await asyncio.sleep(0.1)
        raise RuntimeFailure("timeout", "The engine did not finish removing the container.", retryable=True)

    # ---------------------------------------------------------------------------------------------------------------- streams

    async def output(self, container_id: str, resume: ResumePoint) -> OutputReader:
        return await self._output.reader(container_id, resume)

    async def write_stdin(self, container_id: str, data: bytes) -> None:
        item = await self._finder.item(container_id)
        if item is None:
            raise RuntimeFailure("no_such_container", "The container is not on this node.")
        if not item["State"].get("Running"):
            raise RuntimeFailure("not_running", "The container does not run.")
        if not item["Config"].get("OpenStdin"):
            raise RuntimeFailure("unsupported", "The container was made without a standard input.")
        await terminal.write_stdin(self._wire, str(item["Id"]), data, timeout=self._quick)

    async def stats(self, container_ids: list[str]) -> list[ContainerStats]:
        found = await self._finder.summaries()
        running = {item["Labels"][LABEL_CONTAINER]: item for item in found if item.get("State") in ("running", "paused")}
        wanted = {container_id: str(running[container_id]["Id"]) for container_id in container_ids if container_id in running}
        samples = await self._stats.sample(wanted)
        disk = self._disk.of(list(wanted))
        return [msgspec.structs.replace(one, disk_bytes=disk.get(one.container_id)) for one in samples]

    async def node_usage(self) -> NodeUsage:
        usage, found = await asyncio.gather(asyncio.to_thread(self._meter.sample), self._finder.summaries())
        return NodeUsage(
            cpu_percent=usage.cpu_percent,
            memory_used_bytes=usage.memory_used_bytes,
            storage_used_bytes=usage.storage_used_bytes,
            load_1m=usage.load_1m,
            containers_running=sum(1 for item in found if item.get("State") == "running"),
        )

    async def exec(
        self,
        container_id: str,
        argv: list[str],
        *,
        env: dict[str, str] | None = None,
        working_dir: str = "",
        user: str = "",
        tty: bool = False,
        columns: int = 80,
        rows: int = 24,
    ) -> ExecSession:
        item = await self._finder.item(container_id)
        if item is None:
            raise RuntimeFailure("no_such_container", "The container is not on this node.")
        if not item["State"].get("Running"):
            raise RuntimeFailure("not_running", "The container does not run.")
        return await terminal.start_exec(
            self._wire,
            self._lifecycle,
            str(item["Id"]),
            argv,
            env=env or {},
            working_dir=working_dir,
            user=user,
            tty=tty,
            columns=columns,
            rows=rows,
            timeout=self._quick,
        )

    def events(self, *, since_unix: float = 0) -> AsyncIterator[RuntimeEvent]:
        return events.follow(self._wire, instance=self._instance, since_unix=since_unix)
