"""The engine's own log of a container: `GET logs?timestamps=1&follow=0`, as records. Never with `follow`: 20.10 loses lines there."""

from __future__ import annotations

import calendar
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from agent.runtimes.base import RuntimeFailure
from agent.runtimes.docker import errors
from agent.runtimes.docker.wire import Demux, EngineStatus, Wire

STAMP = 31
"""`2026-11-21T01:52:11.371437276Z ` - fixed width."""
PARTIAL_BYTES = 16 * 1024
"""The engine cuts longer lines into records of this size without a newline."""


@dataclass(slots=True)
class Record:
    """One record: a line with its newline, a piece of a long line, or what a process left unfinished at its end."""

    stream: int
    time_ns: int
    data: bytes

    @property
    def is_end(self) -> bool:
        """An unfinished last line."""
        return not self.data.endswith(b"\n") and len(self.data) != PARTIAL_BYTES


class _Clock:
    """Stamps -> nanoseconds; most stamps share their second with the one before."""

    def __init__(self) -> None:
        self._text = b""
        self._seconds = 0

    def ns(self, stamp: bytes) -> int:
        head = stamp[:19]
        if head != self._text:
            self._text = head
            self._seconds = calendar.timegm(time.strptime(head.decode("ascii"), "%Y-%m-%dT%H:%M:%S"))
        return self._seconds * 1_000_000_000 + int(stamp[20:29])


def _is_stamp(data: bytes, at: int) -> bool:
    part = data[at : at + STAMP]
    return len(part) == STAMP and part[4:5] == b"-" and part[10:11] == b"T" and part[19:20] == b"." and part[29:31] == b"Z "


def _tty_records(data: bytes, clock: _Clock) -> Iterator[Record]:
    """With a TTY there are no frames: stamps divide."""
    at = 0
    while at < len(data):
        if not _is_stamp(data, at):
            return
        begin = at + STAMP
        end = data.find(b"\n", begin) + 1 or len(data)
        if end - begin > PARTIAL_BYTES and _is_stamp(data, begin + PARTIAL_BYTES):
            end = begin + PARTIAL_BYTES
        yield Record(1, clock.ns(data[at:begin]), data[begin:end])
        at = end


async def read(wire: Wire, ref: str, *, tty: bool, since_ns: int = 0, tail: int = 0, timeout: float = 120) -> list[Record]:
    """All records, oldest first.

    Raises:
        RuntimeFailure: also if the answer breaks off: half a log would look like a whole one.
    """
    query: dict[str, Any] = {"stdout": 1, "stderr": 1, "timestamps": 1, "follow": 0}
    if since_ns:
        query["since"] = f"{since_ns // 1_000_000_000}.{since_ns % 1_000_000_000:09d}"
    if tail:
        query["tail"] = tail
    try:
        answer = await wire.open("GET", f"/containers/{ref}/logs", query=query, timeout=timeout)
    except EngineStatus as error:
        raise errors.of(error, verb="logs") from error
    clock = _Clock()
    found: list[Record] = []
    whole = bytearray()
    demux = Demux(whole=True)
    try:
        async for chunk in answer.chunks():
            if tty:
                whole += chunk
                continue
            for stream, data in demux.feed(chunk):
                if not _is_stamp(data, 0):
                    raise RuntimeFailure("engine_error", "The engine's log can't be read.")
                found.append(Record(stream, clock.ns(data[:STAMP]), data[STAMP:]))
    finally:
        answer.close()
    if tty:
        found.extend(_tty_records(bytes(whole), clock))
    return found
