"""A socket between the runtime and the real engine that can freeze, refuse, cut and truncate."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

ENGINE = "/var/run/docker.sock"


class Chaos:
    """`url` is for `DOCKER_HOST`."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "engine.sock"
        self.url = f"unix://{self.path}"
        self.frozen = False
        """Connections are taken and nothing is answered, as by a stopped engine; what is open goes quiet."""
        self.refusing = False
        self.truncate_at = 0
        """> 0: each answer is cut after so many bytes."""
        self._thaw = asyncio.Event()
        self._open: set[asyncio.StreamWriter] = set()
        self._mute: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, str(self.path))

    async def close(self) -> None:
        self._server.close()
        self.thaw()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def freeze(self) -> None:
        self.frozen = True
        self._thaw.clear()

    def thaw(self) -> None:
        self.frozen = False
        self._thaw.set()

    def cut(self) -> None:
        """All that is open breaks."""
        for writer in list(self._open):
            writer.transport.abort()

    def mute(self) -> None:
        """What is open now stays open and says nothing any more."""
        self._mute |= self._open

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._open.add(writer)
        try:
            if self.refusing:
                return
            if self.frozen:
                await self._thaw.wait()
            theirs, up = await asyncio.open_unix_connection(ENGINE)
            try:
                await asyncio.gather(self._carry(reader, up, writer, 0), self._carry(theirs, writer, writer, self.truncate_at))
            finally:
                up.close()
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(writer)
            self._tasks.discard(task)
            writer.close()

    async def _carry(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, key: asyncio.StreamWriter, most: int) -> None:
        sent = 0
        while data := await source.read(65536):
            if self.frozen:
                await self._thaw.wait()
            if key in self._mute:
                continue
            if most and sent + len(data) > most:
                target.write(data[: most - sent])
                with contextlib.suppress(OSError):
                    await target.drain()
                target.transport.close() if hasattr(target.transport, "close") else target.close()
                return
            sent += len(data)
            target.write(data)
            await target.drain()
        with contextlib.suppress(OSError, RuntimeError):
            if target.can_write_eof():
                target.write_eof()
