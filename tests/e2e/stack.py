"""The whole chain as processes: panel (daphne), agent (docker runtime), and a link between them that can be cut."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from tests import warm

ROOT = Path(__file__).parents[2]
IMAGE = os.environ.get("LORMAS_TEST_IMAGE", "lormas-test/busybox:1")


class Link:
    """A TCP relay on a port of its own; `cut` drops every connection, `block` takes no new ones."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.blocked = False
        self._swallowing: set[asyncio.StreamWriter] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._relay, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.blocked:
            writer.close()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            writer.close()
            return
        self._writers |= {writer, far_writer}
        await asyncio.gather(self._pump(reader, far_writer), self._pump(far_reader, writer))
        self._writers -= {writer, far_writer}

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                if writer in self._swallowing:
                    continue
                writer.write(data)
                await writer.drain()
        while writer in self._swallowing:  # the other end does not hear of the end either
            await asyncio.sleep(0.2)
        with contextlib.suppress(OSError):
            writer.close()

    def swallow(self) -> None:
        """The connections of this moment become half open: they take bytes and bring none, and nobody hears of an end. New ones work."""
        self._swallowing |= self._writers

    def cut(self) -> None:
        self._swallowing.clear()
        for writer in tuple(self._writers):
            writer.transport.abort()

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()


class AgentProcess:
    """`lormas-agent run` on a data folder that outlives it."""

    is_whole = False
    """Started as a user starts it, with nothing imported before."""

    def __init__(self, *, data: Path, panel_url: str, token: str, runtime: str = "docker", **environment: str) -> None:
        self.data = data
        self.code = ROOT
        """Where the agent's code is."""
        self.runtime = runtime
        self.environment = {
            **os.environ,
            "LORMAS_PANEL_URL": panel_url,
            "LORMAS_NODE_TOKEN": token,
            "LOG_LEVEL": "info",
            **environment,
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, **environment: str) -> AgentProcess:
        self.data.mkdir(parents=True, exist_ok=True)
        run = ("agent", "run", "--data", str(self.data), "--runtime", self.runtime, "--allow-process")
        env = {**self.environment, **environment}
        with (self.data.parent / "agent.log").open("ab") as out:
            if self.code == ROOT and not self.is_whole:
                self.process = warm.start(*run, env=env, out=out)
            else:
                self.process = subprocess.Popen([sys.executable, "-m", *run], cwd=self.code, env=env, stdout=out, stderr=out)
        return self

    def kill(self) -> None:
        """kill -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(10)

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def threads(self) -> int:
        """How many it has."""
        assert self.process is not None
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))

    def files(self) -> int:
        """How many it has open."""
        assert self.process is not None
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            try:
                self.process.wait(15)
            except subprocess.TimeoutExpired:
                self.kill()


class WholeAgent(AgentProcess):
    is_whole = True


class WorkerProcess:
    """The worker with its beat, as `make run` starts it."""

    def __init__(self, *, log: Path, environment: dict[str, str]) -> None:
        self.log = log
        self.environment = environment
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> WorkerProcess:
        with self.log.open("ab") as out:
            self.process = warm.start("lormas.quickstart.worker", env=self.environment, out=out)
        return self

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)


class LogReader:
    """A browser that comes back: resumes by the last sequence number it has, confirms pings."""

    def __init__(self, *, url: str, token: str, container_id: str) -> None:
        self.url = url.replace("http", "ws", 1) + "/ws"
        self.token = token
        self.container_id = container_id
        self.lines: list[list[Any]] = []
        self.other: list[dict[str, Any]] = []
        self.reconnects = 0

    async def run(self) -> None:
        while True:
            try:
                async with connect(self.url, additional_headers={"Authorization": f"Bearer {self.token}"}, proxy=None, max_size=None) as socket:
                    after = self.lines[-1][0] if self.lines else 0
                    await socket.send(json.dumps({"type": "subscribe_logs", "container_id": self.container_id, "after": after}))
                    async for text in socket:
                        message = json.loads(text)
                        if message["type"] == "log":
                            self.lines += message["lines"]
                        elif message["type"] == "ping":
                            await socket.send(json.dumps({"type": "pong", "reply_to": message["id"]}))
                        else:
                            self.other.append(message)
            except (OSError, ConnectionClosed, InvalidHandshake, TimeoutError):
                pass
            self.reconnects += 1
            await asyncio.sleep(0.2)

    @property
    def numbers(self) -> list[int]:
        """N of every `line N` of the program's own output."""
        return [int(text[5:]) for _, _, stream, text in self.lines if stream == "application" and text.startswith("line ")]

    async def until(self, count: int, seconds: float = 60) -> None:
        """At least `count` lines have come."""
        end = asyncio.get_running_loop().time() + seconds
        while len(self.lines) < count:
            assert asyncio.get_running_loop().time() < end, (
                f"{len(self.lines)} of {count}; last {self.lines[-1:]}; {self.other[-3:]}; {self.reconnects} reconnects"
            )
            await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def reading(reader: LogReader) -> AsyncIterator[LogReader]:
    task = asyncio.create_task(reader.run())
    try:
        yield reader
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
