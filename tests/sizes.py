"""How much is on a disk that others write to meanwhile."""

from __future__ import annotations

import contextlib
import stat
from collections.abc import Iterable
from pathlib import Path


def bytes_of(paths: Iterable[Path]) -> int:
    """Of those that are files, each counted once: some get other names, or go, while they are looked at."""
    sizes = {}
    for path in paths:
        with contextlib.suppress(FileNotFoundError):
            found = path.lstat()
            if stat.S_ISREG(found.st_mode):
                sizes[found.st_ino] = found.st_size
    return sum(sizes.values())
