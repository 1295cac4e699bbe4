"""Building the console's scripts and styles from `frontend/` into `static/dist/`.

`python -m lormas.assets build` does it when something changed (hash of the lock, package.json, `src/`, and the pages: of Tabler's sheet only what
they name goes in), and is a no-op in milliseconds otherwise. The tool is the `deno` wheel; where that has no build for this machine, a system
Node.js with npm does as well. Imports no Django, so that `make` can call it before anything is configured.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
FRONTEND: Final = ROOT / "frontend"
PAGES: Final = ((ROOT / "templates", "*.html"), (ROOT / "lormas" / "templatetags", "*.py"))
"""Where the build looks for names of classes and elements: as in `frontend/package.json`."""
DIST: Final = ROOT / "static" / "dist"
STAMP: Final = DIST / "stamp.txt"
NEEDED: Final = ("app.js", "app.css", "boot.js")
BUILD_SECONDS: Final = 300


class AssetsError(RuntimeError):
    """The assets can't be built; the text says what to do."""


def digest() -> str:
    """Hash of all that goes into the build."""
    found = hashlib.sha256()
    pages = (file for folder, names in PAGES for file in sorted(folder.rglob(names)))
    for file in (FRONTEND / "package.json", FRONTEND / "deno.lock", *sorted((FRONTEND / "src").rglob("*")), *pages):
        if file.is_file():
            found.update(os.path.relpath(file, FRONTEND).encode())
            found.update(file.read_bytes())
    return found.hexdigest()[:16]


def is_fresh() -> bool:
    """Is what lies in `static/dist/` made from the sources as they are?"""
    return STAMP.is_file() and STAMP.read_text().strip() == digest() and all((DIST / name).is_file() for name in NEEDED)


def _deno() -> str | None:
    try:
        from deno import find_deno_bin
    except ImportError:
        return shutil.which("deno")
    try:
        return str(find_deno_bin())
    except FileNotFoundError:
        return shutil.which("deno")


def _steps() -> list[list[str]]:
    deno = _deno()
    if deno:
        return [[deno, "ci", "-q"], [deno, "task", "-q", "build"]]
    npm = shutil.which("npm")
    if npm:
        return [[npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--silent"], [npm, "run", "--silent", "build"]]
    raise AssetsError(
        "The console's assets can't be built: neither deno nor npm is here. Install one of them: pip install deno, or Node.js 20 or newer."
    )


def build(*, force: bool = False) -> bool:
    """Build unless fresh; returns whether it built. Of several at a time one builds and the others wait.

    Raises:
        AssetsError: no tool, or the tool failed; the text says what to do.
    """
    if not force and is_fresh():
        return False
    DIST.parent.mkdir(parents=True, exist_ok=True)
    with (DIST.parent / ".build.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not force and is_fresh():
            return False
        return _build()


def _build() -> bool:
    environment = {"DENO_TLS_CA_STORE": "system,mozilla", "DENO_NO_UPDATE_CHECK": "1", "NO_COLOR": "1", **os.environ}
    shutil.rmtree(DIST, ignore_errors=True)
    for step in _steps():
        try:
            done = subprocess.run(step, cwd=FRONTEND, env=environment, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
        except subprocess.TimeoutExpired as error:
            raise AssetsError(f"Building the console's assets took more than {BUILD_SECONDS} s: is the package registry reachable?") from error
        if done.returncode != 0:
            last = "\n".join((done.stderr or done.stdout).strip().splitlines()[-12:])
            raise AssetsError(f"Building the console's assets failed in `{Path(step[0]).name} {' '.join(step[1:])}`:\n{last}")
    STAMP.write_text(digest() + "\n")
    return True


def main(arguments: list[str]) -> int:
    """`build [--force]` or `check`; returns the exit code."""
    if arguments[:1] == ["check"]:
        return 0 if is_fresh() else 1
    if arguments[:1] != ["build"]:
        sys.stderr.write("usage: python -m lormas.assets build [--force] | check\n")
        return 2
    try:
        build(force="--force" in arguments)
    except AssetsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
