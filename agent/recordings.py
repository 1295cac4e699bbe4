"""What terminals wrote, as asciicast v2 files: output and sizes only, never what was typed (what is echoed is output, passwords are not).

`<folder>/<container id>/<start in ms>-<random>.cast`. Old ones go: more than `MOST_KEPT` of a container, or older than `KEPT_SECONDS`.
"""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import json
import logging
import re
import secrets
import time
from pathlib import Path
from typing import Any

from agent.protocol.messages import TerminalOpen
from agent.runtimes.base import RuntimeFailure

log = logging.getLogger(__name__)

MOST_KEPT = 50
KEPT_SECONDS = 30 * 86400
MOST_BYTES = 32 * 1024 * 1024
FLUSH_SECONDS = 1.0
_ID = re.compile(r"^[0-9]{10,16}-[0-9a-f]{8}$")
_CONTAINER = re.compile(r"^[0-9A-Za-z][0-9A-Za-z_.-]{0,63}$")


class Recorder:
    """Writes one file; what it is told is kept in memory for at most a second."""

    def __init__(self, file: Path, header: dict[str, Any]) -> None:
        self._file = file
        self._begun = time.monotonic()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._waiting = [json.dumps(header, ensure_ascii=False)]
        self._bytes = 0
        self._full = False
        self._task = asyncio.create_task(self._flush_regularly(), name="recording")

    def _event(self, kind: str, data: str) -> None:
        if self._full:
            return
        line = json.dumps([round(time.monotonic() - self._begun, 4), kind, data], ensure_ascii=False)
        self._bytes += len(line)
        if self._bytes > MOST_BYTES:
            self._full = True
            line = json.dumps([round(time.monotonic() - self._begun, 4), "o", "\r\n[recording is full and ends here]\r\n"])
        self._waiting.append(line)

    def output(self, data: bytes) -> None:
        text = self._decoder.decode(data)
        if text:
            self._event("o", text)

    def resized(self, columns: int, rows: int) -> None:
        self._event("r", f"{columns}x{rows}")

    async def _flush_regularly(self) -> None:
        while True:
            await self._flush()
            await asyncio.sleep(FLUSH_SECONDS)

    async def _flush(self) -> None:
        lines, self._waiting = self._waiting, []
        if lines:
            try:
                await asyncio.to_thread(self._write, "\n".join(lines) + "\n")
            except OSError as error:
                self._full = True
                log.error("recording can't be written", extra={"reason": str(error)})

    def _write(self, text: str) -> None:
        with self._file.open("a", encoding="utf-8") as out:
            out.write(text)

    async def close(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self._flush()


class Recordings:
    """All of this node."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def _of(self, container_id: str) -> Path:
        if not _CONTAINER.match(container_id):
            raise RuntimeFailure("bad_payload", "Not a container id.")
        return self._folder / container_id

    async def begin(self, opening: TerminalOpen) -> Recorder:
        folder = self._of(opening.container_id)

        def prepare() -> Path:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._forget_old(folder)
            made = folder / f"{time.time_ns() // 1_000_000}-{secrets.token_hex(4)}.cast"
            made.touch(mode=0o600)
            return made

        try:
            file = await asyncio.to_thread(prepare)
        except OSError as error:  # it must be recorded, and can't be: then there is no terminal
            raise RuntimeFailure("disk_full", f"The recording that is wanted of this terminal can't be begun: {error}") from error
        header = {
            "version": 2,
            "width": opening.columns,
            "height": opening.rows,
            "timestamp": int(time.time()),
            "title": opening.name,
            "env": {"TERM": "xterm-256color"},
            "lormas": {"opened_by": opening.opened_by},
        }
        return Recorder(file, header)

    def _forget_old(self, folder: Path) -> None:
        files = sorted(folder.glob("*.cast"), reverse=True)
        oldest = time.time() - KEPT_SECONDS
        for index, file in enumerate(files):
            if index >= MOST_KEPT - 1 or int(file.name.partition("-")[0]) / 1000 < oldest:
                file.unlink(missing_ok=True)

    async def of(self, container_id: str) -> list[dict[str, Any]]:
        folder = self._of(container_id)
        return await asyncio.to_thread(lambda: [_summary(file) for file in sorted(folder.glob("*.cast"), reverse=True)])

    def file(self, container_id: str, recording_id: str) -> Path:
        """Raises RuntimeFailure `no_such_recording`."""
        found = self._of(container_id) / f"{recording_id}.cast"
        if not _ID.match(recording_id) or not found.is_file():
            raise RuntimeFailure("no_such_recording", "There is no such recording any more.")
        return found

    async def delete(self, container_id: str, recording_id: str) -> None:
        await asyncio.to_thread(self.file(container_id, recording_id).unlink, missing_ok=True)

    async def forget(self, container_id: str) -> None:
        """The container is gone for good."""

        def work() -> None:
            folder = self._of(container_id)
            for file in folder.glob("*.cast"):
                file.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                folder.rmdir()

        await asyncio.to_thread(work)


def _summary(file: Path) -> dict[str, Any]:
    began = int(file.name.partition("-")[0]) / 1000
    found = file.stat()
    name = opened_by = ""
    with contextlib.suppress(OSError, ValueError), file.open(encoding="utf-8") as text:
        header = json.loads(text.readline(65536))
        name, opened_by = str(header.get("title", "")), str(header.get("lormas", {}).get("opened_by", ""))
    return {
        "id": file.stem,
        "name": name,
        "opened_by": opened_by,
        "started_at_unix": began,
        "seconds": round(max(0.0, found.st_mtime - began), 1),
        "bytes": found.st_size,
    }
