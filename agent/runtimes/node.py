"""The machine's own load, from /proc: the same for every runtime."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
from pathlib import Path

from agent.protocol.messages import NodeUsage


class NodeMeter:
    """Samples; CPU percent is since the sample before. Reads a few small files: call it in a thread."""

    def __init__(self, storage: Path = Path("/")) -> None:
        self.storage = storage
        """Whose file system is measured: the one that the node's facts tell the size of (`EngineInfo.storage_root`)."""
        self._busy = 0
        self._total = 0

    def sample(self) -> NodeUsage:
        """100 % = all cores busy. `containers_running` is left to the caller."""
        cpu = 0.0
        try:
            words = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
            total, idle = sum(words), words[3] + words[4]
            if self._total and total > self._total:
                cpu = max(0.0, min(100.0, 100.0 * ((total - idle) - self._busy) / (total - self._total)))
            self._total, self._busy = total, total - idle
            memory = _memory()
        except (OSError, ValueError, IndexError):
            memory = {}
        return NodeUsage(
            cpu_percent=round(cpu, 2),
            memory_used_bytes=max(0, memory.get("MemTotal", 0) - memory.get("MemAvailable", 0)),
            storage_used_bytes=storage_of(self.storage)[1],
            load_1m=os.getloadavg()[0],
        )


def storage_of(path: Path) -> tuple[int, int]:
    """(total, used) bytes of the file system that holds `path`, or of the nearest folder above that exists."""
    while not path.exists() and path != path.parent:
        path = path.parent
    try:
        usage = shutil.disk_usage(path)
    except OSError:
        return 0, 0
    return usage.total, usage.used


def raise_file_limit() -> None:
    """As many open files as we may have: an attached connection, a log and the counters of each container are ten."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 1_048_576 if hard == resource.RLIM_INFINITY else hard
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _memory() -> dict[str, int]:
    found: dict[str, int] = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words:
            found[name] = int(words[0]) * 1024
    return found
