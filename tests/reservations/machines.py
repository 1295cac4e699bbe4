"""Real SSH machines for tests: throw-away containers with OpenSSH's server and shadow's tools, made of this computer's own files."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncssh
import docker

from provision import image
from reservations.hands.base import Endpoint

IMAGE = "lormas-test/pool-machine:3"


@dataclass
class Box:
    """One of them."""

    container: Any
    port: int
    private_key: str

    def endpoint(self, **changes: Any) -> Endpoint:
        values: dict[str, Any] = {"name": f"box-{self.port}", "host": "127.0.0.1", "port": self.port, "user": "root", "private_key": self.private_key}
        return Endpoint(**{**values, **changes})

    def sh(self, line: str, *arguments: str) -> str:
        """Run something as root there, past SSH."""
        code, output = self.container.exec_run(["sh", "-c", line, "sh", *arguments])
        assert code in (0, 1), output
        return str(output.decode())

    def new_host_key(self) -> None:
        """As if somebody else stood in its place."""
        self.sh("rm -f /etc/ssh/host_key*; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/host_key")
        self.container.restart(timeout=0)
        self.wait()

    def wait(self) -> None:
        self.container.reload()
        self.port = int(self.container.attrs["NetworkSettings"]["Ports"]["22/tcp"][0]["HostPort"])
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if greets("127.0.0.1", self.port):
                return
            time.sleep(0.05)
        raise AssertionError(f"no SSH server on {self.port}: {self.container.logs().decode()[-500:]}")


def greets(host: str, port: int) -> bool:
    """Whether an SSH server answers there: the engine takes connections for it sooner."""
    try:
        with socket.create_connection((host, port), timeout=5) as there:
            return there.recv(4) == b"SSH-"
    except OSError:
        return False


def login(port: int, username: str, password: str = "", command: str = "id -un", *, key: str = "") -> str:
    """Log in as a person would, by password or by a private key; the command's output. Raises asyncssh.PermissionDenied."""
    import asyncio

    async def inner() -> str:
        async with asyncssh.connect(
            "127.0.0.1",
            port,
            username=username,
            password=password or None,
            known_hosts=None,
            client_keys=[asyncssh.import_private_key(key)] if key else None,
            agent_path=None,
            config=None,
            login_timeout=30,
        ) as connection:
            done = await connection.run(command, check=True, stdin=asyncssh.DEVNULL)
            return str(done.stdout).strip()

    return asyncio.run(inner())


@contextlib.contextmanager
def boxes(count: int, *, python: bool = False) -> Iterator[list[Box]]:
    """So many machines; removed at the end whatever happens. `python`: with this computer's own Python (see `has_python`)."""
    volumes = {place: {"bind": place, "mode": "ro"} for place in ("/usr/lib", "/usr/bin/python3")} if python else {}
    image.ensure(os.environ.get("DOCKER_HOST"), name=IMAGE)
    key = asyncssh.generate_private_key("ssh-ed25519")
    public = key.export_public_key().decode().strip()
    private = key.export_private_key().decode()
    client = docker.from_env(timeout=60)
    run = uuid.uuid4().hex[:8]
    labels = {"lormas-test.pool": run, "lormas-test.pid": str(os.getpid())}
    made: list[Box] = []
    try:
        for number in range(count):
            container = client.containers.run(
                IMAGE, detach=True, name=f"lormas-test-pool-{run}-{number}", environment={"AUTHORIZED_KEY": public},
                ports={"22/tcp": ("127.0.0.1", None)}, labels=labels, init=True, volumes=volumes,
            )  # fmt: skip
            made.append(Box(container, 0, private))
        for box in made:
            box.wait()
        yield made
    finally:
        for box in made:
            with contextlib.suppress(docker.errors.DockerException):
                box.container.remove(force=True, v=True)
        client.close()


def has_python() -> bool:
    """Is there a Python of the distribution's that a test machine can be lent (its program and /usr/lib)?"""
    found = subprocess.run(["/usr/bin/python3", "-c", "import json, sys; print(sys.prefix)"], capture_output=True, text=True, timeout=30, check=False)
    return Path("/usr/bin/python3").exists() and found.stdout.strip() == "/usr"


def key_pair() -> tuple[str, str]:
    """(private, public) of a person."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    return key.export_private_key().decode(), key.export_public_key().decode().strip()


__all__ = ["Box", "boxes", "key_pair", "login", "subprocess"]
