"""`ProcessRuntime`: the runtime interface without an engine. Isolates nothing; see docs/architecture/runtimes.md for what it can't do."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal as signals
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Literal, TypeVar

from agent.protocol.messages import ContainerReport, ContainerSpec, ContainerStats, NodeUsage, RegistryAuth, StopSpec
from agent.runtimes.base import EngineInfo, ExecSession, OutputReader, ProgressCallback, ResumePoint, RuntimeEvent, RuntimeFailure
from agent.runtimes.inside import Inside
from agent.runtimes.node import NodeMeter
from agent.runtimes.policy import LimitDefaults, LocalPolicy, check, load_policy
from agent.runtimes.process import hands, inside, place, shim, spool, terminal
from agent.runtimes.process.changes import Looks, differences
from agent.runtimes.process.datafolder import ProcessData
from agent.runtimes.process.folders import Folders, Made, Run
from agent.runtimes.process.inside import EXEC_MARK, ProcessInside
from agent.runtimes.process.installs import ProcessInstalls
from agent.runtimes.process.meter import TreeMeter
from agent.runtimes.process.tunnels import ProcessTunnels
from agent.runtimes.process.wish import Wishes

T = TypeVar("T")
END_POLL_SECONDS = 0.02
MIND_SECONDS = 0.2
THREADS_PER_PROCESS = 8
WATCH_SECONDS = 0.25
SEGMENT_BYTES = 4 * 1024 * 1024
SPOOL_BYTES = 256 * 1024 * 1024


class ProcessRuntime(Wishes):
    """See `agent.runtimes.base.Runtime`. All it keeps is under `root`."""

    kind: Literal["docker", "process", "fake"] = "process"
    capabilities = frozenset({"pause", "stats", "exec", "exec_tty", "stdin", "events", "tunnel", "move"})

    def __init__(
        self,
        *,
        root: Path,
        policy: LocalPolicy = LocalPolicy(),  # noqa: B008 - frozen
        defaults: LimitDefaults = LimitDefaults(),  # noqa: B008 - frozen
        segment_bytes: int = SEGMENT_BYTES,
        spool_bytes: int = SPOOL_BYTES,
    ) -> None:
        self._folders = Folders(root)
        self._policy = policy
        self._defaults = defaults
        self._segment_bytes = segment_bytes
        self._spool_bytes = spool_bytes
        self._default_memory = defaults.memory_bytes or int(0.8 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
        self._instance = ""
        self._locks: dict[str, asyncio.Lock] = {}
        self._execs: dict[str, set[terminal.ProcessExec]] = {}
        self._minders: set[asyncio.Task[None]] = set()
        self._meter = TreeMeter()
        self.inside: Inside = ProcessInside(self._folders, self._need, self._running)
        self._meter_lock = asyncio.Lock()
        self._node = NodeMeter(root)
        self.data = ProcessData(self._folders)
        self.installs = ProcessInstalls(self._folders, policy)
        self.tunnels = ProcessTunnels(self._folders, policy)
        if policy.install_scripts:
            self.capabilities = self.capabilities | {"install"}

    @classmethod
    def from_config(cls, *, data_dir: Path, docker_host: str = "") -> ProcessRuntime:
        """As the agent's program makes it."""
        return cls(root=data_dir / "process", policy=load_policy(data_dir))

    def data_dir(self, container_id: str) -> Path:
        """Where the container's `data` mount is on this machine."""
        return self._folders.data_of(container_id)

    # ---------------------------------------------------------------------------------------------------------------- basics

    async def open(self, *, instance: str) -> None:
        try:
            await asyncio.to_thread(self._folders.prepare)
        except OSError as error:
            raise RuntimeFailure("engine_down", f"The folder for processes can't be used: {error}") from error
        self._instance = instance

    async def close(self) -> None:
        await self.installs.close()
        for minder in self._minders:
            minder.cancel()
        for container_id in list(self._execs):
            await self._end_execs(container_id)

    async def info(self) -> EngineInfo:
        if self._instance:
            try:
                await asyncio.to_thread(self._folders.ids)
            except OSError as error:
                raise RuntimeFailure("engine_down", f"The folder for processes can't be read: {error}") from error
        return EngineInfo(
            kind="process",
            version="1",
            storage_root=str(self._folders.root),
            isolates=False,
            warnings=("Containers are plain processes of this machine: nothing keeps them apart from it or from each other.",),
        )

    async def pull(
        self, image: str, *, auth: RegistryAuth | None = None, progress: ProgressCallback | None = None, timeout_seconds: float = 900
    ) -> None:
        """There are no images."""

    async def has_image(self, image: str) -> bool:
        return True

    async def _do(self, work: Callable[..., T], *arguments: Any, **named: Any) -> T:
        try:
            return await asyncio.to_thread(work, *arguments, **named)
        except OSError as error:
            code = "disk_full" if error.errno in (28, 122) else "engine_error"
            raise RuntimeFailure(code, f"The node's disk: {error}", retryable=True) from error
        except ValueError as error:  # a file that is not what we wrote
            raise RuntimeFailure("engine_error", f"The container's files can't be read: {error}") from error

    async def _need(self, container_id: str) -> Made:
        made = await self._do(self._folders.made, container_id)
        if made is None or made.instance != self._instance:
            raise RuntimeFailure("no_such_container", "The container is not on this node.")
        return made

    async def inspect(self, container_id: str) -> ContainerReport | None:
        return await self._do(self._folders.report, container_id, instance=self._instance)

    async def _report(self, container_id: str) -> ContainerReport:
        return await self.inspect(container_id) or ContainerReport(container_id=container_id, state="removed")

    async def list_owned(self) -> list[ContainerReport]:
        def work() -> list[ContainerReport]:
            found = (self._folders.report(container_id, instance=self._instance) for container_id in self._folders.ids())
            return [report for report in found if report is not None]

        return await self._do(work)

    def _lock(self, container_id: str) -> asyncio.Lock:
        return self._locks.setdefault(container_id, asyncio.Lock())

    # ------------------------------------------------------------------------------------------------------------- lifecycle

    async def create(self, spec: ContainerSpec, *, epoch: int, operation_id: str) -> ContainerReport:
        check(spec, self._policy)
        if any(mount.kind == "bind" for mount in spec.mounts):
            raise RuntimeFailure("unsupported", "The process runtime can't mount: the container would see the machine's own folders anyway.")
        place.argv_of(spec)
        async with self._lock(spec.container_id):
            there = await self._do(self._folders.made, spec.container_id)
            if there is None:
                await self._do(self._folders.make, spec, instance=self._instance, epoch=epoch, operation_id=operation_id)
            elif there.instance != self._instance:
                raise RuntimeFailure("name_taken", "Another panel's container of this id is on this node.")
            return await self._report(spec.container_id)

    async def start(self, container_id: str) -> ContainerReport:
        made = await self._need(container_id)
        async with self._lock(container_id):
            report = await self._report(container_id)
            if report.state in ("running", "paused"):
                return report
            await self._do(hands.ports_free, made.spec.ports)
            run = await self._do(self._folders.run, container_id)
            if run is not None and run.exit_code is None:
                await self._do(hands.end_orphans, container_id)  # its shim was killed: no twins
            number = run.number + 1 if run is not None else 1
            config = await self._do(self._config, made, number)
            answer = await self._do(hands.launch, self._folders.of(container_id), config)
            if "busy" in answer:  # somebody else has started it
                return await self._report(container_id)
            if "error" in answer:
                raise RuntimeFailure("start_failed", f"The command could not be started: {answer['error']}")
            return await self._report(container_id)

    def _config(self, made: Made, number: int) -> dict[str, Any]:
        spec = made.spec
        data = self._folders.data_of(spec.container_id)
        cwd = place.folder_of(spec, data)
        cwd.mkdir(parents=True, exist_ok=True)
        temporary = self._folders.temporary_of(spec.container_id)
        temporary.mkdir(exist_ok=True, mode=0o700)
        _, most_files = resource.getrlimit(resource.RLIMIT_NOFILE)
        files = min(65536, most_files) if most_files > 0 else 65536
        limits = {"RLIMIT_CORE": (0, 0), "RLIMIT_NOFILE": (files, files)}
        if spec.limits.disk_bytes > 0:
            limits["RLIMIT_FSIZE"] = (spec.limits.disk_bytes, spec.limits.disk_bytes)
        pids = spec.limits.pids if spec.limits.pids > 0 else self._defaults.pids
        if os.geteuid() != 0:  # root is exempt from it
            threads = hands.threads_of_user() + THREADS_PER_PROCESS * pids
            limits["RLIMIT_NPROC"] = (threads, threads)
        return {
            "run": f"{made.birth}:{number}",
            "argv": place.argv_of(spec),
            "env": place.environment_of(spec, data, temporary),
            "cwd": str(cwd),
            "tty": spec.tty,
            "stdin": spec.stdin_open,
            "rlimits": limits,
            "memory_bytes": spec.limits.memory_bytes or self._default_memory,
            "pids": pids,
            "spool": f"spool/{number}",
            "segment_bytes": self._segment_bytes,
            "total_bytes": self._spool_bytes,
        }

    async def _running(self, container_id: str) -> Run | None:
        made = await self._do(self._folders.made, container_id)
        if made is None or made.instance != self._instance:
            return None
        run = await self._do(self._folders.run, container_id)
        return run if run is not None and run.is_alive else None

    async def stop(self, container_id: str, stop: StopSpec) -> ContainerReport:
        run = await self._running(container_id)
        if run is None:
            return await self._report(container_id)
        await asyncio.to_thread(hands.signal_all, run, signals.SIGCONT)
        asked = False
        if stop.command:
            with contextlib.suppress(RuntimeFailure):
                await self.write_stdin(container_id, stop.command.encode() + b"\n")
                asked = True
        if not asked:
            await asyncio.to_thread(hands.signal_group, run, hands.number(stop.signal or "SIGTERM") if not stop.command else signals.SIGTERM)
        grace = max(0.0, min(stop.grace_seconds, self._defaults.stop_grace_seconds_max))
        if await self._ended(container_id, run, seconds=grace):
            await self._end_execs(container_id)
            return await self._report(container_id)
        return await self.kill(container_id)

    async def _ended(self, container_id: str, run: Run, *, seconds: float) -> bool:
        until = time.monotonic() + seconds
        while True:
            now = await self._do(self._folders.run, container_id)
            if now is None or now.run != run.run or not now.is_alive:
                return True
            if time.monotonic() >= until:
                return False
            await asyncio.sleep(END_POLL_SECONDS)

    async def kill(self, container_id: str, signal: str = "SIGKILL") -> ContainerReport:
        run = await self._running(container_id)
        if run is None:
            return await self._report(container_id)
        number = hands.number(signal)
        await asyncio.to_thread(hands.signal_group, run, number)
        if number == signals.SIGKILL:
            if not await self._ended(container_id, run, seconds=shim.LINGER_SECONDS + 3):
                raise RuntimeFailure("timeout", "The process did not end after SIGKILL.", retryable=True)
            await self._end_execs(container_id)
        return await self._report(container_id)

    async def pause(self, container_id: str) -> ContainerReport:
        return await self._freeze(container_id, signals.SIGSTOP)

    async def unpause(self, container_id: str) -> ContainerReport:
        return await self._freeze(container_id, signals.SIGCONT)

    async def _freeze(self, container_id: str, number: int) -> ContainerReport:
        await self._need(container_id)
        run = await self._running(container_id)
        if run is None:
            raise RuntimeFailure("not_running", "The container does not run.")
        await asyncio.to_thread(hands.signal_all, run, number)
        wanted = "paused" if number == signals.SIGSTOP else "running"
        for _ in range(50):  # the kernel needs a moment
            report = await self._report(container_id)
            if report.state in (wanted, "exited"):
                break
            await asyncio.sleep(0.01)
        return report

    async def remove(self, container_id: str, *, keep_data: bool = False) -> None:
        made = await self._do(self._folders.made, container_id)
        if made is not None and made.instance != self._instance:
            return
        async with self._lock(container_id):
            await self.kill(container_id)
            await self._end_execs(container_id)
            run = await self._do(self._folders.run, container_id)
            if run is not None and run.exit_code is None:
                await self._do(hands.end_orphans, container_id)
            await self._do(self._folders.remove, container_id, keep_data=keep_data)
        self._meter.forget(container_id)
        self._locks.pop(container_id, None)

    # --------------------------------------------------------------------------------------------------------------- streams

    async def output(self, container_id: str, resume: ResumePoint) -> OutputReader:
        made = await self._need(container_id)
        folder = self._folders.of(container_id)

        def next_run() -> int:
            return spool.next_run(folder / "spool", run=self._folders.run(container_id), birth=made.birth, resume=resume)

        number = await self._do(next_run)
        mine = folder / "spool" / str(number)

        def is_over() -> bool:
            if not folder.exists():
                return True
            run = self._folders.run(container_id)
            return run is not None and (run.number > number or (run.number == number and not run.is_alive))

        def ends() -> spool.Ends:
            return spool.ends_of(mine, self._folders.run(container_id))

        return await self._do(spool.SpoolReader, mine, run_id=f"{made.birth}:{number}", resume=resume, is_over=is_over, totals=ends)

    async def write_stdin(self, container_id: str, data: bytes) -> None:
        made = await self._need(container_id)
        if await self._running(container_id) is None:
            raise RuntimeFailure("not_running", "The container does not run.")
        if not made.spec.stdin_open and not made.spec.tty:
            raise RuntimeFailure("unsupported", "The container was made without a standard input.")
        if not await self._do(hands.tell_shim, self._folders.of(container_id), b"I", data):
            raise RuntimeFailure("timeout", "The container does not read its standard input.", retryable=True)

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
        if not argv:
            raise RuntimeFailure("bad_payload", "There is no command.")
        made = await self._need(container_id)
        run = await self._running(container_id)
        if run is None:
            raise RuntimeFailure("not_running", "The container does not run.")
        data = self._folders.data_of(container_id)
        cwd = place.folder_of(made.spec, data, working_dir)
        if not cwd.is_dir():
            raise RuntimeFailure("start_failed", f"There is no folder {working_dir or made.spec.working_dir} in the container.")
        environment = place.environment_of(made.spec, data, self._folders.temporary_of(container_id)) | (env or {}) | {EXEC_MARK: inside.RUN_MARK}
        session = await terminal.start_exec(argv, env=environment, cwd=cwd, tty=tty, columns=columns, rows=rows)
        sessions = self._execs.setdefault(container_id, set())
        sessions.add(session)
        if len(sessions) == 1:
            minder = asyncio.ensure_future(self._mind_execs(container_id, run))
            self._minders.add(minder)
            minder.add_done_callback(self._minders.discard)
        return session

    async def _mind_execs(self, container_id: str, run: Run) -> None:
        """Forget those that have ended; end the others when the container does."""
        while sessions := self._execs.get(container_id):
            if not run.is_alive:
                await self._end_execs(container_id)
                return
            for session in [session for session in sessions if session.is_over]:
                sessions.discard(session)
            if not sessions:
                del self._execs[container_id]
                return
            await asyncio.sleep(MIND_SECONDS)

    async def _end_execs(self, container_id: str) -> None:
        """They end with their container, as they would in an engine."""
        for session in self._execs.pop(container_id, set()):
            with contextlib.suppress(OSError, TimeoutError):
                await session.kill()

    # -------------------------------------------------------------------------------------------------------- stats, events

    async def stats(self, container_ids: list[str]) -> list[ContainerStats]:
        def work() -> list[ContainerStats]:
            shims: dict[str, tuple[int, int, Path]] = {}
            for container_id in container_ids:
                made, run = self._folders.made(container_id), self._folders.run(container_id)
                if made is not None and made.instance == self._instance and run is not None and run.is_alive:
                    limit = made.spec.limits.memory_bytes or self._default_memory
                    shims[container_id] = (run.shim_pid, limit, self._folders.data_of(container_id))
            return self._meter.sample(shims)

        async with self._meter_lock:
            return await self._do(work)

    async def node_usage(self) -> NodeUsage:
        usage, reports = await asyncio.gather(asyncio.to_thread(self._node.sample), self.list_owned())
        return NodeUsage(
            cpu_percent=usage.cpu_percent,
            memory_used_bytes=usage.memory_used_bytes,
            storage_used_bytes=usage.storage_used_bytes,
            load_1m=usage.load_1m,
            containers_running=sum(1 for report in reports if report.state == "running"),
        )

    def _end_lost(self, container_id: str) -> None:
        """Its shim was killed and so was the command; what that had started goes too."""
        run = self._folders.run(container_id)
        if run is not None and run.exit_code is None and not run.is_alive:
            hands.end_orphans(container_id)

    async def events(self, *, since_unix: float = 0) -> AsyncIterator[RuntimeEvent]:
        """From looking at the files every 250 ms: nothing can be missed but what came and went in between."""
        known: Looks | None = None

        def look() -> Looks:
            found = ((container_id, self._folders.look(container_id, instance=self._instance)) for container_id in self._folders.ids())
            return {container_id: seen for container_id, seen in found if seen is not None}

        broken = False
        while True:
            try:
                now = await self._do(look)
            except RuntimeFailure:
                broken = True
                await asyncio.sleep(1)
                continue
            if broken:
                broken = False
                yield RuntimeEvent("resync", time_unix=time.time())
            for event in differences(known, now) if known is not None else []:
                if event.action == "die" and event.exit_code is None:
                    await self._do(self._end_lost, event.container_id)
                yield event
            known = now
            await asyncio.sleep(WATCH_SECONDS)
