"""Ten small SSH machines to try the pool with: containers where an engine answers, else `chroot`s in namespaces of their own, as root.

Both are made of this computer's own programs (`provision.image`), so no registry is needed, and accounts made on them are never this computer's.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from provision import image

FIRST_PORT: Final = 22201
LABEL: Final = "lormas.demo-pool"
WAIT_SECONDS: Final = 60.0


class CantMake(RuntimeError):
    """No demo machines here; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Made:
    """One of them, listening on loopback."""

    name: str
    port: int


def names(count: int) -> list[str]:
    return [f"demo-{number:02}" for number in range(1, count + 1)]


def free_ports(count: int, *, first: int = FIRST_PORT) -> list[int]:
    """So many ports of loopback on which nothing listens."""
    found: list[int] = []
    for port in range(first, 65_000):
        with contextlib.closing(socket.socket()) as probe, contextlib.suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("127.0.0.1", port))
            found.append(port)
        if len(found) == count:
            return found
    raise CantMake("No ports of loopback are free.")


def wait(made: Sequence[Made], *, seconds: float = WAIT_SECONDS) -> None:
    """Until each says that it speaks SSH. Raises CantMake."""
    end = time.monotonic() + seconds
    for one in made:
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", one.port), 2) as link:
                link.settimeout(5)
                if link.recv(4) == b"SSH-":
                    break
            if time.monotonic() > end:
                raise CantMake(f"{one.name} does not answer on port {one.port}.")
            time.sleep(0.1)


def engine_answers(docker_host: str | None) -> bool:
    from lormas.quickstart import engine

    return engine.probe(docker_host).ok


def up(count: int, *, folder: Path, public_key: str, docker_host: str | None, containers: bool | None = None) -> list[Made]:
    """Bring them up. `containers`: True or False to choose, None: where an engine answers. Raises CantMake, image.NoImage."""
    if containers is None:
        containers = engine_answers(docker_host)
    ports = free_ports(count)
    made = [Made(name, port) for name, port in zip(names(count), ports, strict=True)]
    (_containers_up if containers else _chroots_up)(made, folder=folder, public_key=public_key, docker_host=docker_host)
    wait(made)
    return made


def _owner(folder: Path) -> str:
    return str(folder.resolve())


def _containers_up(made: Sequence[Made], *, folder: Path, public_key: str, docker_host: str | None) -> None:
    from lormas.quickstart import engine

    image.ensure(docker_host)
    with engine.client(docker_host, seconds=120) as client:
        for one in made:
            client.containers.run(
                image.IMAGE, detach=True, init=True, environment={"AUTHORIZED_KEY": public_key}, ports={"22/tcp": ("127.0.0.1", one.port)},
                labels={LABEL: _owner(folder), f"{LABEL}.name": one.name}, restart_policy={"Name": "unless-stopped"}, hostname=one.name,
                mem_limit="128m", pids_limit=200,
            )  # fmt: skip


_INSIDE: Final = """
mount --make-rprivate / && mount --rbind /dev "$1/dev" && mount -t proc proc "$1/proc" || exit 1
hostname "$2" 2>/dev/null
exec chroot "$1" /start
"""


def _chroots_up(made: Sequence[Made], *, folder: Path, public_key: str, docker_host: str | None) -> None:
    if os.geteuid() != 0 or not shutil.which("unshare"):
        raise CantMake("Without an engine, demo machines need root and `unshare` (util-linux): install Docker, or run this as root.")
    data = image.root_tar()
    for one in made:
        root = folder / one.name
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True, mode=0o755)
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            # As an attribute, which Python 3.11 before 3.11.4 (Debian 12's) leaves alone: its `extractall` knows no `filter`, and trusts anyway.
            archive.extraction_filter = lambda member, _: member
            archive.extractall(root)  # noqa: S202 - our own archive, made above; its setuid bits are wanted
        log = (folder / f"{one.name}.log").open("ab")
        process = subprocess.Popen(
            ["unshare", "--mount", "--uts", "--pid", "--fork", "--kill-child", "sh", "-c", _INSIDE, "sh", str(root), one.name],
            env={"PATH": image.PATH, "AUTHORIZED_KEY": public_key, "SSH_PORT": str(one.port), "SSH_LISTEN": "127.0.0.1"},
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        log.close()
        (folder / f"{one.name}.pid").write_text(str(process.pid), encoding="ascii")


def down(*, folder: Path, docker_host: str | None) -> int:
    """Remove all that `up` made for this folder; how many. What is gone already is fine."""
    count = 0
    for file in sorted(folder.glob("demo-*.pid")) if folder.is_dir() else []:
        count += _stop(int(file.read_text(encoding="ascii")), folder / file.stem)
        shutil.rmtree(folder / file.stem, ignore_errors=True)
        file.unlink()
    if engine_answers(docker_host):
        from lormas.quickstart import engine

        with engine.client(docker_host, seconds=120) as client:
            for container in client.containers.list(all=True, filters={"label": f"{LABEL}={_owner(folder)}"}):
                container.remove(force=True, v=True)
                count += 1
    return count


def _stop(pid: int, root: Path) -> bool:
    """End the namespace of a chroot, if this process is still the one that we started. Its mounts go with it."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    if str(root).encode() not in command:
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)
        time.sleep(0.05)
    return True
