"""The panel's own log file, `logs/system.log`: moved aside each night, kept for a while. Its writers open it anew by themselves."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

from django.conf import settings

from lormas.common import clock

KEPT = 14


def rotate(path: Path | None = None) -> int:
    """Move the file aside, compress the one of the night before, remove those over `KEPT`. Gives how many files there are beside the new one.

    The one just moved stays as it is until the next night: a writer may still be about to find out.
    """
    file = path if path is not None else settings.SYSTEM_LOG
    if file is None:
        return 0
    for old in file.parent.glob(f"{file.name}.????-??-??"):
        with old.open("rb") as source, gzip.open(f"{old}.gz", "wb") as packed:
            shutil.copyfileobj(source, packed)
        old.unlink()
    if file.exists() and file.stat().st_size:
        aside = file.with_name(f"{file.name}.{clock.now():%Y-%m-%d}")
        if not aside.exists():
            file.rename(aside)
    kept = sorted(file.parent.glob(f"{file.name}.????-??-??*"), reverse=True)
    for old in kept[KEPT:]:
        old.unlink(missing_ok=True)
    return len(kept[:KEPT])
