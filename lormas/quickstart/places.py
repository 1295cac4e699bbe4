"""Where the quick start keeps things inside the data folder. Standard library only."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lormas.env import Env
from lormas.quickstart.say import Trouble

ROOT = Path(__file__).resolve().parents[2]
LONGEST_SOCKET_PATH = 100
"""Bytes; the kernel takes 107."""


@dataclass(frozen=True, slots=True)
class Places:
    """Paths below `LORMAS_DATA`; `make` creates the folders, for their owner only."""

    data: Path

    @classmethod
    def of(cls, env: Env) -> Places:
        folder: Path = env["LORMAS_DATA"]
        return cls(folder if folder.is_absolute() else ROOT / folder)

    @property
    def run(self) -> Path:
        return self.data / "run"

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    @property
    def redis(self) -> Path:
        return self.data / "redis"

    @property
    def node(self) -> Path:
        """The local agent's own folder."""
        return self.data / "node"

    @property
    def node_token(self) -> Path:
        return self.node / "token"

    @property
    def wheels(self) -> Path:
        """What other nodes install."""
        return self.data / "agent"

    @property
    def initial_password(self) -> Path:
        """Kept by `accounts.seeding` until the first administrator has changed it."""
        return self.data / "initial-password"

    @property
    def lock(self) -> Path:
        return self.run / "lock"

    @property
    def instance(self) -> Path:
        """Who holds the lock: pid, address, run id (JSON)."""
        return self.run / "instance.json"

    @property
    def schema_hint(self) -> Path:
        """Fingerprint of code and database after the last migration; see `schema_fingerprint`."""
        return self.run / "schema"

    @property
    def supervisor_socket(self) -> Path:
        return self.run / "supervisor.sock"

    def make(self) -> None:
        """Raises Trouble if the data folder can't be used."""
        try:
            for folder in (self.data, self.run, self.logs, self.redis, self.node, self.wheels, self.data / "static"):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.data.chmod(0o700)
            probe = self.run / f".probe.{os.getpid()}"
            probe.write_bytes(b"x")
            probe.unlink()
        except OSError as error:
            raise Trouble(f"the data folder {self.data} can't be written ({error.strerror}): mend it, or choose another with LORMAS_DATA.") from error


def schema_fingerprint(env: Env, places: Places) -> str:
    """Changes whenever a migration may be due: other migrations, other packages, another database. Empty where the database is not there yet.

    Only a hint that lets web start while `prepare` still looks; `prepare` asks the database itself.
    """
    import hashlib

    found = hashlib.sha256((ROOT / "requirements" / "panel.lock").read_bytes())
    for file in sorted(ROOT.glob("*/migrations/*.py")):
        found.update(f"{file.parent.parent.name}/{file.name}".encode())
    url = env["DATABASE_URL"] or ""
    if not url or url.startswith("sqlite"):
        file = Path(urlsplit(url).path) if url else (env["DB_PATH"] or places.data / "lormas.sqlite3")
        if not file.exists():
            return ""
        url = f"{file}:{file.stat().st_ino}"
    found.update(url.encode())
    return found.hexdigest()


def socket_path(wanted: Path) -> Path:
    """`wanted`, or a short one in a folder for this user only, where the kernel would refuse the length."""
    if len(os.fsencode(wanted)) <= LONGEST_SOCKET_PATH:
        return wanted
    import hashlib
    import tempfile

    short = Path(tempfile.gettempdir()) / f"lormas-{os.getuid()}-{hashlib.sha256(os.fsencode(wanted.parent)).hexdigest()[:12]}"
    short.mkdir(mode=0o700, exist_ok=True)
    if short.stat().st_uid != os.getuid() or short.stat().st_mode & 0o077:
        raise Trouble(f"{short} belongs to somebody else: remove it, or choose a data folder with a shorter path (LORMAS_DATA).")
    return short / wanted.name


def write_private(file: Path, content: str) -> None:
    """Replace a file by one that only its owner can read, in one step."""
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())
    draft.replace(file)


def running_instance(places: Places) -> dict[str, Any] | None:
    """What `make run` of this data folder says of itself; None if none runs. The lock is the truth, the file only the details."""
    try:
        descriptor = os.open(places.lock, os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        with contextlib.suppress(OSError, ValueError):
            found = json.loads(places.instance.read_text(encoding="utf-8"))
            return found if isinstance(found, dict) else {}
        return {}
    else:
        return None
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def only_one(places: Places) -> Iterator[None]:
    """Hold the data folder. The descriptor is not inherited, so the lock ends with this process and with nothing else.

    Raises:
        Trouble: another one holds it; says where it answers.
    """
    descriptor = os.open(places.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            other = running_instance(places) or {}
            where = f" at {other['url']} (process {other['pid']})" if {"url", "pid"} <= set(other) else ""
            raise Trouble(f"Lormas already runs from {places.data}{where}: use that one, or stop it with `make stop`.") from None
        yield
    finally:
        os.close(descriptor)
