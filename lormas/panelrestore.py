"""Bringing back what `lormas.panelbackup` wrote, into an empty panel. All of the file is read and checked before anything is touched."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection, connections
from django.db.migrations.loader import MigrationLoader

from lormas.common import clock
from lormas.common.crypto import derive_key
from lormas.panelbackup import DATABASES, FORMAT, KEPT, MANIFEST, MEDIA, PIECE, BackupTrouble, Deadline, digest, fingerprint, run_tool, scratch
from lormas.quickstart.places import Places, running_instance

MOST_MANIFEST = 16 * 1024 * 1024


def restore(file: Path, *, timeout_seconds: float = 3600, force: bool = False) -> dict[str, Any]:
    """Database, media, keys and the local agent's identity are those of `file`. Gives its manifest; migrations are the next start's.

    Args:
        force: also over a panel that has people in it. A SQLite database that was there is kept beside it as `….before-restore-<time>`.

    Raises:
        BackupTrouble: the panel runs; it has data; the file is damaged, of another kind of database, of a newer version, or under another key.
    """
    deadline = Deadline(timeout_seconds)
    _refuse_running(deadline)
    if not force and people():
        raise BackupTrouble("This panel has people in it: restore into an empty one, or add --force to lose what is here.")
    with scratch() as folder:
        manifest, parts = _unpacked(file, folder, deadline)
        _refuse_unfit(manifest, parts.get("secret_key"), force=force)
        if connection.vendor == "sqlite":
            _place_sqlite(parts[DATABASES["sqlite"]])
        else:
            options = ["--clean", "--if-exists", "--no-owner", "--no-acl", "--exit-on-error", "--single-transaction"]
            name = str(connection.settings_dict["NAME"])
            connections.close_all()
            run_tool(["pg_restore", *options, f"--dbname={name}", str(parts[DATABASES["postgresql"]])], deadline)
        for name, part in parts.items():
            if name not in DATABASES.values():
                _place(part, _home(name))
    return manifest


def people() -> int:
    """Accounts in the database; 0 where there is no such table, or no database."""
    try:
        if "accounts_user" not in connection.introspection.table_names():
            return 0
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM accounts_user")
            return int(cursor.fetchone()[0])
    except DatabaseError:
        if connection.vendor == "sqlite":
            return 0  # no database, or a broken one: it is kept beside the new one
        raise


def _refuse_running(deadline: Deadline) -> None:
    if running_instance(Places(Path(settings.DATA_DIR))) is not None:
        raise BackupTrouble("The panel runs from this data folder: stop it first (`lormas stop`).")
    if connection.vendor != "postgresql":
        return
    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]  # of PostgreSQL's wrapper: its idle connections are no others
    asked = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'"
    if run_tool(["psql", "-XAtc", asked], deadline).strip() != "0":
        raise BackupTrouble("Others are connected to this database: stop web, worker and beat first.")


def _refuse_unfit(manifest: dict[str, Any], secret: Path | None, *, force: bool) -> None:
    if manifest["database"] != connection.vendor:
        raise BackupTrouble(
            f"It is of a {manifest['database']} database, this panel is set to {connection.vendor}: set DATABASE_URL to one of its kind."
        )
    known = {f"{app}.{name}" for app, name in (MigrationLoader(None).disk_migrations or {})}
    if newer := sorted(set(manifest["migrations"]) - known):
        raise BackupTrouble(f"It is of Lormas {manifest['version']}, which is newer than this one ({newer[0]}): install that version first.")
    if manifest["key"] not in _keys(secret) and not force:
        raise BackupTrouble("Its secrets are under another key: set SECRET_KEY (or FIELD_KEYS) to that panel's, or add --force to lose them.")


def _keys(secret: Path | None) -> set[str]:
    """Fingerprints of the keys that this panel will have: those it is told, or that of the file's own root key, where it keeps that in its folder."""
    keys = list(settings.FIELD_KEYS)
    own = Path(settings.DATA_DIR) / "secret_key"
    from_file = own.is_file() and own.read_text(encoding="ascii", errors="replace").strip() == settings.SECRET_KEY
    if secret is not None and from_file and keys[0] == derive_key(settings.SECRET_KEY, "fields"):
        keys.append(derive_key(secret.read_text(encoding="ascii").strip(), "fields"))
    return {fingerprint(key) for key in keys}


def _unpacked(file: Path, folder: Path, deadline: Deadline) -> tuple[dict[str, Any], dict[str, Path]]:
    """(manifest, name -> checked copy). Only regular files that the manifest names are taken, and each must be what it says."""
    manifest: dict[str, Any] = {}
    parts: dict[str, Path] = {}
    try:
        with tarfile.open(file, mode="r|gz") as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.isreg() else None
                if stream is None:
                    raise BackupTrouble(f"{file} is not a backup of a panel: it holds something other than files.")
                if not manifest:
                    manifest = _manifest(member.name, stream.read(MOST_MANIFEST) if member.size <= MOST_MANIFEST else b"", file)
                    continue
                told = manifest["files"].get(member.name)
                if told is None or member.name in parts or told["bytes"] != member.size or not _is_ours(member.name):
                    raise BackupTrouble(f"{file} is damaged: {member.name[:200]!r} is not what its list says.")
                parts[member.name] = folder / str(len(parts))
                with parts[member.name].open("xb") as out:
                    while piece := stream.read(PIECE):
                        deadline.check()
                        out.write(piece)
                parts[member.name].chmod(0o600)
                if digest(parts[member.name], deadline) != told["sha256"]:
                    raise BackupTrouble(f"{file} is damaged: the checksum of {member.name} is another one.")
    except (OSError, EOFError, tarfile.TarError) as error:
        raise BackupTrouble(f"{file} can't be read: {error}.") from error
    if not manifest or set(parts) != set(manifest["files"]) or DATABASES.get(manifest["database"]) not in parts:
        raise BackupTrouble(f"{file} is not whole: something that its list names is missing.")
    return manifest, parts


def _manifest(name: str, text: bytes, file: Path) -> dict[str, Any]:
    try:
        found = json.loads(text)
        whole = name == MANIFEST and isinstance(found["files"], dict) and isinstance(found["migrations"], list)
    except (ValueError, KeyError, TypeError):
        whole = False
    if not whole:
        raise BackupTrouble(f"{file} is not a backup of a panel.")
    if found["format"] != FORMAT:
        raise BackupTrouble(f"{file} is of format {found['format']}, this version reads {FORMAT}.")
    return dict(found)


def _is_ours(name: str) -> bool:
    path = PurePosixPath(name)
    plain = not path.is_absolute() and ".." not in path.parts and "\\" not in name and "\0" not in name
    return plain and (name in KEPT or name in DATABASES.values() or (name.startswith(MEDIA) and len(path.parts) > 1))


def _home(name: str) -> Path:
    return Path(settings.MEDIA_ROOT) / name.removeprefix(MEDIA) if name.startswith(MEDIA) else Path(settings.DATA_DIR) / name


def _place(part: Path, home: Path) -> None:
    home.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part.replace(home)


def _place_sqlite(part: Path) -> None:
    """In one step; what was there is kept beside it, with its write-ahead log, as it belongs to it."""
    connections.close_all()
    home, stamp = Path(connection.settings_dict["NAME"]), f"{clock.now():%Y%m%d-%H%M%S}"
    for ending in ("", "-wal", "-shm"):
        old = home.with_name(home.name + ending)
        if old.exists():
            old.replace(home.with_name(f"{home.name}.before-restore-{stamp}{ending}"))
    _place(part, home)
