"""What the quick start, the doctor and CI ask of a Docker engine. The panel itself never does: that is the agents' work.

    python -m lormas.quickstart.engine import-busybox NAME

The probe is plain HTTP over the socket and needs nothing installed; images go through the docker SDK.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import socket
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lormas.quickstart.say import Trouble, line, trouble

DEFAULT_HOST = "unix:///var/run/docker.sock"
LOCAL_IMAGE = "lormas/busybox:local"
MINIMUM_API = (1, 41)


@dataclass(frozen=True, slots=True)
class Answer:
    """`ok`: an engine answers that Lormas can use. `problem` says what is wrong, `remedy` the command that mends it."""

    ok: bool
    version: str = ""
    api_version: str = ""
    problem: str = ""
    remedy: str = ""


def address(docker_host: str | None) -> str:
    """`DOCKER_HOST` as Docker writes it; a bare path is a socket; unset is the default socket."""
    if not docker_host:
        return DEFAULT_HOST
    return f"unix://{docker_host}" if docker_host.startswith("/") else docker_host


def _connect(host: str, seconds: float) -> socket.socket:
    if host.startswith("unix://"):
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(seconds)
        try:
            sock.connect(host.removeprefix("unix://"))
        except OSError:
            sock.close()
            raise
        return sock
    parts = urlsplit(host)
    return socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 2375), timeout=seconds)


def probe(docker_host: str | None, *, seconds: float = 3) -> Answer:
    """Does an engine answer there? Bounded in time; reads the API version from the ping's header."""
    host = address(docker_host)
    if urlsplit(host).scheme not in ("unix", "tcp", "http"):
        return Answer(True, problem=f"{host} can't be tried from here")  # ssh://, npipe://: let the agent find out
    try:
        with _connect(host, seconds) as sock:
            sock.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            head = b""
            while b"\r\n\r\n" not in head and len(head) < 8192:
                part = sock.recv(4096)
                if not part:
                    break
                head += part
    except PermissionError:
        return Answer(False, problem=f"this user may not use {host}", remedy='sudo usermod -aG docker "$USER" && newgrp docker')
    except TimeoutError:
        return Answer(False, problem=f"the engine behind {host} takes no answer within {seconds:g} s", remedy="sudo systemctl restart docker")
    except OSError as error:
        remedy = "sudo systemctl start docker" if shutil.which("dockerd") else "sudo apt-get install docker.io"
        return Answer(False, problem=f"no engine answers at {host} ({error.strerror or error})", remedy=remedy)
    status, _, rest = head.partition(b"\r\n")
    if b" 200 " not in status + b" ":
        return Answer(False, problem=f"what answers at {host} is no Docker engine", remedy="unset DOCKER_HOST, or correct it")
    headers = {k.strip().lower(): v.strip() for k, _, v in (item.partition(":") for item in rest.decode("latin-1").split("\r\n"))}
    api = headers.get("api-version", "")
    version = headers.get("server", "").partition("/")[2].partition(" ")[0]
    try:
        old = tuple(int(part) for part in api.split(".")) < MINIMUM_API
    except ValueError:
        old = False
    if old:
        return Answer(False, version, api, problem=f"the engine speaks API {api}, 1.41 is needed", remedy="install Docker 20.10 or newer")
    return Answer(True, version, api)


def client(docker_host: str | None, *, seconds: int = 30) -> contextlib.closing[Any]:
    """The SDK's client, to be used in `with` (it reads TLS settings from the environment)."""
    import docker

    return contextlib.closing(docker.DockerClient.from_env(environment={**os.environ, "DOCKER_HOST": address(docker_host)}, timeout=seconds))


def clock_skew_seconds(docker_host: str | None) -> float | None:
    """How far the engine's clock is ahead of ours, to the second (from the Date header); None if it does not say."""
    import email.utils
    import time

    try:
        with _connect(address(docker_host), 3) as sock:
            sock.sendall(b"GET /_ping HTTP/1.0\r\nHost: docker\r\n\r\n")
            head = sock.recv(8192).decode("latin-1")
    except OSError:
        return None
    date = next((text[5:].strip() for text in head.split("\r\n") if text.lower().startswith("date:")), "")
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() - time.time()
    except (TypeError, ValueError):
        return None


def static_busybox() -> Path | None:
    """A busybox of this machine that needs no libraries, so that it also runs in an empty image."""
    for name in (shutil.which("busybox"), "/bin/busybox", "/usr/bin/busybox", "/usr/lib/initramfs-tools/bin/busybox"):
        if name and Path(name).is_file() and _is_static(Path(name)):
            return Path(name)
    return None


def _is_static(file: Path) -> bool:
    """An ELF file without an interpreter (program header PT_INTERP = 3)."""
    head = file.read_bytes()[:4096]
    if head[:4] != b"\x7fELF":
        return False
    wide, order = head[4] == 2, "little" if head[5] == 1 else "big"

    def number(offset: int, size: int) -> int:
        return int.from_bytes(head[offset : offset + size], order)  # type: ignore[arg-type]

    start, size, count = (number(32, 8), number(54, 2), number(56, 2)) if wide else (number(28, 4), number(42, 2), number(44, 2))
    return all(number(start + index * size, 4) != 3 for index in range(count))


def busybox_tar(busybox: Path) -> bytes:
    """A root file system: busybox, a link for each of its commands, and what programs expect to find."""
    listed = subprocess.run([str(busybox), "--list"], capture_output=True, text=True, timeout=10, check=True).stdout.split()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:

        def add(name: str, *, content: bytes | None = None, link: str = "", mode: int = 0o755) -> None:
            info = tarfile.TarInfo(name)
            info.mode = mode
            if link:
                info.type, info.linkname = tarfile.SYMTYPE, link
            elif content is None:
                info.type = tarfile.DIRTYPE
            else:
                info.size = len(content)
            archive.addfile(info, io.BytesIO(content) if content is not None else None)

        for folder in ("bin", "dev", "etc", "home", "proc", "root", "sys", "usr", "usr/bin", "var"):
            add(folder)
        add("tmp", mode=0o1777)
        add("bin/busybox", content=busybox.read_bytes())
        for command in listed:
            if command != "busybox":
                add(f"bin/{command}", link="busybox")
        add("usr/bin/env", link="../../bin/busybox")
        add("etc/passwd", content=b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n", mode=0o644)
        add("etc/group", content=b"root:x:0:\nnogroup:x:65534:\n", mode=0o644)
    return buffer.getvalue()


def has_image(docker_host: str | None, name: str) -> bool:
    import docker.errors

    with client(docker_host, seconds=10) as engine:
        try:
            engine.api.inspect_image(name)
        except docker.errors.ImageNotFound:
            return False
        return True


def import_busybox(docker_host: str | None, name: str) -> bool:
    """Make image `name` of this machine's busybox unless it is there; False if there is no static busybox to make it of."""
    if has_image(docker_host, name):
        return True
    busybox = static_busybox()
    if busybox is None:
        return False
    repository, _, tag = name.partition(":")
    with client(docker_host) as engine:
        changes = ["ENV PATH=/bin:/usr/bin:/usr/local/bin", 'CMD ["sh"]']
        engine.api.import_image_from_data(busybox_tar(busybox), repository=repository, tag=tag or "latest", changes=changes)
    return True


def pull(docker_host: str | None, name: str, *, seconds: int) -> bool:
    """Try to get an image; False if it can't be had within the time."""
    import docker.errors
    import requests

    try:
        with client(docker_host, seconds=seconds) as engine:
            repository, _, tag = name.rpartition(":") if ":" in name.rpartition("/")[2] else (name, "", "latest")
            engine.images.pull(repository, tag=tag)
    except (docker.errors.DockerException, requests.RequestException, OSError):
        return False
    return True


def main(argv: list[str]) -> int:
    if len(argv) != 2 or argv[0] != "import-busybox":
        trouble("usage: python -m lormas.quickstart.engine import-busybox NAME")
        return 2
    docker_host = os.environ.get("DOCKER_HOST")
    answer = probe(docker_host)
    try:
        if not answer.ok:
            raise Trouble(f"{answer.problem}: {answer.remedy}")
        if not import_busybox(docker_host, argv[1]):
            raise Trouble("no static busybox on this machine: apt-get install busybox-static")
    except Trouble as error:
        trouble(error)
        return 1
    line(f"image {argv[1]} is there")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
