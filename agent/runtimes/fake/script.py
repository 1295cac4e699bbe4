"""Pretended processes: a little script, its output, an exec."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from typing import Literal

from agent.runtimes.base import Output, OutputGap, ResumePoint


class Pipe:
    """Output of one run, kept whole; readers wait for more."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        self.items: list[Output] = []
        self.over = False
        self.news = asyncio.Event()

    def write(self, stream: Literal["stdout", "stderr"], data: bytes) -> None:
        self.items.append(Output(stream, data, time.time()))
        self._tell()

    def end(self) -> None:
        self.over = True
        self._tell()

    def _tell(self) -> None:
        self.news.set()
        self.news = asyncio.Event()

    async def read(self, skip: dict[str, int]) -> AsyncIterator[Output]:
        at = 0
        while True:
            while at < len(self.items):
                item = self.items[at]
                at += 1
                gone = min(skip[item.stream], len(item.data))
                skip[item.stream] -= gone
                if gone < len(item.data):
                    yield Output(item.stream, item.data[gone:], item.time_unix)
            if self.over:
                return
            await self.news.wait()


class FakeReader:
    """See `OutputReader`."""

    def __init__(self, pipe: Pipe, resume: ResumePoint) -> None:
        self._pipe = pipe
        same = resume.run_id == pipe.run_id
        self._skip = {"stdout": resume.stdout_bytes if same else 0, "stderr": resume.stderr_bytes if same else 0}

    @property
    def run_id(self) -> str:
        return self._pipe.run_id

    async def __aiter__(self) -> AsyncIterator[Output | OutputGap]:
        async for item in self._pipe.read(dict(self._skip)):
            yield item

    async def close(self) -> None:
        """Nothing is held."""


class Script:
    """A script that runs."""

    def __init__(self, words: list[str], pipe: Pipe) -> None:
        self.words = words
        self.pipe = pipe
        self.stdin: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.ignores: set[str] = set()
        self.unfrozen = asyncio.Event()
        self.unfrozen.set()
        self.exit_code: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        for word in self.words:
            await self.unfrozen.wait()
            step, _, rest = word.partition(" ")
            match step:
                case "print" | "err" | "part":
                    self.pipe.write("stderr" if step == "err" else "stdout", rest.encode() + (b"" if step == "part" else b"\n"))
                case "count":
                    for begin in range(1, int(rest) + 1, 1000):
                        block = "".join(f"line {number}\n" for number in range(begin, min(begin + 1000, int(rest) + 1)))
                        self.pipe.write("stdout", block.encode())
                        await asyncio.sleep(0)
                case "sleep":
                    await asyncio.sleep(float(rest))
                case "ignore-term":
                    self.ignores.add("SIGTERM")
                case "echo" | "cat":
                    while (data := await self.stdin.get()) is not None:
                        self.pipe.write("stdout", data)
                        if data.strip() in (b"stop", b"exit", b"quit"):
                            self.end(0)
                            return
                case "exit":
                    self.end(int(rest or 0))
                    return
        await asyncio.Event().wait()

    def end(self, code: int) -> None:
        if not self.exit_code.done():
            self.exit_code.set_result(code)
            self.pipe.end()

    def signal(self, name: str) -> None:
        if name not in self.ignores:
            self.end({"SIGKILL": 137, "SIGTERM": 143, "SIGINT": 130}.get(name, 128))
            self.task.cancel()


class FakeExec:
    """See `ExecSession`."""

    def __init__(self, argv: list[str]) -> None:
        self._pipe = Pipe(uuid.uuid4().hex)
        steps = ("print", "err", "part", "count", "sleep", "exit", "echo", "cat", "ignore-term")
        known = any(word.partition(" ")[0] in steps for word in argv)
        self._process = Script([*argv, "exit 0"] if known else ["print " + " ".join(argv), "exit 0"], self._pipe)
        self.size = (80, 24)

    async def __aiter__(self) -> AsyncIterator[Output]:
        async for item in self._pipe.read({"stdout": 0, "stderr": 0}):
            yield item

    async def write(self, data: bytes) -> None:
        self._process.stdin.put_nowait(data)

    async def close_stdin(self) -> None:
        self._process.stdin.put_nowait(None)

    async def resize(self, *, columns: int, rows: int) -> None:
        self.size = (columns, rows)

    async def wait(self) -> int | None:
        return await asyncio.shield(self._process.exit_code)

    async def kill(self) -> None:
        self._process.signal("SIGKILL")
