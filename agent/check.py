"""`lormas-agent check`: what is wrong on this machine, and which command fixes it."""

from __future__ import annotations

import asyncio
import email.utils
import http.client
import os
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from agent import config
from agent.config import Config, ConfigError
from agent.runtimes.node import storage_of

LOW_DISK_SHARE = 0.10
SKEW_SECONDS = 30.0


def _join_first(data_dir: Path) -> tuple[Config | None, str]:
    try:
        return config.load(data_dir), ""
    except ConfigError as error:
        return None, str(error)


def _private(data_dir: Path) -> str:
    file = data_dir / config.FILE
    if file.exists() and file.stat().st_mode & 0o077:
        return f"{file} can be read by others.\n    fix: chmod 600 {file}"
    return ""


def _disk(data_dir: Path) -> str:
    total, used = storage_of(data_dir)
    if total and (total - used) / total < LOW_DISK_SHARE:
        return f"Less than {LOW_DISK_SHARE:.0%} of the disk of {data_dir} is free.\n    fix: docker system prune, or a larger disk"
    return ""


def _panel(settings: Config) -> str:
    parts = urlsplit(settings.panel_url)
    secure = parts.scheme in ("https", "wss")
    host, port = parts.hostname or "", parts.port or (443 if secure else 80)
    try:
        if secure:
            context = ssl.create_default_context() if not settings.insecure else ssl._create_unverified_context()  # noqa: S323 - asked for by --insecure
            client: http.client.HTTPConnection = http.client.HTTPSConnection(host, port, timeout=5, context=context)
        else:
            client = http.client.HTTPConnection(host, port, timeout=5)
        client.request("GET", parts.path.rstrip("/") + "/healthz")
        answer = client.getresponse()
        answer.read(1024)
    except ssl.SSLCertVerificationError as error:
        return f"The panel's certificate is not trusted: {error.verify_message}.\n    fix: install the authority's certificate on this machine"
    except OSError as error:
        return f"{settings.panel_url} can't be reached: {error}.\n    fix: check the address, DNS and the firewall; join again if the panel has moved"
    if answer.status != 200:
        return f"{settings.panel_url} answers HTTP {answer.status}.\n    fix: join again with the address of the panel itself"
    return _clock(answer.getheader("Date", ""))


def _clock(date: str | None) -> str:
    try:
        skew = abs(email.utils.parsedate_to_datetime(date or "").timestamp() - time.time())
    except ValueError:
        return ""
    return f"This machine's clock is {skew:.0f} s off the panel's.\n    fix: timedatectl set-ntp true" if skew > SKEW_SECONDS else ""


def _engine(settings: Config) -> str:
    from agent import engines

    if settings.runtime == "process":
        return ""

    async def ask() -> str:
        runtime = engines.make("docker", settings)
        try:
            return await engines.answers(runtime)
        finally:
            await runtime.close()

    why = asyncio.run(ask())
    if not why:
        return ""
    socket = Path("/var/run/docker.sock")
    if not settings.docker_host and socket.exists() and not os.access(socket, os.R_OK | os.W_OK):
        return f"The Docker engine's socket can't be used by this user ({why}).\n    fix: usermod -aG docker $USER, and sign in again"
    return f"No Docker engine answers ({why}).\n    fix: apt-get install docker.io, systemctl start docker, or set DOCKER_HOST"


def check(data_dir: Path, *, say: Callable[[str], None]) -> int:
    """Say each finding; 0 if all is well, else 1."""
    settings, missing = _join_first(data_dir)
    findings = [("configuration", missing), ("permissions", _private(data_dir)), ("disk", _disk(data_dir))]
    if settings is not None:
        findings += [("panel", _panel(settings)), ("engine", _engine(settings))]
    for what, wrong in findings:
        say(f"[{'problem' if wrong else 'ok'}] {what}{': ' + wrong if wrong else ''}")
    return 1 if any(wrong for _, wrong in findings) else 0
