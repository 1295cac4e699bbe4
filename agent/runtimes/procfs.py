"""Processes as the kernel shows them: a snapshot, and a signal that can't reach somebody else. Synchronous; call it in a thread."""

from __future__ import annotations

import contextlib
import os
import pwd
import signal
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from agent.protocol.inside import ProcessInfo
from agent.runtimes.base import RuntimeFailure

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
COMMAND_CHARACTERS = 512
MOST = 500

Belongs = Callable[[int], bool]
"""Is this pid of the machine one of the container's processes?"""


@lru_cache(maxsize=1)
def _boot_unix() -> float:
    for line in Path("/proc/stat").read_text().splitlines():
        if line.startswith("btime "):
            return float(line.split()[1])
    return time.time()


def pids() -> list[int]:
    return sorted(int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit())


def state(pid: int) -> bytes:
    """The kernel's letter, as proc(5) tells them; empty if it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except (OSError, IndexError):
        return b""


def inner_pids(pid: int) -> tuple[int, ...]:
    """Its number in each namespace, the machine's first, its own last; () if it is gone."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path(f"/proc/{pid}/status").read_text(errors="replace").splitlines():
            if line.startswith("NSpid:"):
                return tuple(map(int, line.split()[1:]))
        return (pid,)
    return ()


def info(pid: int, *, own_users: bool, exec_mark: bytes = b"") -> ProcessInfo | None:
    """None if it is gone. `own_users` False: the names of users are the container's own business, so numbers are given."""
    folder = Path("/proc") / str(pid)
    try:
        words = (folder / "stat").read_bytes().rpartition(b")")
        name = words[0].partition(b"(")[2].decode(errors="replace")
        rest = words[2].split()
        command = (folder / "cmdline").read_bytes()[: 4 * COMMAND_CHARACTERS].replace(b"\0", b" ").decode(errors="replace").strip()
        uid = folder.stat().st_uid
        environment = (folder / "environ").read_bytes() if exec_mark else b""
    except (OSError, IndexError):
        return None
    inner = inner_pids(pid)
    if not inner:
        return None
    user = str(uid)
    if own_users:
        with contextlib.suppress(KeyError):
            user = pwd.getpwuid(uid).pw_name
    return ProcessInfo(
        pid=inner[-1],
        parent=_inner_parent(int(rest[1]), len(inner)),
        user=user,
        state=rest[0].decode(),
        cpu_seconds=round((int(rest[11]) + int(rest[12])) / _TICKS, 2),
        memory_bytes=int(rest[21]) * _PAGE,
        started_at_unix=round(_boot_unix() + int(rest[19]) / _TICKS, 2),
        command=(command or f"[{name}]")[:COMMAND_CHARACTERS],
        is_exec=bool(exec_mark) and any(part.startswith(exec_mark) for part in environment.split(b"\0")),
    )


def _inner_parent(parent: int, depth: int) -> int:
    inner = inner_pids(parent)
    return inner[-1] if len(inner) == depth else 0


def snapshot(belongs: Belongs, *, own_users: bool, exec_mark: bytes = b"") -> list[ProcessInfo]:
    """At most `MOST`, by pid."""
    found = [info(pid, own_users=own_users, exec_mark=exec_mark) for pid in pids() if belongs(pid)]
    return sorted((one for one in found if one is not None), key=lambda one: one.pid)[:MOST]


def signal_number(name: str) -> int:
    """`SIGTERM`, `TERM`, `15` -> 15. Raises `bad_payload`."""
    word = name.upper().strip()
    if word.isdigit() and 0 < int(word) < 65:
        return int(word)
    try:
        return signal.Signals["SIG" + word.removeprefix("SIG")]
    except KeyError:
        raise RuntimeFailure("bad_payload", f"Not a signal: {name[:32]!r}") from None


def send(belongs: Belongs, inner_pid: int, number: int) -> None:
    """To the container's process of this inner pid. Held by a descriptor before it is looked at, so that a re-used number gets nothing.

    Raises `no_such_process`.
    """
    for pid in pids():
        if not belongs(pid) or inner_pids(pid)[-1:] != (inner_pid,):
            continue
        try:
            held = os.pidfd_open(pid)
        except OSError:
            continue
        try:
            if belongs(pid) and inner_pids(pid)[-1:] == (inner_pid,):
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(held, number)
                return
        finally:
            os.close(held)
    raise RuntimeFailure("no_such_process", f"The container has no process {inner_pid}: it has ended, or is another container's.")
