"""A second command inside a container (exec), and the main process's standard input."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from agent.runtimes.base import Output, RuntimeFailure
from agent.runtimes.docker import errors
from agent.runtimes.docker.lifecycle import Lifecycle
from agent.runtimes.docker.wire import CHUNK, Answer, Demux, EngineStatus, Wire

MARK = "LORMAS_EXEC"
"""Environment variable by which the processes of one exec are known, its children too."""

RUN_MARK = ""
"""Begins the mark's value: tells execs of this life of the agent from what an earlier one left behind."""


def _begin() -> None:
    global RUN_MARK
    RUN_MARK = uuid.uuid4().hex[:12]


_begin()
os.register_at_fork(after_in_child=_begin)

# For images whose processes we can't see (a remote engine, an agent in a container of its own): ends all that carry the mark, from inside.
_KILL_INSIDE = 'for p in /proc/[0-9]*; do if tr "\\0" "\\n" < "$p/environ" 2>/dev/null | grep -qx "$1"; then kill -9 "${p#/proc/}"; fi; done'


async def write_stdin(wire: Wire, ref: str, data: bytes, *, timeout: float) -> None:
    """Write, close our end, wait until the engine has passed all of it on. The container's own stdin stays open (StdinOnce is false)."""
    try:
        async with asyncio.timeout(timeout):
            answer = await wire.open("POST", f"/containers/{ref}/attach", query={"stream": 1, "stdin": 1}, upgrade=True, timeout=timeout)
            try:
                answer.writer.write(data)
                await answer.writer.drain()
                answer.writer.write_eof()
                while await answer.reader.read(CHUNK):
                    pass
            finally:
                answer.close()
    except TimeoutError:
        raise RuntimeFailure("timeout", "The container does not read its standard input.", retryable=True) from None
    except EngineStatus as error:
        raise errors.of(error, verb="attach") from error
    except OSError as error:
        raise RuntimeFailure("engine_down", f"The connection to the container broke: {error}", retryable=True) from error


async def start_exec(
    wire: Wire,
    lifecycle: Lifecycle,
    ref: str,
    argv: list[str],
    *,
    env: dict[str, str],
    working_dir: str,
    user: str,
    tty: bool,
    columns: int,
    rows: int,
    timeout: float,
) -> DockerExec:
    """See `Runtime.exec`."""
    if not argv:
        raise RuntimeFailure("bad_payload", "There is no command.")
    mark = f"{MARK}={RUN_MARK}{uuid.uuid4().hex}"
    environment = [f"{key}={value}" for key, value in env.items() if key != MARK] + [mark]

    def create(api: Any) -> Any:
        return api.exec_create(
            ref, argv, stdin=True, stdout=True, stderr=True, tty=tty, environment=environment, workdir=working_dir or None, user=user or ""
        )

    made = await lifecycle.run("exec", create, timeout=timeout)
    session = DockerExec(wire, ref, str(made["Id"]), mark=mark, tty=tty)
    await session.start(columns=columns, rows=rows, timeout=timeout)
    return session


class DockerExec:
    """See `agent.runtimes.base.ExecSession`."""

    def __init__(self, wire: Wire, ref: str, exec_id: str, *, mark: str, tty: bool) -> None:
        self._wire = wire
        self._ref = ref
        self._id = exec_id
        self._mark = mark
        self._tty = tty
        self._answer: Answer | None = None

    async def start(self, *, columns: int, rows: int, timeout: float) -> None:
        try:
            self._answer = await self._wire.open(
                "POST", f"/exec/{self._id}/start", body={"Detach": False, "Tty": self._tty}, upgrade=True, timeout=timeout
            )
        except EngineStatus as error:
            raise errors.of(error, verb="exec") from error
        if self._tty:
            with contextlib.suppress(RuntimeFailure):
                await self.resize(columns=columns, rows=rows)

    async def __aiter__(self) -> AsyncIterator[Output]:
        assert self._answer is not None
        demux = Demux()
        with contextlib.suppress(ConnectionError):
            while data := await self._answer.reader.read(CHUNK):
                if self._tty:
                    yield Output("stdout", data)
                    continue
                for stream, piece in demux.feed(data):
                    yield Output("stderr" if stream == 2 else "stdout", piece)

    async def write(self, data: bytes) -> None:
        assert self._answer is not None
        try:
            self._answer.writer.write(data)
            await self._answer.writer.drain()
        except (ConnectionError, RuntimeError) as error:
            raise RuntimeFailure("not_running", "The command has ended.") from error

    async def close_stdin(self) -> None:
        assert self._answer is not None
        with contextlib.suppress(OSError, RuntimeError):
            if self._answer.writer.can_write_eof():
                self._answer.writer.write_eof()

    async def resize(self, *, columns: int, rows: int) -> None:
        # The engine answers 500 until the process is there, and again once it has ended.
        for attempt in range(20):
            try:
                await self._wire.call("POST", f"/exec/{self._id}/resize", query={"h": rows, "w": columns}, timeout=5)
            except EngineStatus as error:
                if attempt == 19 or not (await self._inspect()).get("Running"):
                    raise errors.of(error, verb="exec") from error
                await asyncio.sleep(0.05)
            else:
                return

    async def _inspect(self) -> dict[str, Any]:
        try:
            found: dict[str, Any] = await self._wire.call("GET", f"/exec/{self._id}/json", timeout=5)
        except EngineStatus as error:
            if error.status == 404:  # the container is gone, its execs with it
                return {"Running": False, "ExitCode": None}
            raise errors.of(error, verb="exec") from error
        return found

    async def wait(self) -> int | None:
        """Polls: the engine has no wait for an exec, and its output can end before it does. The caller bounds it."""
        pause = 0.01
        while True:
            found = await self._inspect()
            if not found.get("Running"):
                if self._answer is not None:
                    self._answer.close()
                code = found.get("ExitCode")
                return int(code) if code is not None else None
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, 0.5)

    async def kill(self) -> None:
        """End all its processes; closing the connection alone would leave them running (the engine has no such verb)."""
        try:
            found = await self._inspect()
            if found.get("Running"):
                pid = int(found.get("Pid") or 0)
                if not await asyncio.to_thread(_kill_seen, pid, self._ref, self._mark):
                    await self._kill_inside()
                async with asyncio.timeout(5):
                    await self.wait()
        except TimeoutError:
            raise RuntimeFailure("timeout", "The command did not end after SIGKILL.", retryable=True) from None
        finally:
            if self._answer is not None:
                self._answer.close()

    async def _kill_inside(self) -> None:
        try:
            made = await self._wire.call(
                "POST", f"/containers/{self._ref}/exec", body={"Cmd": ["sh", "-c", _KILL_INSIDE, "sh", self._mark], "User": "0"}, timeout=5
            )
            await self._wire.call("POST", f"/exec/{made['Id']}/start", body={"Detach": True}, timeout=5)
        except EngineStatus as error:
            raise errors.of(error, verb="exec") from error


def _kill_seen(pid: int, ref: str, mark: str) -> bool:
    """Kill the exec's processes from here; False if they can't be seen. A pid counts only if it is in this container's cgroup."""
    wanted = mark.encode()
    if not _marked(pid, ref, wanted):
        return False
    for _ in range(5):
        found = False
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit() and _marked(int(entry.name), ref, wanted):
                found = True
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(entry.name), signal.SIGKILL)
        if not found:
            break
    return True


def _marked(pid: int, ref: str, mark: bytes) -> bool:
    folder = Path("/proc") / str(pid)
    try:
        return pid > 1 and mark in (folder / "environ").read_bytes().split(b"\0") and ref in (folder / "cgroup").read_text()
    except OSError:
        return False
