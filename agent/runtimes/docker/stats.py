"""Samples of running containers: from the kernel's cgroup files where we can read them (v1 and v2), else from one shared engine stream each."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from agent.protocol.messages import ContainerStats
from agent.runtimes.base import RuntimeFailure
from agent.runtimes.docker.wire import EngineStatus, Wire

CGROUP = Path("/sys/fs/cgroup")
STREAM_IDLE_SECONDS = 60.0
_HUGE = 1 << 60


@dataclass(slots=True)
class _Files:
    """Descriptors of one container's counters, kept open: opening costs ten times the reading."""

    ref: str
    version: int
    pid: int
    started_at: str = ""
    open: dict[str, int] = field(default_factory=dict)
    cpu: tuple[float, float] = (0.0, 0.0)
    """(when, CPU seconds) of the sample before."""

    def close(self) -> None:
        for descriptor in self.open.values():
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self.open.clear()

    def text(self, name: str) -> str:
        descriptor = self.open.get(name)
        return os.pread(descriptor, 65536, 0).decode("ascii", "replace") if descriptor is not None else ""

    def number(self, name: str) -> int:
        word = self.text(name).strip()
        return int(word) if word.isdigit() else 0


_V1 = {
    "cpu": ("cpuacct", "cpuacct.usage"),
    "memory": ("memory", "memory.usage_in_bytes"),
    "limit": ("memory", "memory.limit_in_bytes"),
    "memory_stat": ("memory", "memory.stat"),
    "pids": ("pids", "pids.current"),
    "io": ("blkio", "blkio.throttle.io_service_bytes"),
}
_V2 = {"cpu": "cpu.stat", "memory": "memory.current", "limit": "memory.max", "memory_stat": "memory.stat", "pids": "pids.current", "io": "io.stat"}


def _open_files(ref: str, pid: int, started_at: str) -> _Files | None:
    """None if this machine's files are not the engine's machine's, or are hidden from us."""
    try:
        lines = (Path("/proc") / str(pid) / "cgroup").read_text().splitlines()
    except OSError:
        return None
    paths: dict[str, str] = {}
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for name in controllers.split(",") if controllers else [""]:
            paths[name] = path
    version = 1 if "memory" in paths else 2
    files = _Files(ref, version, pid, started_at)
    wanted = (
        {key: CGROUP / folder / paths.get(folder, "-").lstrip("/") / name for key, (folder, name) in _V1.items()}
        if version == 1
        else {key: CGROUP / paths.get("", "-").lstrip("/") / name for key, name in _V2.items()}
    )
    if ref not in str(wanted["cpu"]):
        return None
    for key, file in wanted.items():
        with contextlib.suppress(OSError):
            files.open[key] = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
    with contextlib.suppress(OSError):
        files.open["net"] = os.open(f"/proc/{pid}/net/dev", os.O_RDONLY | os.O_CLOEXEC)
    if "cpu" not in files.open or "memory" not in files.open:
        files.close()
        return None
    return files


def _pairs(text: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if value.isdigit():
            found[name] = int(value)
    return found


def network_totals(text: str) -> tuple[int, int]:
    """(received, sent) bytes over all interfaces but `lo`, from the text of /proc/<pid>/net/dev."""
    received = sent = 0
    for line in text.splitlines()[2:]:
        name, _, rest = line.partition(":")
        words = rest.split()
        if name.strip() != "lo" and len(words) >= 9:
            received += int(words[0])
            sent += int(words[8])
    return received, sent


def _block(files: _Files) -> tuple[int, int]:
    read = written = 0
    for line in files.text("io").splitlines():
        words = line.split()
        if files.version == 1:
            if len(words) == 3 and words[2].isdigit():
                read += int(words[2]) if words[1] == "Read" else 0
                written += int(words[2]) if words[1] == "Write" else 0
        else:
            values = dict(word.split("=", 1) for word in words[1:] if "=" in word)
            read += int(values.get("rbytes", 0))
            written += int(values.get("wbytes", 0))
    return read, written


def _sample_files(container_id: str, files: _Files) -> ContainerStats:
    now = time.monotonic()
    cpu = files.number("cpu") / 1e9 if files.version == 1 else _pairs(files.text("cpu")).get("usage_usec", 0) / 1e6
    before, seconds = files.cpu
    percent = 100 * max(0.0, cpu - seconds) / (now - before) if before and now > before else 0.0
    files.cpu = (now, cpu)
    stat = _pairs(files.text("memory_stat"))
    cache = stat.get("total_inactive_file", stat.get("inactive_file", 0))
    limit = files.number("limit")
    received, sent = network_totals(files.text("net"))
    read, written = _block(files)
    return ContainerStats(
        container_id=container_id,
        cpu_percent=round(percent, 2),
        memory_bytes=max(0, files.number("memory") - cache),
        memory_limit_bytes=limit if limit < _HUGE else 0,
        network_rx_bytes=received,
        network_tx_bytes=sent,
        block_read_bytes=read,
        block_write_bytes=written,
        pids=files.number("pids"),
        cpu_seconds_total=cpu,
        started_at=files.started_at,
    )


def from_engine(container_id: str, item: dict[str, Any], *, started_at: str = "") -> ContainerStats:
    """From one object of `GET /containers/{id}/stats`."""
    cpu, before = item.get("cpu_stats") or {}, item.get("precpu_stats") or {}
    used = (cpu.get("cpu_usage") or {}).get("total_usage", 0) - (before.get("cpu_usage") or {}).get("total_usage", 0)
    total = (cpu.get("cpu_usage") or {}).get("total_usage")
    system = cpu.get("system_cpu_usage", 0) - before.get("system_cpu_usage", 0)
    cores = cpu.get("online_cpus") or 1
    memory = item.get("memory_stats") or {}
    stat = memory.get("stats") or {}
    limit = int(memory.get("limit") or 0)
    io = (item.get("blkio_stats") or {}).get("io_service_bytes_recursive") or []
    networks = (item.get("networks") or {}).values()
    return ContainerStats(
        container_id=container_id,
        cpu_percent=round(100 * cores * used / system, 2) if used > 0 and system > 0 and before.get("system_cpu_usage") else 0.0,
        memory_bytes=max(0, int(memory.get("usage") or 0) - int(stat.get("total_inactive_file", stat.get("inactive_file", 0)))),
        memory_limit_bytes=limit if limit < _HUGE else 0,
        network_rx_bytes=sum(int(one.get("rx_bytes", 0)) for one in networks),
        network_tx_bytes=sum(int(one.get("tx_bytes", 0)) for one in networks),
        block_read_bytes=sum(int(one["value"]) for one in io if str(one.get("op")).lower() == "read"),
        block_write_bytes=sum(int(one["value"]) for one in io if str(one.get("op")).lower() == "write"),
        pids=int((item.get("pids_stats") or {}).get("current") or 0),
        cpu_seconds_total=None if total is None else total / 1e9,
        started_at=started_at,
    )


@dataclass(slots=True)
class _Stream:
    ref: str
    task: asyncio.Task[None]
    latest: ContainerStats | None = None
    wanted_at: float = 0.0


class StatsDesk:
    """All containers of one engine."""

    def __init__(self, wire: Wire, *, use_files: bool = True) -> None:
        self._wire = wire
        self._use_files = use_files and wire.endpoint.is_local
        self._files: dict[str, _Files] = {}
        self._streams: dict[str, _Stream] = {}
        self._lock = asyncio.Lock()
        self._dead: list[_Files] = []

    async def sample(self, refs: dict[str, str]) -> list[ContainerStats]:
        """One sample of each; `refs` maps our id to the engine's."""
        async with self._lock:
            while self._dead:
                self._dead.pop().close()
            made: list[ContainerStats] = []
            missing: dict[str, str] = {}
            if self._use_files:
                made, missing = await asyncio.to_thread(self._read, refs)
                # The pid is asked once a run; then the files are enough.
                for container_id, ref in list(missing.items()):
                    pid, started_at = await self._run(ref)
                    files = await asyncio.to_thread(_open_files, ref, pid, started_at) if pid else None
                    if files is None:
                        continue
                    del missing[container_id]
                    self.forget(container_id)
                    self._files[container_id] = files
                    with contextlib.suppress(OSError, ValueError):
                        made.append(_sample_files(container_id, files))
            else:
                missing = refs
            made += self._from_streams(missing)
            for container_id in [one for one in self._files if one not in refs and len(refs) > 1]:
                self.forget(container_id)
            return made

    def _read(self, refs: dict[str, str]) -> tuple[list[ContainerStats], dict[str, str]]:
        made: list[ContainerStats] = []
        missing: dict[str, str] = {}
        for container_id, ref in refs.items():
            files = self._files.get(container_id)
            if files is None or files.ref != ref:
                missing[container_id] = ref
                continue
            try:
                made.append(_sample_files(container_id, files))
            except (OSError, ValueError):
                missing[container_id] = ref  # started anew: its cgroup is another one
        return made, missing

    async def _run(self, ref: str) -> tuple[int, str]:
        """(main process, when it started) of what runs; (0, "") of what doesn't."""
        try:
            item = await self._wire.call("GET", f"/containers/{ref}/json", timeout=5)
        except (EngineStatus, RuntimeFailure):
            return 0, ""
        state = item.get("State") or {}
        return int(state.get("Pid") or 0), str(state.get("StartedAt") or "")

    def _from_streams(self, refs: dict[str, str]) -> list[ContainerStats]:
        made: list[ContainerStats] = []
        for container_id, ref in refs.items():
            stream = self._streams.get(container_id)
            if stream is None or stream.ref != ref or stream.task.done():
                if stream is not None:
                    stream.task.cancel()
                stream = _Stream(ref, asyncio.ensure_future(self._follow(container_id, ref)))
                self._streams[container_id] = stream
            stream.wanted_at = time.monotonic()
            if stream.latest is not None:
                made.append(stream.latest)
        return made

    async def _follow(self, container_id: str, ref: str) -> None:
        # Asked once: the engine ends the stream with the run.
        _, started_at = await self._run(ref)
        try:
            answer = await self._wire.open("GET", f"/containers/{ref}/stats", query={"stream": 1}, timeout=10)
        except (EngineStatus, RuntimeFailure):
            return
        try:
            rest = b""
            async for chunk in answer.chunks():
                *lines, rest = (rest + chunk).split(b"\n")
                stream = self._streams.get(container_id)
                if stream is None or time.monotonic() - stream.wanted_at > STREAM_IDLE_SECONDS:
                    return
                for line in lines:
                    if line.strip():
                        stream.latest = from_engine(container_id, msgspec.json.decode(line), started_at=started_at)
        except (RuntimeFailure, OSError, msgspec.DecodeError):
            return
        finally:
            answer.close()

    def forget(self, container_id: str) -> None:
        files = self._files.pop(container_id, None)
        if files is not None:
            self._dead.append(files)  # a thread may be reading: closed before the next sample
        stream = self._streams.pop(container_id, None)
        if stream is not None:
            stream.task.cancel()

    async def close(self) -> None:
        tasks = [stream.task for stream in self._streams.values()]
        for container_id in [*self._files, *self._streams]:
            self.forget(container_id)
        await asyncio.gather(*tasks, return_exceptions=True)
        async with self._lock:
            while self._dead:
                self._dead.pop().close()
