"""What the tests of the process runtime share: specs, waiting, and a look at the machine's real processes."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agent.protocol.messages import ContainerSpec, Mount
from agent.runtimes.base import OutputGap, OutputReader, ResumePoint
from agent.runtimes.process import ProcessRuntime

ROOT = Path(__file__).parents[4]
INSTANCE = "panel-1"
MARK = "LORMAS_TEST_MARK"
DATA = Mount(kind="data", target="/home/container")


def python(code: str) -> list[str]:
    return [sys.executable, "-u", "-c", code]


def shell(line: str) -> list[str]:
    return ["sh", "-c", line]


def spec_of(argv: list[str], *, container_id: str = "", env: dict[str, str] | None = None, **more: Any) -> ContainerSpec:
    """A spec with a data mount; each of its processes carries its id in its environment, so that none can hide."""
    container_id = container_id or str(uuid.uuid4())
    more.setdefault("mounts", [DATA])
    more.setdefault("working_dir", DATA.target)
    return ContainerSpec(container_id=container_id, name="test", image="none", process_command=argv, env={MARK: container_id, **(env or {})}, **more)


async def created(runtime: ProcessRuntime, argv: list[str], **more: Any) -> str:
    spec = spec_of(argv, **more)
    await runtime.create(spec, epoch=1, operation_id="op-1")
    return spec.container_id


async def started(runtime: ProcessRuntime, argv: list[str], **more: Any) -> str:
    container_id = await created(runtime, argv, **more)
    report = await runtime.start(container_id)
    assert report.state in ("running", "exited")
    return container_id


async def until(check: Callable[[], Any], *, seconds: float = 60, what: str = "") -> Any:
    """Poll; `check` may be plain or give an awaitable."""
    deadline = time.monotonic() + seconds
    while True:
        found = check()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return found
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.02)


async def ended(runtime: ProcessRuntime, container_id: str) -> Any:
    async def look() -> Any:
        report = await runtime.inspect(container_id)
        return report if report is not None and report.state == "exited" else None

    return await until(look, what="the end of the container")


def processes(container_id: str) -> list[int]:
    """All living processes of this machine that carry the container's mark, wherever they hide."""
    wanted = f"{MARK}={container_id}".encode()
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            environment = Path("/proc", name, "environ").read_bytes().split(b"\0")
            state = Path("/proc", name, "stat").read_bytes().rpartition(b")")[2].split()[0]
        except (OSError, IndexError):
            continue
        if wanted in environment and state not in (b"Z", b"X"):
            found.append(int(name))
    return found


def shims(root: Path) -> list[int]:
    """Living shims whose folder is under this root."""
    found = []
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            if b"shim.py" in Path("/proc", name, "cmdline").read_bytes() and str(Path("/proc", name, "cwd").readlink()).startswith(str(root)):
                found.append(int(name))
        except OSError:
            continue
    return found


@dataclass
class Taken:
    """What a reader gave, and where one would go on after it."""

    run_id: str = ""
    stdout: bytes = b""
    stderr: bytes = b""
    gaps: list[OutputGap] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    order: list[tuple[str, bytes]] = field(default_factory=list)

    def take(self, item: Any) -> None:
        if isinstance(item, OutputGap):
            self.gaps.append(item)
            return
        self.order.append((item.stream, item.data))
        self.times.append(item.time_unix)
        if item.stream == "stdout":
            self.stdout += item.data
        else:
            self.stderr += item.data

    def resume(self) -> ResumePoint:
        return ResumePoint(
            run_id=self.run_id,
            stdout_bytes=len(self.stdout),
            stderr_bytes=len(self.stderr),
            stdout_lines=self.stdout.count(b"\n"),
            stderr_lines=self.stderr.count(b"\n"),
        )


async def take_all(reader: OutputReader, *, into: Taken | None = None, seconds: float = 60) -> Taken:
    """Until the reader ends by itself."""
    taken = into or Taken()
    taken.run_id = reader.run_id
    async with asyncio.timeout(seconds):
        async for item in reader:
            taken.take(item)
    await reader.close()
    return taken


async def take_until(reader: OutputReader, check: Callable[[Taken], Any], *, into: Taken | None = None, seconds: float = 60) -> Taken:
    """Until `check` is true; the reader is closed then."""
    taken = into or Taken()
    taken.run_id = reader.run_id
    async with asyncio.timeout(seconds):
        async for item in reader:
            taken.take(item)
            if check(taken):
                break
    await reader.close()
    return taken


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
