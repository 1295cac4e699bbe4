"""What the machine is: read from the kernel and the usual files, never by running a program."""

from __future__ import annotations

import os
import platform
import socket
from pathlib import Path
from typing import Literal

from agent.protocol.messages import NodeFacts
from agent.runtimes.base import EngineInfo
from agent.runtimes.node import storage_of


def _os_release() -> dict[str, str]:
    for file in (Path("/etc/os-release"), Path("/usr/lib/os-release")):
        try:
            pairs = (line.partition("=") for line in file.read_text(encoding="utf-8").splitlines())
            return {key: value.strip("\"'") for key, mark, value in pairs if mark}
        except OSError:
            continue
    return {}


def _memory_bytes() -> int:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return 0


def _cores() -> float:
    try:
        return float(len(os.sched_getaffinity(0)))
    except (AttributeError, OSError):
        return float(os.cpu_count() or 1)


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _address() -> str:
    """The address of the default route's interface: connecting a datagram socket sends nothing."""
    for family, target in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((target, 9))
                return str(probe.getsockname()[0])
        except OSError:
            continue
    return "127.0.0.1"


def collect(*, data_dir: Path, engine: EngineInfo | None, kind: Literal["docker", "process", "fake"]) -> NodeFacts:
    """The node's facts. `engine` None = it does not answer."""
    release = _os_release()
    root = Path(engine.storage_root) if engine and engine.storage_root else data_dir
    return NodeFacts(
        hostname=socket.gethostname(),
        ip_address=_address(),
        cpu_cores=_cores(),
        cpu_architecture=platform.machine(),
        total_memory_bytes=_memory_bytes(),
        total_storage_bytes=storage_of(root)[0],
        operating_system=platform.system().lower(),
        os_image=release.get("PRETTY_NAME", platform.platform()),
        kernel_version=platform.release(),
        container_runtime=f"{kind}://{engine.version if engine else ''}",
        boot_id=_boot_id(),
        runtime_kind=kind,
        isolates=engine.isolates if engine else kind != "process",
    )
