"""`FakeRuntime`: the runtime interface without containers."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
import uuid
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from agent.protocol.messages import ContainerReport, ContainerSpec, ContainerStats, NodeUsage, RegistryAuth, StopSpec
from agent.runtimes.base import Difference, EngineInfo, ProgressCallback, PullProgress, ResumePoint, RuntimeEvent, RuntimeFailure, spec_differences
from agent.runtimes.fake.extras import FakeData, FakeInstalls
from agent.runtimes.fake.keep import Keep
from agent.runtimes.fake.knobs import Knobs
from agent.runtimes.fake.script import FakeExec, FakeReader, Pipe, Script
from agent.runtimes.inside import Inside, NoInside
from agent.runtimes.policy import LocalPolicy, check, load_policy


@dataclass(slots=True)
class _Container:
    spec: ContainerSpec
    report: ContainerReport
    process: Script | None = None
    next_pipe: Pipe | None = None
    watcher: asyncio.Task[None] | None = None


class FakeRuntime:
    """See `agent.runtimes.base.Runtime` and the module. `state_file`: containers are kept there over restarts of the agent."""

    kind: Literal["docker", "process", "fake"] = "fake"
    capabilities = frozenset({"pause", "pull", "limits", "stats", "exec", "exec_tty", "stdin", "events", "install", "update"})

    def __init__(self, *, knobs: Knobs | None = None, state_file: Path | None = None, policy: LocalPolicy = LocalPolicy()) -> None:  # noqa: B008
        self.knobs = knobs or Knobs()
        self._keep = Keep(state_file) if state_file is not None else None
        self._policy = policy
        self._containers: dict[str, _Container] = {}
        self._listeners: set[asyncio.Queue[RuntimeEvent]] = set()
        self._runs = itertools.count(1)
        self.images: set[str] = set()
        self.data = FakeData(self.knobs)
        self.installs = FakeInstalls(self.knobs)
        self.inside: Inside = NoInside()

    @classmethod
    def from_config(cls, *, data_dir: Path, docker_host: str = "") -> FakeRuntime:
        return cls(state_file=data_dir / "fake.json", policy=load_policy(data_dir))

    async def open(self, *, instance: str) -> None:
        await self.knobs.act("open")
        if self._keep is None or self._containers:
            return
        for spec, report in await asyncio.to_thread(self._keep.load):
            self._containers[spec.container_id] = _Container(spec, report)
            if report.state in ("running", "paused"):
                self._run(self._containers[spec.container_id])

    async def close(self) -> None:
        for container in self._containers.values():
            for task in (container.watcher, container.process.task if container.process else None):
                if task is not None:
                    task.cancel()
        if self._keep is not None:
            self._keep.close()

    def _save(self, container: _Container) -> None:
        if self._keep is not None:
            self._keep.put(container.spec, container.report)

    def _forget(self, container_id: str) -> None:
        if self._keep is not None:
            self._keep.drop(container_id)

    def _set(self, container: _Container, **changes: Any) -> ContainerReport:
        container.report = msgspec.structs.replace(container.report, **changes)
        self._save(container)
        return container.report

    def _emit(self, action: str, container_id: str, *, exit_code: int | None = None) -> None:
        if not self.knobs.lose_events:
            for queue in self._listeners:
                queue.put_nowait(RuntimeEvent(action, container_id, exit_code, time.time()))

    def resync(self) -> None:
        """As after an interruption of the engine's events."""
        for queue in self._listeners:
            queue.put_nowait(RuntimeEvent("resync", time_unix=time.time()))

    async def info(self) -> EngineInfo:
        await self.knobs.act("info")
        return EngineInfo(kind="fake", version="1", isolates=True)

    async def pull(
        self, image: str, *, auth: RegistryAuth | None = None, progress: ProgressCallback | None = None, timeout_seconds: float = 900
    ) -> None:
        await self.knobs.act("pull")
        if image in self.knobs.missing_images:
            raise RuntimeFailure("no_such_image", f"The image does not exist: {image}")
        if progress is not None:
            for done in (0, 50, 100):
                progress(PullProgress(done_bytes=done, total_bytes=100, message="Downloading"))
        self.images.add(image)

    async def has_image(self, image: str) -> bool:
        await self.knobs.act("has_image")
        return image in self.images

    async def create(self, spec: ContainerSpec, *, epoch: int, operation_id: str) -> ContainerReport:
        check(spec, self._policy)
        await self.knobs.act("create")
        found = self._containers.get(spec.container_id)
        if found is not None:
            return found.report
        if spec.image in self.knobs.missing_images:
            raise RuntimeFailure("no_such_image", f"The image does not exist: {spec.image}")
        report = ContainerReport(
            container_id=spec.container_id,
            state="created",
            epoch=epoch,
            runtime_ref=uuid.uuid4().hex,
            operation_id=operation_id,
            image=spec.image,
            ports=spec.ports,
        )
        self._containers[spec.container_id] = _Container(spec, report)
        self._save(self._containers[spec.container_id])
        self._emit("create", spec.container_id)
        return report

    def _need(self, container_id: str) -> _Container:
        found = self._containers.get(container_id)
        if found is None:
            raise RuntimeFailure("no_such_container", "The container is not on this node.")
        return found

    def _report(self, container_id: str) -> ContainerReport:
        found = self._containers.get(container_id)
        return found.report if found else ContainerReport(container_id=container_id, state="removed")

    async def start(self, container_id: str) -> ContainerReport:
        await self.knobs.act("start")
        container = self._need(container_id)
        if container.report.state in ("running", "paused"):
            return container.report
        wanted = {(port.host_port, port.protocol) for port in container.spec.ports}
        for other in self._containers.values():
            theirs = {(port.host_port, port.protocol) for port in other.spec.ports}
            if other is not container and other.report.state in ("running", "paused") and wanted & theirs:
                raise RuntimeFailure("port_taken", "A port that the container needs is in use on the node.", retryable=True)
        self._run(container)
        self._set(container, state="running", exit_code=None, oom_killed=False, started_at=_now(), finished_at="")
        self._emit("start", container_id)
        return container.report

    def _pipe(self, container: _Container) -> Pipe:
        """For the next run: there before it starts, so that its first line can be waited for."""
        if container.next_pipe is None:
            container.next_pipe = Pipe(f"{container.report.runtime_ref}-{next(self._runs)}")
        return container.next_pipe

    def _run(self, container: _Container) -> None:
        pipe, container.next_pipe = self._pipe(container), None
        container.process = Script(list(container.spec.process_command or container.spec.command or container.spec.shell), pipe)
        container.watcher = asyncio.ensure_future(self._watch(container, container.process))

    async def _watch(self, container: _Container, process: Script) -> None:
        code = await asyncio.shield(process.exit_code)
        if self._containers.get(container.spec.container_id) is container:
            self._set(container, state="exited", exit_code=code, finished_at=_now())
            self._emit("die", container.spec.container_id, exit_code=code)

    async def _settled(self, container: _Container) -> ContainerReport:
        if container.watcher is not None:
            await asyncio.shield(container.watcher)
        return container.report

    async def stop(self, container_id: str, stop: StopSpec) -> ContainerReport:
        await self.knobs.act("stop")
        container = self._containers.get(container_id)
        if container is None or container.process is None or container.report.state not in ("running", "paused"):
            return self._report(container_id)
        container.process.unfrozen.set()
        if stop.command:
            container.process.stdin.put_nowait(stop.command.encode() + b"\n")
        else:
            container.process.signal(stop.signal or "SIGTERM")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(stop.grace_seconds):
                await asyncio.shield(container.process.exit_code)
        container.process.signal("SIGKILL")
        return await self._settled(container)

    async def kill(self, container_id: str, signal: str = "SIGKILL") -> ContainerReport:
        await self.knobs.act("kill")
        container = self._containers.get(container_id)
        if container is None or container.process is None or container.report.state not in ("running", "paused"):
            return self._report(container_id)
        self._emit("kill", container_id)
        container.process.signal(signal)
        return await self._settled(container) if signal == "SIGKILL" else container.report

    async def pause(self, container_id: str) -> ContainerReport:
        await self.knobs.act("pause")
        return self._freeze(container_id, frozen=True)

    async def unpause(self, container_id: str) -> ContainerReport:
        await self.knobs.act("unpause")
        return self._freeze(container_id, frozen=False)

    def _freeze(self, container_id: str, *, frozen: bool) -> ContainerReport:
        container = self._need(container_id)
        if container.process is None or container.report.state not in ("running", "paused"):
            raise RuntimeFailure("not_running", "The container does not run.")
        (container.process.unfrozen.clear if frozen else container.process.unfrozen.set)()
        self._emit("pause" if frozen else "unpause", container_id)
        return self._set(container, state="paused" if frozen else "running")

    async def remove(self, container_id: str, *, keep_data: bool = False) -> None:
        await self.knobs.act("remove")
        container = self._containers.get(container_id)
        if container is None:
            return
        if container.process is not None:
            container.process.signal("SIGKILL")
            await self._settled(container)
        if container.next_pipe is not None:
            container.next_pipe.end()
        del self._containers[container_id]
        self._forget(container_id)
        self._emit("destroy", container_id)

    async def update(self, spec: ContainerSpec) -> ContainerReport:
        await self.knobs.act("update")
        container = self._need(spec.container_id)
        container.spec = msgspec.structs.replace(container.spec, limits=spec.limits)
        self._save(container)
        return container.report

    async def drift(self, spec: ContainerSpec) -> list[Difference]:
        await self.knobs.act("drift")
        return spec_differences(spec, self._need(spec.container_id).spec)

    async def inspect(self, container_id: str) -> ContainerReport | None:
        await self.knobs.act("inspect")
        found = self._containers.get(container_id)
        return found.report if found else None

    async def list_owned(self) -> list[ContainerReport]:
        await self.knobs.act("list")
        if self.knobs.listing == "fail":
            raise RuntimeFailure("engine_down", "The fake runtime was told to fail at listing.", retryable=True)
        if self.knobs.listing == "empty":
            return []
        found = [container.report for container in self._containers.values()]
        return found[: len(found) // 2] if self.knobs.listing == "truncated" else found

    async def output(self, container_id: str, resume: ResumePoint) -> FakeReader:
        await self.knobs.act("output")
        container = self._need(container_id)
        process = container.process
        if process is not None and (not process.pipe.over or resume.run_id != process.pipe.run_id):
            return FakeReader(process.pipe, resume)
        return FakeReader(self._pipe(container), resume)

    async def write_stdin(self, container_id: str, data: bytes) -> None:
        await self.knobs.act("stdin")
        container = self._need(container_id)
        if container.process is None or container.report.state != "running":
            raise RuntimeFailure("not_running", "The container does not run.")
        container.process.stdin.put_nowait(data)

    async def stats(self, container_ids: list[str]) -> list[ContainerStats]:
        await self.knobs.act("stats")
        made: list[ContainerStats] = []
        for container_id in container_ids:
            container = self._containers.get(container_id)
            if container is not None and container.report.state == "running":
                now, started_at = time.time(), container.report.started_at
                wave = (now / 10 + zlib.crc32(container_id.encode()) % 100) % 1
                limit = container.spec.limits.memory_bytes or 512 * 1024 * 1024
                made.append(
                    ContainerStats(
                        container_id=container_id,
                        cpu_percent=round(100 * wave, 2),
                        memory_bytes=int(limit * (0.2 + 0.5 * wave)),
                        memory_limit_bytes=limit,
                        pids=1,
                        cpu_seconds_total=max(0.0, _burnt(now) - _burnt(datetime.fromisoformat(started_at).timestamp())) if started_at else None,
                        started_at=started_at,
                    )
                )
        return made

    async def node_usage(self) -> NodeUsage:
        await self.knobs.act("node_usage")
        running = sum(1 for container in self._containers.values() if container.report.state == "running")
        return NodeUsage(cpu_percent=min(100.0, running), memory_used_bytes=running * 1024 * 1024, load_1m=running / 10, containers_running=running)

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
    ) -> FakeExec:
        await self.knobs.act("exec")
        container = self._need(container_id)
        if container.report.state != "running":
            raise RuntimeFailure("not_running", "The container does not run.")
        return FakeExec(argv)

    async def events(self, *, since_unix: float = 0) -> AsyncIterator[RuntimeEvent]:
        queue: asyncio.Queue[RuntimeEvent] = asyncio.Queue()
        self._listeners.add(queue)
        try:
            while True:
                yield await queue.get()
        finally:
            self._listeners.discard(queue)

    # What somebody's hand on the engine would do.

    def outside_kill(self, container_id: str) -> None:
        """It dies behind our back."""
        process = self._need(container_id).process
        if process is not None:
            process.signal("SIGKILL")

    def outside_remove(self, container_id: str) -> None:
        """It is removed behind our back."""
        container = self._containers.pop(container_id)
        if container.process is not None:
            container.process.signal("SIGKILL")
        self._forget(container_id)
        self._emit("destroy", container_id)


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def _burnt(at: float) -> float:
    """Integral of the wave over time: core-seconds of a saw from 0 to 1 core in 10 s."""
    whole, part = divmod(at / 10, 1)
    return 10 * (whole / 2 + part * part / 2)
