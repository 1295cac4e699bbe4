"""Panels and agents for tests, each a process of its own, that need not import other people's code anew: a start costs half of what it costs a user.

A hundred tests kill panels and agents and start them again, and most of each start is the import of some 1,500 modules that know nothing of settings
or of environment. So each worker of pytest starts one process that imports those and then does nothing but fork: what comes out of it takes on the
test's environment, imports ours and runs as `python -m` would. That the whole of it starts as a user starts it is what tests/quickstart is for.

The process is no child of the one that forked it: that one forks twice, and the kernel gives the orphan to the worker, who has declared itself the
reaper of its descendants for that moment (prctl(2), PR_SET_CHILD_SUBREAPER). So signals, exit codes and waiting are those of `subprocess`.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import importlib
import json
import os
import runpy
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any, NoReturn

ROOT = Path(__file__).parents[1]
PR_SET_CHILD_SUBREAPER = 36
LONGEST = 2**17
"""Bytes of one order: arguments and environment."""
ANSWER_SECONDS = 60

MODULES = (
    "aiohttp", "amqp", "argon2", "attr", "autobahn.websocket.protocol", "celery.app", "celery.result", "channels.layers", "channels.routing",
    "channels_redis.core", "click", "cryptography.fernet", "cryptography.hazmat.primitives.asymmetric.ec", "cryptography.x509",
    "django.contrib.admindocs.views", "django.core.cache.backends.redis", "django.core.handlers.asgi", "django.core.mail",
    "django.core.management", "django.db.models", "django.db.models.sql.compiler", "django.forms", "django.template.loader", "django.test",
    "django.utils.html", "django.views.generic", "fido2.webauthn", "isal.igzip_lib", "isal.isal_zlib", "jinja2", "jwt", "kombu.serialization",
    "lxml.etree", "msgspec", "OpenSSL.SSL", "prometheus_client", "psycopg", "psycopg_pool", "pygments", "qrcode", "redis.asyncio", "regex",
    "requests", "rest_framework.utils.encoders", "rich.console", "rich.traceback", "sqlite3", "sqlparse", "structlog", "tarfile",
    "twisted.internet.endpoints", "twisted.internet.ssl", "twisted.internet.tcp", "twisted.web.http", "urllib3", "websockets.asyncio.client",
    "websockets.asyncio.server", "yaml",
)  # fmt: skip
"""Other people's that ours import, as far as they can be without settings. What is not here costs only time."""


class Copy(subprocess.Popen[bytes]):
    """What was forked, as `subprocess` would have made it."""

    def __init__(self, args: Sequence[str], pid: int) -> None:
        self.args = args
        self.pid = pid
        self.returncode = None  # type: ignore[assignment] # typeshed has an int; None is what it is until the end
        self.stdin = self.stdout = self.stderr = None
        self.encoding = self.errors = self.text_mode = self._input = None
        self._child_created = True
        self._communication_started = False
        self._waitpid_lock = threading.Lock()


class Parent:
    """The process that forks; made at the first start, and gone with the worker of pytest."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._door: socket.socket | None = None

    def _opened(self) -> socket.socket:
        if self._door is None:
            self._door, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._door.settimeout(ANSWER_SECONDS)
            environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
            with far:
                process = subprocess.Popen([sys.executable, "-m", "tests.warm"], cwd=ROOT, env=environment, stdin=far.fileno())
            atexit.register(_end, self._door, process)
            _hear(self._door)  # it is ready: what follows takes milliseconds
        return self._door

    def start(self, module: str, *arguments: str, env: dict[str, str], out: IO[bytes]) -> Copy:
        """`python -m module arguments...` in the root of the code, both its outputs to `out`.

        Raises RuntimeError where the forking process has died.
        """
        order = json.dumps({"module": module, "arguments": arguments, "env": env}).encode()
        assert len(order) < LONGEST
        with self._lock:
            door = self._opened()
            with _reaper():
                socket.send_fds(door, [order], [out.fileno()])
                return Copy([sys.executable, "-m", module, *arguments], _hear(door))


def _hear(door: socket.socket) -> int:
    if not (answer := door.recv(64)):
        raise RuntimeError("the process that tests' panels and agents are forked from has died: run `python -m tests.warm </dev/null` to see why")
    return int(answer)


def _end(door: socket.socket, process: subprocess.Popen[bytes]) -> None:
    door.close()
    process.wait(ANSWER_SECONDS)


@contextlib.contextmanager
def _reaper() -> Iterator[None]:
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    try:
        yield
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


_parent = Parent()
start = _parent.start


def _become(order: dict[str, Any], door: socket.socket, out: int) -> NoReturn:
    """The rest of this process's life."""
    os.dup2(out, 1)
    os.dup2(out, 2)
    os.close(out)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), door.detach())
    os.environ.clear()
    os.environ.update(order["env"])
    sys.argv = [order["module"], *order["arguments"]]
    runpy.run_module(order["module"], run_name="__main__", alter_sys=True)
    sys.exit()


def _fork_for(door: socket.socket) -> None:
    """Take orders until the other end is closed."""
    door.send(str(os.getpid()).encode())
    while True:
        data, descriptors, _, _ = socket.recv_fds(door, LONGEST, 1)
        if not data:
            return
        reading, writing = os.pipe()
        middle = os.fork()
        if middle == 0:
            os.close(reading)
            if pid := os.fork():
                os.write(writing, str(pid).encode())
                os._exit(0)
            os.close(writing)
            _become(json.loads(data), door, descriptors[0])
        os.close(writing)
        os.close(descriptors[0])
        os.waitpid(middle, 0)  # now the one that it has left behind is the worker's
        with os.fdopen(reading, "rb") as stream:
            door.send(stream.read())


if __name__ == "__main__":
    for name in MODULES:
        importlib.import_module(name)
    assert threading.active_count() == 1, "what has threads can't be forked"
    assert "twisted.internet.reactor" not in sys.modules, "a reactor has an event loop, and two processes would share it"
    gc.freeze()
    _fork_for(socket.socket(fileno=0))
