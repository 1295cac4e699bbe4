"""The panel's own data in one file: database, root key, media, the local agent's identity (SECURITY R46). `lormas.panelrestore` brings it back.

Not in it: what nodes hold (files and logs of containers) and archives of containers' backups, which have places of their own; the database knows
where these are.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import sqlite3
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.conf import settings
from django.db import connection

from lormas import __version__
from lormas.common import clock
from lormas.common.crypto import derive_key

FORMAT = 1
MANIFEST = "manifest.json"
DATABASES = {"sqlite": "database.sqlite3", "postgresql": "database.pgdump"}
KEPT = ("secret_key", "node/agent.json", "node/token")
"""Small files of the data folder that make it this panel, and its local agent that agent."""
MEDIA = "media/"
PAGES = 2000
PIECE = 1024 * 1024


class BackupTrouble(Exception):
    """It could not be done, and nothing was changed; the text says what to do."""


@dataclass(slots=True)
class Deadline:
    """One limit for all of it."""

    seconds: float
    began: float = field(default_factory=time.monotonic)

    @property
    def left(self) -> float:
        return max(0.0, self.seconds - (time.monotonic() - self.began))

    def check(self) -> None:
        """Raises BackupTrouble when it is over."""
        if not self.left:
            raise BackupTrouble(f"It took longer than {self.seconds:g} s and was given up: allow more with --timeout.")


def fingerprint(key: str) -> str:
    """Tells keys apart without telling them."""
    return derive_key(key, "panel-backup-fingerprint")[:16]


def digest(file: Path, deadline: Deadline) -> str:
    """Its SHA-256."""
    found = hashlib.sha256()
    with file.open("rb") as stream:
        while piece := stream.read(PIECE):
            deadline.check()
            found.update(piece)
    return found.hexdigest()


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A folder of our own inside the data folder, so that what is in it can be moved into place in one step."""
    folder = Path(tempfile.mkdtemp(prefix=".panel-backup-", dir=settings.DATA_DIR))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def back_up(file: Path, *, timeout_seconds: float = 3600, with_keys: bool = True) -> dict[str, Any]:
    """Write `file` (mode 0600), whole or not at all, while the panel goes on. Gives the manifest.

    The database is as it was at one moment. `with_keys` False leaves the root key out: then nobody can read the encrypted columns without it.

    Raises:
        BackupTrouble: it is there already, the disk is full, a tool is missing, the time is over.
    """
    deadline = Deadline(timeout_seconds)
    if file.exists():
        raise BackupTrouble(f"{file} is there already: choose another name.")
    draft = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        with scratch() as folder:
            parts = _parts(folder, deadline, with_keys=with_keys)
            files = {name: {"bytes": part.stat().st_size, "sha256": digest(part, deadline)} for name, part in parts.items()}
            manifest = {
                "format": FORMAT,
                "version": __version__,
                "created_at": clock.rfc3339(clock.now()),
                "database": connection.vendor,
                "migrations": applied(),
                "key": fingerprint(settings.FIELD_KEYS[0]),
                "has_key": "secret_key" in parts,
                "files": files,
            }
            descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(descriptor, "wb") as out:
                with tarfile.open(fileobj=out, mode="w:gz", compresslevel=6) as archive:
                    text = json.dumps(manifest, indent=1).encode()
                    _add(archive, MANIFEST, io.BytesIO(text), len(text))
                    for name, part in parts.items():
                        deadline.check()
                        with part.open("rb") as stream:
                            _add(archive, name, stream, int(str(files[name]["bytes"])))
                out.flush()
                os.fsync(out.fileno())
            os.link(draft, file)  # fails where somebody made one meanwhile
    except FileExistsError:
        raise BackupTrouble(f"{file} is there already: choose another name.") from None
    except OSError as error:
        raise BackupTrouble(f"{file} can't be written: {error.strerror or error}.") from error
    finally:
        draft.unlink(missing_ok=True)
    return manifest


def applied() -> list[str]:
    """Migrations of the database, `app.name`."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT app, name FROM django_migrations ORDER BY id")
        return [f"{app}.{name}" for app, name in cursor.fetchall()]


def _add(archive: tarfile.TarFile, name: str, stream: Any, size: int) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = size, 0o600, int(clock.unix())
    archive.addfile(member, stream)


def _parts(folder: Path, deadline: Deadline, *, with_keys: bool) -> dict[str, Path]:
    """Name in the archive -> a copy that holds still."""
    parts = {DATABASES[connection.vendor]: folder / "database"}
    if connection.vendor == "sqlite":
        _copy_sqlite(folder / "database", deadline)
    else:
        run_tool(["pg_dump", "--format=custom", "--no-owner", "--no-acl", "--file", str(folder / "database")], deadline)
    data = Path(settings.DATA_DIR)
    names = [name for name in KEPT if with_keys or name != "secret_key"]
    media = Path(settings.MEDIA_ROOT)
    found = {name: data / name for name in names} | {f"{MEDIA}{path.relative_to(media)}": path for path in sorted(media.rglob("*"))}
    for number, (name, path) in enumerate(found.items()):
        deadline.check()
        if path.is_symlink() or not path.is_file():
            continue
        parts[name] = folder / str(number)
        shutil.copyfile(path, parts[name])
    return parts


def _copy_sqlite(target: Path, deadline: Deadline) -> None:
    """By SQLite's own backup, within one read transaction: writers go on, and what they write meanwhile is not in it."""

    def step(_status: int, _left: int, _total: int) -> None:
        deadline.check()

    name = str(connection.settings_dict["NAME"])
    with contextlib.closing(sqlite3.connect(f"file:{name}?mode=ro", uri=True, timeout=20, isolation_level=None)) as source:
        source.execute("BEGIN")
        source.execute("SELECT count(*) FROM sqlite_master").fetchone()
        with contextlib.closing(sqlite3.connect(target)) as copy:
            source.backup(copy, pages=PAGES, progress=step)
            copy.execute("PRAGMA journal_mode=DELETE")
            if copy.execute("PRAGMA quick_check").fetchone()[0] != "ok":
                raise BackupTrouble("The copy of the database is not whole: the database itself may be damaged.")
    target.chmod(0o600)


def run_tool(line: list[str], deadline: Deadline) -> str:
    """One of PostgreSQL's own programs on our database; the password never in its arguments. Gives what it wrote. Raises BackupTrouble."""
    given = connection.settings_dict
    names = {"PGHOST": "HOST", "PGPORT": "PORT", "PGUSER": "USER", "PGPASSWORD": "PASSWORD", "PGDATABASE": "NAME"}
    asked = {name: str(given[key]) for name, key in names.items() if given.get(key)}
    asked |= {
        f"PG{name.upper()}": str(value) for name, value in given.get("OPTIONS", {}).items() if name in ("sslmode", "sslrootcert", "sslcert", "sslkey")
    }
    try:
        done = subprocess.run(line, env={**os.environ, **asked}, capture_output=True, text=True, timeout=deadline.left or 1, check=False)
    except FileNotFoundError:
        raise BackupTrouble(f"{line[0]} is not here: install PostgreSQL's client programs, of the server's version or newer.") from None
    except subprocess.TimeoutExpired:
        deadline.check()
        raise BackupTrouble(f"{line[0]} took too long: allow more with --timeout.") from None
    if done.returncode:
        raise BackupTrouble(f"{line[0]} failed: {' '.join(done.stderr.split())[:500]}")
    return done.stdout
