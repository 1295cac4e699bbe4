"""A second command in a container's folder and environment (exec)."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import pty
import signal
import struct
import sys
import termios
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

from agent.runtimes.base import Output, RuntimeFailure

ENTER = Path(__file__).with_name("enter.py")
CHUNK = 64 * 1024
LINGER_SECONDS = 2.0
ROOM_SECONDS = 0.5


class ProcessExec:
    """See `agent.runtimes.base.ExecSession`. A child of the agent, in a session of its own."""

    def __init__(self, process: asyncio.subprocess.Process, *, terminal: int = -1) -> None:
        self._process = process
        self._terminal = terminal
        self._has_terminal = terminal >= 0
        self._tasks: list[asyncio.Task[None]] = []

    async def __aiter__(self) -> AsyncIterator[Output]:
        queue: asyncio.Queue[Output | None] = asyncio.Queue(maxsize=32)
        readers: list[tuple[Literal["stdout", "stderr"], asyncio.StreamReader]] = []
        if self._terminal >= 0:
            reader = asyncio.StreamReader(limit=CHUNK)
            loop = asyncio.get_running_loop()
            file = os.fdopen(os.dup(self._terminal), "rb", buffering=0)
            transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), file)
            readers.append(("stdout", reader))
        else:
            transport = None
            assert self._process.stdout is not None
            assert self._process.stderr is not None
            readers += [("stdout", self._process.stdout), ("stderr", self._process.stderr)]

        async def carry(stream: Literal["stdout", "stderr"], source: asyncio.StreamReader) -> None:
            try:
                while data := await source.read(CHUNK):
                    await queue.put(Output(stream, data))
            except OSError:
                pass  # a terminal's end
            finally:
                await queue.put(None)

        self._tasks = [asyncio.ensure_future(carry(stream, source)) for stream, source in readers]
        ended = asyncio.ensure_future(self._process.wait())
        open_ones = len(self._tasks)
        try:
            while open_ones:
                try:
                    # A grandchild that lives on holds the pipe: the command is over all the same.
                    async with asyncio.timeout(LINGER_SECONDS if ended.done() else None):
                        getting = asyncio.ensure_future(queue.get())
                        await asyncio.wait({getting, ended} if not ended.done() else {getting}, return_when=asyncio.FIRST_COMPLETED)
                        if not getting.done():
                            getting.cancel()
                            continue
                        item = getting.result()
                except TimeoutError:
                    return
                if item is None:
                    open_ones -= 1
                else:
                    yield item
        finally:
            ended.cancel()
            for task in self._tasks:
                task.cancel()
            if transport is not None:
                transport.close()

    @property
    def is_over(self) -> bool:
        return self._process.returncode is not None

    async def _type(self, data: bytes) -> None:
        """Into the terminal; waits while the command does not read, but not longer than it lives."""
        loop = asyncio.get_running_loop()
        while data:
            if self._terminal < 0 or self.is_over:
                raise OSError("closed")
            try:
                data = data[os.write(self._terminal, data) :]
            except BlockingIOError:
                room = asyncio.Event()
                descriptor = self._terminal
                loop.add_writer(descriptor, room.set)
                try:
                    async with asyncio.timeout(ROOM_SECONDS):
                        await room.wait()
                except TimeoutError:
                    pass
                finally:
                    if self._terminal == descriptor:
                        loop.remove_writer(descriptor)

    def _close_terminal(self) -> None:
        if self._terminal >= 0:
            asyncio.get_running_loop().remove_writer(self._terminal)
            os.close(self._terminal)
            self._terminal = -1

    async def write(self, data: bytes) -> None:
        try:
            if self._has_terminal:
                await self._type(data)
                return
            assert self._process.stdin is not None
            self._process.stdin.write(data)
            await self._process.stdin.drain()
        except (OSError, RuntimeError) as error:
            raise RuntimeFailure("not_running", "The command has ended.") from error

    async def close_stdin(self) -> None:
        with contextlib.suppress(OSError, RuntimeError):
            if self._has_terminal:
                await self._type(b"\x04")
            elif self._process.stdin is not None:
                self._process.stdin.close()

    async def resize(self, *, columns: int, rows: int) -> None:
        if self._terminal >= 0:
            with contextlib.suppress(OSError):
                set_size(self._terminal, columns=columns, rows=rows)

    async def wait(self) -> int | None:
        code = await self._process.wait()
        self._close_terminal()
        return code if code >= 0 else 128 - code

    async def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        async with asyncio.timeout(5):
            await self._process.wait()
        self._close_terminal()


def set_size(terminal: int, *, columns: int, rows: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


async def start_exec(argv: list[str], *, env: dict[str, str], cwd: Path, tty: bool, columns: int, rows: int) -> ProcessExec:
    """Raises `start_failed`; a command that is not there gives exit code 127 (126: not allowed), as a shell would."""
    ours = child = -1
    if tty:
        ours, child = pty.openpty()
        os.set_blocking(ours, False)
        set_size(ours, columns=columns, rows=rows)
        env = env | {"TERM": env.get("TERM", "") if env.get("TERM", "dumb") != "dumb" else "xterm-256color"}
    pipe = child if tty else asyncio.subprocess.PIPE
    command = [sys.executable, "-I", "-S", str(ENTER), "1" if tty else "0", *argv]
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=pipe, stdout=pipe, stderr=pipe, env=env, cwd=cwd, start_new_session=True, limit=CHUNK
        )
    except (OSError, ValueError) as error:
        if ours >= 0:
            os.close(ours)
        raise RuntimeFailure("start_failed", f"The command could not be started: {error}") from error
    finally:
        if child >= 0:
            os.close(child)
    return ProcessExec(process, terminal=ours)
