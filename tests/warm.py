"""Panels and agents for tests, each a process of its own, that need not import other people's code anew: a start costs half of what it costs a user.

A hundred tests kill panels and agents and start them again, and most of each start is the import of some 1,500 modules that know nothing of settings
or of environment. So each worker of pytest starts one process that imports those and then does nothing but fork: what comes out of it takes on the
test's environment, imports ours and runs as `python -m` would. Where many are started in one environment (panels: the same database, Redis and
settings), a copy that has imported ours, too, in that environment is kept, and they are forked from it; what has a thread or an open file then is
not kept. That the whole of it starts as a user starts it is what tests/quickstart is for.

The process is no child of the one that forked it: that one forks twice, and the kernel gives the orphan to the worker, who has declared itself the
reaper of its descendants for that moment (prctl(2), PR_SET_CHILD_SUBREAPER). So signals, exit codes and waiting are those of `subprocess`.
"""

from __future__ import annotations

import asyncio
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
    "agent.program", "agent.runtimes.docker.runtime", "agent.runtimes.process.runtime", "aiohttp", "amqp", "argon2", "attr",
    "autobahn.websocket.protocol", "celery.app", "celery.result", "channels.layers", "channels.routing", "channels_redis.core", "click",
    "cryptography.fernet", "cryptography.hazmat.primitives.asymmetric.ec", "cryptography.x509", "django.contrib.admindocs.views",
    "django.core.cache.backends.redis", "django.core.handlers.asgi", "django.core.mail", "django.core.management", "django.db.models",
    "django.db.models.sql.compiler", "django.forms", "django.template.loader", "django.test", "django.utils.html", "django.views.generic",
    "fido2.webauthn", "isal.igzip_lib", "isal.isal_zlib", "jinja2", "jwt", "kombu.serialization", "lxml.etree", "msgspec", "OpenSSL.SSL",
    "prometheus_client", "psycopg", "psycopg_pool", "pygments", "qrcode", "redis.asyncio", "regex", "requests", "rest_framework.utils.encoders",
    "rich.console", "rich.traceback", "sqlite3", "sqlparse", "structlog", "tarfile", "twisted.internet.endpoints", "twisted.internet.ssl",
    "twisted.internet.tcp", "twisted.web.http", "urllib3", "websockets.asyncio.client", "websockets.asyncio.server", "yaml",
)  # fmt: skip
"""Other people's that ours import, as far as they can be without settings, and the agent, which has none. What is not here costs only time."""

KEPT = 3
"""Copies with ours: some 60 MB each that they share with nobody."""


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

    def start(self, module: str, *arguments: str, env: dict[str, str], out: IO[bytes], ours: str = "") -> Copy:
        """`python -m module arguments...` in the root of the code, both its outputs to `out`.

        Args:
            ours: the module that all of it hangs on, imported once for all that are started in this environment.

        Raises RuntimeError where the forking process has died.
        """
        order = json.dumps({"module": module, "arguments": arguments, "env": env, "ours": ours}).encode()
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


def _become(order: dict[str, Any], out: int) -> NoReturn:
    """The rest of this process's life."""
    _write_to(out)
    os.close(out)
    os.environ.clear()
    os.environ.update(order["env"])
    sys.argv = [order["module"], *order["arguments"]]
    _renew_reactor()
    runpy.run_module(order["module"], run_name="__main__", alter_sys=True)
    sys.exit()


def _write_to(out: int) -> None:
    """And read nothing: what was read until now is the door of the process that this one was forked from."""
    os.dup2(out, 1)
    os.dup2(out, 2)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)


class Templates:
    """Copies that have imported ours, by what they were imported in."""

    def __init__(self) -> None:
        self._doors: dict[str, tuple[socket.socket, int] | None] = {}

    def answer(self, order: dict[str, Any], data: bytes, out: int) -> bytes:
        """The process that one of them forked; empty where there is none, as it couldn't be."""
        env = {name: value for name, value in order["env"].items() if name != "PYTEST_CURRENT_TEST"}
        key = json.dumps([order["ours"], env], sort_keys=True)
        self._doors[key] = found = self._doors.pop(key) if key in self._doors else self._made(order, out)
        if found is None:
            return b""
        for old in [key for key, kept in self._doors.items() if kept is not None][:-KEPT]:
            self._end(self._doors.pop(old))
        with contextlib.suppress(OSError):
            socket.send_fds(found[0], [data], [out])
            if answer := found[0].recv(64):
                return answer
        self._end(found)  # it has died; what it would be forked from next is made anew
        del self._doors[key]
        return b""

    def _made(self, order: dict[str, Any], out: int) -> tuple[socket.socket, int] | None:
        near, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        if (pid := os.fork()) == 0:
            os.close(out)
            near.close()
            self.let_go()
            _become_template(order, far)
        far.close()
        if near.recv(64):
            return near, pid
        self._end((near, pid))
        return None

    def let_go(self) -> None:
        """In another process: they are that one's no more."""
        for kept in self._doors.values():
            if kept is not None:
                kept[0].close()

    def end(self) -> None:
        for kept in self._doors.values():
            self._end(kept)

    def _end(self, kept: tuple[socket.socket, int] | None) -> None:
        if kept is not None:
            kept[0].close()
            os.waitpid(kept[1], 0)


def _become_template(order: dict[str, Any], door: socket.socket) -> NoReturn:
    with Path(os.devnull).open("ab") as nowhere:
        _write_to(nowhere.fileno())
    os.environ.clear()
    os.environ.update(order["env"])
    sys.argv = [order["module"], *order["arguments"]]
    before = _open_files()
    try:
        importlib.import_module(order["ours"])
        alone = threading.active_count() == 1 and _open_files() <= before | _files_of_the_reactor()
    except BaseException:  # noqa: BLE001 - what is wrong with this environment tells the one that is started in it, as ever
        alone = False
    if alone:
        gc.freeze()
        _fork_for(door)
    os._exit(0)


def _open_files() -> set[int]:
    folder = Path("/proc/self/fd")
    return {int(name) for name in os.listdir(folder) if (folder / name).is_symlink()}


def _files_of_the_reactor() -> set[int]:
    """Twisted's, which daphne makes as soon as Django knows the app."""
    if (reactor := sys.modules.get("twisted.internet.reactor")) is None:
        return set()
    loop = reactor._asyncioEventloop
    return {one.fileno() for one in (loop._selector, loop._ssock, loop._csock)} | {reactor.waker.i, reactor.waker.o}


_of_another: list[Any] = []
"""Event loops of the process that this one was forked from, which still has them: so none is collected here, for that ends one."""


def _renew_reactor() -> None:
    """Two processes don't share an event loop: where there is one already, this process makes its own, in the same object."""
    if (reactor := sys.modules.get("twisted.internet.reactor")) is not None:
        _of_another.append(dict(vars(reactor)))
        sys.modules["daphne.server"].twisted_loop = loop = asyncio.new_event_loop()  # type: ignore[attr-defined]
        reactor.__init__(loop)  # type: ignore[misc]


def _fork_for(door: socket.socket, templates: Templates | None = None) -> None:
    """Take orders until the other end is closed."""
    door.send(str(os.getpid()).encode())
    while True:
        data, descriptors, _, _ = socket.recv_fds(door, LONGEST, 1)
        if not data:
            return
        order = json.loads(data)
        answer = templates.answer(order, data, descriptors[0]) if templates and order["ours"] else b""
        door.send(answer or _forked(order, descriptors[0], door, templates))
        os.close(descriptors[0])


def _forked(order: dict[str, Any], out: int, door: socket.socket, templates: Templates | None) -> bytes:
    """The id of the process that is what was ordered from now on."""
    reading, writing = os.pipe()
    middle = os.fork()
    if middle == 0:
        os.close(reading)
        if pid := os.fork():
            os.write(writing, str(pid).encode())
            os._exit(0)
        os.close(writing)
        door.detach() if door.fileno() == 0 else door.close()  # what is read from is another then
        if templates:
            templates.let_go()
        _become(order, out)
    os.close(writing)
    os.waitpid(middle, 0)  # now the one that it has left behind is the worker's
    with os.fdopen(reading, "rb") as stream:
        return stream.read()


if __name__ == "__main__":
    for name in MODULES:
        importlib.import_module(name)
    assert threading.active_count() == 1, "what has threads can't be forked"
    assert "twisted.internet.reactor" not in sys.modules, "a reactor has an event loop, and two processes would share it"
    gc.freeze()
    kept = Templates()
    _fork_for(socket.socket(fileno=0), kept)
    kept.end()
