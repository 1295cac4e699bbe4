"""uv for an environment that is being made, where it is not installed: fetched into a scratch folder by the pip that Python brings along.

pip reads the list of all versions of a package to find the one that is locked, one package after the other, and unpacks in one process: 217 packages
are 40 s of processor time, with uv 8 s, fetching it included. Whatever goes wrong here is no reason not to start: then pip installs, as ever. Runs
before anything is installed: standard library only.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

FETCH_SECONDS = 120
TOLD = re.compile(r"^(global|install|:env:)\.([a-z-]+)=(.+)$", re.MULTILINE)
NAMED_ALIKE = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "no-index": "UV_NO_INDEX",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
}
"""Settings of pip, and the variables by which uv is told the same."""


def bundled_pip() -> list[str] | None:
    """The command that runs the pip which `venv` would install; None where it is found nowhere."""
    import ensurepip

    folders = [Path(ensurepip.__file__).parent / "_bundled"]
    if elsewhere := sysconfig.get_config_var("WHEEL_PKG_DIR"):  # Debian, Fedora: wheels of the system's own
        folders.append(Path(elsewhere))
    for folder in folders:
        if wheels := sorted(folder.glob("pip-*.whl")):
            return [sys.executable, str(wheels[-1] / "pip")]
    return None


def fetch_uv(pip: list[str], lock: Path, folder: Path) -> str | None:
    """The program's path, after it was put into `folder`; None where that did not work (no wheel for this machine, no network, no disk)."""
    asked = ["install", "-q", "--no-input", "--no-compile", "--require-hashes", "--no-deps", "--only-binary", ":all:", "--retries", "1"]
    try:
        done = subprocess.run(
            [*pip, *asked, "--target", str(folder), "-r", str(lock)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=FETCH_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    program = folder / "bin" / "uv"
    return str(program) if done.returncode == 0 and os.access(program, os.X_OK) else None


def as_pip_is_told(pip: list[str]) -> dict[str, str]:
    """The environment for uv: where pip takes its packages from, uv does. What the user has told uv itself counts more."""
    told: dict[str, str] = {}
    try:  # -v: somebody's own `quiet` would silence the list, too
        listed = subprocess.run(
            [*pip, "config", "list", "-v"], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return dict(os.environ)
    found = TOLD.findall(listed.stdout)
    for section in ("global", "install", ":env:"):  # the later one counts
        told.update({key: _plain(value) for place, key, value in found if place == section})
    own = {NAMED_ALIKE[key]: " ".join(value.split()) for key, value in told.items() if key in NAMED_ALIKE and value}
    if told.get("no-cache-dir") or told.get("cache-dir") == "false":
        own["UV_NO_CACHE"] = "1"
    if "UV_INDEX" in own:  # pip takes what is locked from whichever index has it; the hashes say that it is the right one
        own["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return {**own, **os.environ}


def _plain(value: str) -> str:
    try:
        return str(ast.literal_eval(value))
    except (SyntaxError, ValueError):
        return value
