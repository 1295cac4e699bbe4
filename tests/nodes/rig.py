"""A panel (real daphne on a real port), a fake agent (a plain client), and a tiny runtime for real agents in this process."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.asyncio.client import ClientConnection, connect

from agent.protocol import messages as wire
from lormas.common import ratelimit
from tests import warm

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _count_from_nothing() -> None:
    """Panels of one test don't count what panels of tests before it were asked in the same Redis: they have no prefix of a test's own (conftest)."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "").partition(" ")[0]
    if _counting_for != [test]:
        _counting_for[:] = [test]
        counts = ratelimit.client()
        if old := list(counts.scan_iter("lormas:rate:[a-z]*", count=1000)):
            counts.delete(*old)


_counting_for: list[str] = []


def surroundings() -> dict[str, str]:
    """The environment of a process that shares the test's database, Redis, data folder and keys."""
    from django.conf import settings
    from django.db import connection

    database = connection.settings_dict
    if database["ENGINE"].endswith("sqlite3"):
        where = {"DB_PATH": str(database["NAME"]), "DATABASE_URL": ""}
    else:
        host = f"{database['HOST']}:{database['PORT']}"
        where = {"DATABASE_URL": f"postgresql://{database['USER']}:{database['PASSWORD']}@{host}/{database['NAME']}"}
    return {
        **os.environ,
        **where,
        "REDIS_URL": settings.REDIS_URL,
        "LORMAS_DATA": str(settings.DATA_DIR),
        "SECRET_KEY": settings.SECRET_KEY,
        "LOG_FORMAT": "json",
        "LOG_LEVEL": "info",
    }


class Panel:
    """`daphne lormas.asgi` as a process of its own, on the test's database and Redis."""

    def __init__(self, *, port: int | None = None, log: Path | None = None, application: str = "lormas.asgi:application", **environment: str) -> None:
        self.port = port or free_port()
        self.log = log
        self._application = application
        self._environment = environment
        self.process: subprocess.Popen[bytes] | None = None
        self._mark = 0

    def mark(self) -> None:
        """What is in the log now is of no interest."""
        self._mark = self.log.stat().st_size if self.log and self.log.exists() else 0

    def said(self) -> str:
        """The log since the mark."""
        if self.log is None:
            return ""
        with self.log.open("rb") as stream:
            stream.seek(self._mark)
            return stream.read().decode()

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Panel:
        _count_from_nothing()
        environment = {**surroundings(), **self._environment}
        arguments = ["-b", "127.0.0.1", "-p", str(self.port), "--application-close-timeout", "3", self._application]
        with self.log.open("ab") if self.log else Path(os.devnull).open("ab") as out:
            self.process = warm.start("daphne", *arguments, env=environment, out=out, ours=self._application.partition(":")[0])
        self.wait()
        return self

    def wait(self, seconds: float = 120) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert self.process is not None and self.process.poll() is None, f"daphne died: {self.log.read_text() if self.log else ''}"
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 0.5):
                return
            time.sleep(0.05)
        raise AssertionError("daphne does not listen")

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)


class Web(Panel):
    """The program that the quick start and the image run, as it is run."""

    def start(self) -> Web:
        assert self.log is not None
        _count_from_nothing()
        with self.log.open("ab") as out:
            environment = {**surroundings(), "HOST": "127.0.0.1", "PORT": str(self.port), **self._environment}
            self.process = subprocess.Popen([sys.executable, "-m", "lormas.quickstart.web"], cwd=ROOT, env=environment, stdout=out, stderr=out)
        self.wait(60)
        with urllib.request.urlopen(f"{self.url}/healthz", timeout=60) as answer:  # as the quick start and the image's health check ask
            assert answer.status == 200
        return self


def hello(**changes: Any) -> wire.Hello:
    """A well-formed hello."""
    values: dict[str, Any] = {
        "protocol": wire.PROTOCOL_VERSION,
        "protocol_minimum": wire.PROTOCOL_MINIMUM,
        "agent_version": "9.9.9",
        "instance_id": "fake-installation",
        "facts": wire.NodeFacts(
            hostname="fake",
            cpu_cores=4,
            cpu_architecture="x86_64",
            total_memory_bytes=8 * 1024**3,
            total_storage_bytes=100 * 10**9,
            container_runtime="fake://1",
            runtime_kind="fake",
        ),
        "containers_complete": True,
    }
    return wire.Hello(**{**values, **changes})


class FakeAgent:
    """Thirty lines that speak the protocol as told."""

    def __init__(self, socket_: ClientConnection) -> None:
        self.socket = socket_
        self.welcome: wire.Welcome | None = None
        self.seen: list[wire.PanelMessage] = []

    async def send(self, message: wire.Frame) -> None:
        await self.socket.send(wire.encode(message).decode())

    async def receive(self, seconds: float = 10) -> wire.PanelMessage:
        async with asyncio.timeout(seconds):
            while True:
                data = await self.socket.recv()
                if isinstance(data, bytes):
                    continue
                message = wire.decode_from_panel(data)
                if isinstance(message, wire.Ping):
                    await self.send(wire.Pong(nonce=message.nonce))
                    continue
                self.seen.append(message)
                return message

    async def expect(self, kind: type, seconds: float = 60) -> Any:
        """The next message of this kind; others are passed over."""
        async with asyncio.timeout(seconds):
            while True:
                message = await self.receive(seconds)
                if isinstance(message, kind):
                    return message

    async def beat(self, seq: int = 1, **changes: Any) -> None:
        await self.send(wire.Heartbeat(seq=seq, sent_at_unix=0, **changes))


@contextlib.asynccontextmanager
async def fake_agent(
    url: str, token: str, *, in_query: bool = False, say: wire.Frame | str | None = None, path: str = "/api/ws/nodes"
) -> AsyncIterator[FakeAgent]:
    """Connect and say hello (or something else)."""
    address = url.replace("http", "ws", 1) + path + (f"?token={token}" if in_query else "")
    headers = {} if in_query else {"Authorization": f"Bearer {token}"}
    async with connect(address, additional_headers=headers, compression=None, max_size=2**20, proxy=None, ping_interval=None) as socket_:
        agent = FakeAgent(socket_)
        await (socket_.send(say) if isinstance(say, str) else agent.send(say or hello()))
        yield agent


@contextlib.asynccontextmanager
async def joined(url: str, token: str, **kwargs: Any) -> AsyncIterator[FakeAgent]:
    """A fake agent that was welcomed."""
    async with fake_agent(url, token, **kwargs) as agent:
        agent.welcome = await agent.expect(wire.Welcome)
        yield agent


def report(container_id: str | uuid.UUID, state: Any = "running", **changes: Any) -> wire.ContainerReport:
    return wire.ContainerReport(**{"container_id": str(container_id), "state": state, "seq": 1, "epoch": 1, **changes})


def builtins(message: Any) -> Any:
    return msgspec.to_builtins(message)


def panel_of_a_module(*, application: str = "lormas.asgi:application", **settings: str) -> Any:
    """The fixture `panel_process`: one daphne for a module's tests, since it keeps nothing in memory that a flushed database would miss."""

    @pytest.fixture(scope="module")
    def panel_process(django_db_setup: None, django_db_blocker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Panel]:
        process = Panel(log=tmp_path_factory.mktemp("panel") / "panel.log", application=application, **settings)
        yield process
        process.stop()

    return panel_process
