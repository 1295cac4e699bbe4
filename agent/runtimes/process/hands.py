"""Signals, ports, and talking to shims: the blocking parts, for threads."""

from __future__ import annotations

import contextlib
import json
import os
import signal as signals
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from agent.protocol.messages import PortBinding
from agent.runtimes.base import RuntimeFailure
from agent.runtimes.process import shim
from agent.runtimes.process.folders import Run
from agent.runtimes.process.place import MARK

SHIM = Path(shim.__file__)
START_SECONDS = 15.0


def number(name: str) -> int:
    """`SIGTERM`, `TERM`, `15` -> 15. Raises `bad_payload`."""
    word = name.upper().strip()
    if word.isdigit() and 0 < int(word) < 65:
        return int(word)
    try:
        return signals.Signals["SIG" + word.removeprefix("SIG")]
    except KeyError:
        raise RuntimeFailure("bad_payload", f"Not a signal: {name!r}") from None


def signal_group(run: Run, number: int) -> None:
    """To the command and what it has started in its group. A pid that is somebody else's by now gets nothing."""
    if run.main_is_alive:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(run.pid, number)
        if number == signals.SIGKILL:
            with contextlib.suppress(ProcessLookupError):
                os.kill(run.pid, number)


def signal_all(run: Run, number: int) -> None:
    """To all descendants of the shim, groups of their own too."""
    if run.is_alive:
        for pid, _ in shim.tree(run.shim_pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def end_orphans(container_id: str) -> None:
    """Kill all that carries the container's mark. For when its shim is gone: what a command started may have outlived them both."""
    wanted = f"{MARK}={container_id}".encode()
    for _ in range(20):
        found = [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit() and _carries(entry.name, wanted)]
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signals.SIGKILL)
        time.sleep(0.01)


def _carries(name: str, wanted: bytes) -> bool:
    try:
        return wanted in Path("/proc", name, "environ").read_bytes().split(b"\0")
    except OSError:
        return False


def threads_of_user() -> int:
    """How many this user has on the machine: RLIMIT_NPROC counts them all."""
    me, count = os.geteuid(), 0
    for entry in os.scandir("/proc"):
        with contextlib.suppress(OSError, IndexError, ValueError):
            if entry.name.isdigit() and entry.stat().st_uid == me:
                count += int(Path(entry.path, "stat").read_bytes().rpartition(b")")[2].split()[17])
    return count


def ports_free(ports: list[PortBinding]) -> None:
    """Raises `port_taken`. The process binds them itself, and would fail less clearly."""
    for port in ports:
        family = socket.AF_INET6 if ":" in port.host_ip else socket.AF_INET
        with socket.socket(family, socket.SOCK_DGRAM if port.protocol == "udp" else socket.SOCK_STREAM) as probe:
            if port.protocol == "tcp":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((port.host_ip, port.host_port))
            except OSError as error:
                raise RuntimeFailure("port_taken", f"Port {port.host_port}/{port.protocol} is in use on the node ({error.strerror}).") from error


def launch(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """Start a shim and hear how it went. The one we start forks and ends; the real one is nobody's child but init's."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", str(SHIM)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=folder,
        env={"PATH": os.environ.get("PATH", os.defpath)},
        start_new_session=True,
    )
    try:
        out, _ = process.communicate(json.dumps(config).encode(), timeout=START_SECONDS)
        found: dict[str, Any] = json.loads(out)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        raise RuntimeFailure("timeout", "The process's supervisor did not start in time.", retryable=True) from None
    except ValueError:
        raise RuntimeFailure("start_failed", "The process's supervisor died at its start.") from None
    return found


def tell_shim(folder: Path, kind: bytes, data: bytes) -> bool:
    """Through the folder's descriptor: a socket's path may have 107 characters at most."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(5)
            connection.connect(f"/proc/self/fd/{descriptor}/s")
            connection.sendall(kind + struct.pack(">I", len(data)) + data)
            return connection.recv(1) == b"K"
    finally:
        os.close(descriptor)
