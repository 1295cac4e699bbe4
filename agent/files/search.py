"""Finding files by name, and lines in text files: bounded in time, depth and results. Synchronous."""

from __future__ import annotations

import fnmatch
import os
import stat as stats
import time
from typing import Any

from agent.files.beneath import clean_relative
from agent.files.entries import names_in, printable, type_of
from agent.files.tree import HIDDEN, Shown, Tree

SECONDS = 8.0
DEEPEST = 24
MOST_LOOKED_AT = 200_000
CONTENT_BYTES = 1024 * 1024
LINE_CHARACTERS = 200


def search(tree: Tree, query: str, *, path: str, content: bool, limit: int, shown: Shown) -> dict[str, Any]:
    """`query` is part of a name, or a pattern if it holds `*` or `?`; letters' case does not count. Raises FileRefused."""
    path = clean_relative(path)
    wanted = query.casefold()
    is_pattern = any(sign in query for sign in "*?")
    until = time.monotonic() + SECONDS
    found: list[dict[str, Any]] = []
    looked = 0
    complete = True

    def fits(name: str) -> bool:
        name = name.casefold()
        return fnmatch.fnmatchcase(name, wanted) if is_pattern else wanted in name

    def enough() -> bool:
        return len(found) >= limit or looked >= MOST_LOOKED_AT or time.monotonic() > until

    def walk(folder: int, at: str, deep: int) -> None:
        nonlocal looked, complete
        for name in sorted(names_in(folder)):
            here = f"{at}/{name}" if at else name
            if here == HIDDEN:
                continue
            if enough() or deep > DEEPEST:
                complete = False
                return
            looked += 1
            try:
                seen = os.stat(name, dir_fd=folder, follow_symlinks=False)
            except OSError:
                continue
            is_folder = stats.S_ISDIR(seen.st_mode)
            if not shown(here, is_folder):
                continue
            one = {
                "path": printable(here),
                "type": type_of(seen.st_mode),
                "size": seen.st_size if stats.S_ISREG(seen.st_mode) else 0,
                "line": 0,
                "text": "",
            }
            if fits(name):
                found.append(one)
            elif content and stats.S_ISREG(seen.st_mode) and 0 < seen.st_size <= CONTENT_BYTES:
                line, text = _line_with(folder, name, wanted)
                if line:
                    found.append({**one, "line": line, "text": text})
            if is_folder:
                try:
                    below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
                except OSError:
                    continue
                try:
                    walk(below, here, deep + 1)
                finally:
                    os.close(below)

    with tree._opened(path, os.O_RDONLY | os.O_DIRECTORY) as folder:
        walk(folder, path, 0)
    return {"found": found, "complete": complete}


def _line_with(folder: int, name: str, wanted: str) -> tuple[int, str]:
    """(number, text) of the first line that holds it; (0, "") if none does or it is no text."""
    try:
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError:
        return 0, ""
    try:
        data = os.read(descriptor, CONTENT_BYTES)
    except OSError:
        return 0, ""
    finally:
        os.close(descriptor)
    if b"\0" in data[:8192]:
        return 0, ""
    for number, line in enumerate(data.decode(errors="replace").splitlines(), 1):
        at = line.casefold().find(wanted)
        if at >= 0:
            return number, line[max(0, at - 60) : at + LINE_CHARACTERS - 60].strip()
    return 0, ""
