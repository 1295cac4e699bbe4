"""An empty database with today's schema, kept as a file beside the interpreter, so that an empty data folder need not run each migration again.

90 migrations take five seconds of processor time and more, nearly all of it Django's building of model classes between them; the result is always the
same file (no migration writes what belongs to one installation only: `tests/lormas/test_sqlite_template.py`). So whoever migrates an empty SQLite
database keeps a copy, under a name made of all that it depends on, and the next empty database begins as that copy. `migrate` runs afterwards as ever
and finds nothing to do.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
CALLED = (
    "audit/chain.py", "audit/guard.py", "lormas/common/clock.py", "lormas/common/ids.py", "lormas/common/sqlite3/base.py", "lormas/settings.py",
    "reservations/guard.py",
)  # fmt: skip
"""Files of ours that migrations use."""


def _depends_on() -> list[Path]:
    """Our migrations and what they call; the lock stands for other people's."""
    own = [file for app in sorted(ROOT.glob("*/migrations")) for file in sorted(app.glob("*.py"))]
    called = [ROOT / name for name in CALLED]
    return [*own, *sorted((ROOT / "requirements").glob("*.lock")), *called]


def file_name() -> Path:
    """Where the template of this code is, or would be."""
    digest = hashlib.sha256(f"1 {sys.version_info[:2]} {sqlite3.sqlite_version}".encode())
    for file in _depends_on():
        if file.is_file():
            digest.update(f"{file.relative_to(ROOT)} ".encode() + file.read_bytes())
    return Path(sys.prefix) / "lormas-schema" / f"{digest.hexdigest()[:32]}.sqlite3"


def is_empty(database: Path) -> bool:
    """No file, or one without a table."""
    if not database.exists():
        return True
    try:
        with contextlib.closing(sqlite3.connect(database)) as found:
            return not found.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchall()
    except sqlite3.Error:
        return False  # not ours to say what is wrong with it


def begin(database: Path) -> bool:
    """Make an empty database a copy of the template, if there is one. False: nothing was done. Nobody may have the database open."""
    template = file_name()
    try:
        if not template.is_file() or not is_empty(database):
            return False
        handle, draft = tempfile.mkstemp(dir=database.parent, prefix=f"{database.name}.")
        os.close(handle)
        shutil.copyfile(template, draft)
        for leftover in ("-wal", "-shm"):
            database.with_name(database.name + leftover).unlink(missing_ok=True)
        Path(draft).replace(database)
    except OSError:
        return False
    return True


def keep(database: Path) -> None:
    """Keep a copy of a database that was migrated from empty and holds nothing else yet.

    Where that can't be written, the next one runs its migrations itself.
    """
    template = file_name()
    with contextlib.suppress(OSError, sqlite3.Error):
        if template.exists() or sys.prefix == sys.base_prefix:  # only an environment of our own is ours to write to
            return
        template.parent.mkdir(mode=0o700, exist_ok=True)
        draft = template.with_name(f"{template.name}.{os.getpid()}.tmp")
        draft.unlink(missing_ok=True)
        with contextlib.closing(sqlite3.connect(database)) as source:
            source.execute("VACUUM INTO ?", (str(draft),))
        with contextlib.closing(sqlite3.connect(draft)) as made:
            made.execute("PRAGMA journal_mode=WAL")
        for old in template.parent.glob("*.sqlite3"):
            old.unlink(missing_ok=True)  # of code that is gone
        draft.replace(template)
