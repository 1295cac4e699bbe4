"""Binary frames: log batches and exec bytes, which the panel passes on without decoding.

Layout, big endian: kind (1 byte), stream id (16 bytes, a UUID), then by kind:

- `LOG`: container id (16), first seq (8), last seq (8), line count (4), flags (1), payload.
  The payload is the JSON text of `[[seq, time, stream, text], ...]`: byte for byte what a browser gets as `lines`.
  Flag 1 (`GAP_BEFORE`): lines between the previous batch and this one are lost for ever; the payload begins with
  an `events` entry that says how many, where that is known.
- `EXEC_STDOUT`, `EXEC_STDERR`, `EXEC_STDIN`: raw bytes. An empty `EXEC_STDIN` closes the process's standard input.
"""

from __future__ import annotations

import struct
import uuid
from dataclasses import dataclass

LOG = 1
EXEC_STDOUT = 2
EXEC_STDERR = 3
EXEC_STDIN = 4

GAP_BEFORE = 1

LOG_BATCH_BYTES = 64 * 1024
"""A batch is sent when it has this size..."""
LOG_BATCH_SECONDS = 0.03
"""...or this age, whichever comes first."""

_LOG_HEAD = struct.Struct(">B16s16sqqiB")
_EXEC_HEAD = struct.Struct(">B16s")


@dataclass(frozen=True, slots=True)
class LogFrame:
    """A batch of log lines of one container. `payload` is JSON text, see the module."""

    stream_id: str
    container_id: str
    first_seq: int
    last_seq: int
    count: int
    payload: bytes
    flags: int = 0


@dataclass(frozen=True, slots=True)
class ExecFrame:
    """Raw bytes of one exec."""

    kind: int
    stream_id: str
    data: bytes


def pack_log(frame: LogFrame) -> bytes:
    """Bytes of a log batch."""
    head = _LOG_HEAD.pack(
        LOG,
        uuid.UUID(frame.stream_id).bytes,
        uuid.UUID(frame.container_id).bytes,
        frame.first_seq,
        frame.last_seq,
        frame.count,
        frame.flags,
    )
    return head + frame.payload


def pack_exec(frame: ExecFrame) -> bytes:
    """Bytes of an exec chunk."""
    return _EXEC_HEAD.pack(frame.kind, uuid.UUID(frame.stream_id).bytes) + frame.data


def unpack(data: bytes) -> LogFrame | ExecFrame:
    """The frame in `data`.

    Raises:
        ValueError: unknown kind or too short.
    """
    if not data:
        raise ValueError("empty binary frame")
    kind = data[0]
    if kind == LOG:
        if len(data) < _LOG_HEAD.size:
            raise ValueError("log frame shorter than its head")
        _, stream, container, first, last, count, flags = _LOG_HEAD.unpack_from(data)
        return LogFrame(str(uuid.UUID(bytes=stream)), str(uuid.UUID(bytes=container)), first, last, count, data[_LOG_HEAD.size :], flags)
    if kind in (EXEC_STDOUT, EXEC_STDERR, EXEC_STDIN):
        if len(data) < _EXEC_HEAD.size:
            raise ValueError("exec frame shorter than its head")
        _, stream = _EXEC_HEAD.unpack_from(data)
        return ExecFrame(kind, str(uuid.UUID(bytes=stream)), data[_EXEC_HEAD.size :])
    raise ValueError(f"unknown binary frame kind {kind}")
