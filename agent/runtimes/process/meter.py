"""Samples of process trees from /proc: one walk for all containers."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from agent.protocol.messages import ContainerStats
from agent.runtimes.process.folders import moment_of

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
DISK_SECONDS = 150.0


@dataclass(slots=True)
class _Seen:
    at: float = 0.0
    shim_pid: int = 0
    ticks: int = 0
    most_ticks: int = 0
    """Of this run: a process that leaves the tree takes what it used out of the sum, and a total never falls."""
    disk_at: float = -1e9
    disk_bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Process:
    parent: int
    ticks: int
    children_ticks: int
    """Of children that have ended and were waited for."""
    resident: int
    threads: int
    started_ticks: int
    """After the machine's boot."""


def _processes() -> dict[int, _Process]:
    found: dict[int, _Process] = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            words = Path(entry.path, "stat").read_bytes().rpartition(b")")[2].split()
            found[int(entry.name)] = _Process(
                parent=int(words[1]),
                ticks=int(words[11]) + int(words[12]),
                children_ticks=int(words[13]) + int(words[14]),
                resident=int(words[21]) * _PAGE,
                threads=int(words[17]),
                started_ticks=int(words[19]),
            )
        except (OSError, IndexError, ValueError):
            continue
    return found


@cache
def _boot_seconds() -> int:
    """Boot of the machine since 1970; asked once, or a clock that is set would make every run a new one."""
    lines = Path("/proc/stat").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("btime ")), 0)


def _moment(ticks: int) -> str:
    return moment_of(_boot_seconds() + ticks / _TICKS)


def _tree(root: int, children: dict[int, list[int]]) -> list[int]:
    found, todo = [], list(children.get(root, ()))
    while todo:
        pid = todo.pop()
        found.append(pid)
        todo.extend(children.get(pid, ()))
    return found


def _io(pid: int) -> tuple[int, int]:
    try:
        lines = Path("/proc", str(pid), "io").read_text().splitlines()
    except OSError:
        return 0, 0
    values = dict(line.split(": ", 1) for line in lines if ": " in line)
    return int(values.get("read_bytes", 0)), int(values.get("write_bytes", 0))


def folder_bytes(folder: Path) -> int:
    """Blocks used; links are not followed, hard links count once."""
    total = 0
    seen: set[tuple[int, int]] = set()
    todo = [str(folder)]
    while todo:
        try:
            entries = list(os.scandir(todo.pop()))
        except OSError:
            continue
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if status.st_nlink > 1 and not entry.is_dir(follow_symlinks=False):
                if (status.st_dev, status.st_ino) in seen:
                    continue
                seen.add((status.st_dev, status.st_ino))
            total += status.st_blocks * 512
            if entry.is_dir(follow_symlinks=False):
                todo.append(entry.path)
    return total


class TreeMeter:
    """Blocking: call it in a thread, one call at a time."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}

    def sample(self, shims: dict[str, tuple[int, int, Path]]) -> list[ContainerStats]:
        """`shims`: container -> (shim's pid, memory limit, data folder)."""
        processes = _processes()
        children: dict[int, list[int]] = {}
        for pid, process in processes.items():
            children.setdefault(process.parent, []).append(pid)
        now = time.monotonic()
        made: list[ContainerStats] = []
        for container_id, (shim_pid, limit, data) in shims.items():
            pids = _tree(shim_pid, children)
            if not pids or shim_pid not in processes:
                continue
            seen = self._seen.setdefault(container_id, _Seen())
            # What lives, what it has waited for, and what the shim inherited and waited for: all that this run has used.
            ticks = processes[shim_pid].children_ticks + sum(processes[pid].ticks + processes[pid].children_ticks for pid in pids)
            same = seen.at and seen.shim_pid == shim_pid
            percent = 100 * max(0, ticks - seen.ticks) / _TICKS / (now - seen.at) if same else 0.0
            if now - seen.disk_at > DISK_SECONDS:
                seen.disk_at, seen.disk_bytes = now, folder_bytes(data)
            seen.most_ticks = max(seen.most_ticks, ticks) if seen.shim_pid == shim_pid else ticks
            seen.at, seen.shim_pid, seen.ticks = now, shim_pid, ticks
            inputs = [_io(pid) for pid in pids]
            made.append(
                ContainerStats(
                    container_id=container_id,
                    cpu_percent=round(percent, 2),
                    memory_bytes=sum(processes[pid].resident for pid in pids),
                    memory_limit_bytes=limit,
                    block_read_bytes=sum(read for read, _ in inputs),
                    block_write_bytes=sum(written for _, written in inputs),
                    pids=len(pids),
                    disk_bytes=seen.disk_bytes,
                    cpu_seconds_total=seen.most_ticks / _TICKS,
                    started_at=_moment(processes[shim_pid].started_ticks),
                )
            )
        return made

    def forget(self, container_id: str) -> None:
        self._seen.pop(container_id, None)
