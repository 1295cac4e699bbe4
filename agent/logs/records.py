"""What a segment file holds: one JSON text a line.

- `[seq,"time","stream","text"]`: a log line, byte for byte as it travels to a browser.
- `{"g":[after_seq,lost]}`: lines are lost for ever behind `after_seq`; lost = how many, or null.
- `{"c":last_seq,"r":{...},...}`: a commit. What stands behind the last commit of a file is the torn end of a write and is cut off
  at open; so lines and the point up to which output was taken over become true together.

The first record of a file is a commit too (with `floor`: the lowest seq that still counts, and the machine's boot id).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from agent.protocol.messages import LogEntry

Line = tuple[int, str, str, str]
"""(seq, time, stream, text)"""


class ResumeState(msgspec.Struct, omit_defaults=True, rename={"from_seq": "f"}):
    """`ResumePoint` on disk, without its tails: those are the stored lines themselves. `from_seq`: the last seq before this run."""

    run: str = ""
    ob: int = 0
    ol: int = 0
    oo: int = 0
    eb: int = 0
    el: int = 0
    eo: int = 0
    t: float = 0
    from_seq: int = -1


class Commit(msgspec.Struct, omit_defaults=True):
    """See the module. `h`: these lines were put in by hand, the container did not write them."""

    c: int
    r: ResumeState | None = None
    v: int = 0
    floor: int = 0
    boot: str = ""
    clean: bool = False
    h: int = 0


_encoder = msgspec.json.Encoder()
_commit = msgspec.json.Decoder(Commit)
_entries = msgspec.json.Decoder(list[LogEntry])
_any = msgspec.json.Decoder()


def encode_lines(lines: Iterable[Line]) -> bytes:
    return _encoder.encode_lines(lines)


def encode_commit(commit: Commit) -> bytes:
    return _encoder.encode(commit) + b"\n"


def encode_gap(after: int, lost: int | None) -> bytes:
    return _encoder.encode({"g": [after, lost]}) + b"\n"


def decode_commit(raw: bytes) -> Commit | None:
    if not raw.startswith(b'{"c"'):
        return None
    try:
        return _commit.decode(raw)
    except msgspec.DecodeError:
        return None


def decode_gap(raw: bytes) -> tuple[int, int | None] | None:
    if not raw.startswith(b'{"g"'):
        return None
    found: Any = _any.decode(raw)
    after, lost = found["g"]
    return int(after), lost


def decode_entries(raws: list[bytes]) -> list[LogEntry]:
    return _entries.decode(b"[" + b",".join(raws) + b"]")


def seq_of(raw: bytes) -> int:
    return int(raw[1 : raw.index(b",")])


def time_of(raw: bytes) -> str:
    at = raw.index(b'"') + 1
    return raw[at : raw.index(b'"', at)].decode("ascii")


def payload_of(block: bytes) -> bytes:
    """A block of line records (each with its newline) as the JSON list of a batch. A newline inside a text is escaped, so this is exact."""
    return b"[" + block[:-1].replace(b"\n", b",") + b"]"


_second = (-1, "")


def stamp(unix: float) -> str:
    """RFC 3339, UTC, microseconds."""
    global _second
    whole = int(unix)
    if whole != _second[0]:
        _second = (whole, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(whole)))
    return f"{_second[1]}.{int((unix - whole) * 1_000_000):06d}Z"


def normal_time(text: str) -> str:
    """Any RFC 3339 time in the form that `stamp` gives, so that texts compare as times. Raises ValueError."""
    moment = datetime.fromisoformat(text.strip().replace(" ", "T"))
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def boot_id() -> str:
    """Of this run of the machine; "" where there is none."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
