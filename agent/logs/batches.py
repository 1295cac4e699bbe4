"""A log's stored lines as they travel: batches, and how the lines behind a number are found in a file."""

from __future__ import annotations

import time
from dataclasses import dataclass

from agent.logs import records

BATCH_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Batch:
    """Lines in a row, as they travel (`frames.LogFrame` without its stream). Shared by all followers."""

    first_seq: int
    last_seq: int
    count: int
    payload: bytes
    flags: int = 0


def offset_behind(data: bytes, after: int) -> int:
    """Where the first line's record with a higher number begins; the end if there is none. Found by halving: most of a file that a follower reads
    bit by bit is behind it already."""
    low, high = 0, len(data)
    while low < high:
        middle = (low + high) // 2
        at = _record_from(data, middle if middle == low else _line_behind(data, middle - 1))
        if at < high and int(data[at + 1 : data.index(b",", at)]) <= after:
            low = _line_behind(data, at)
        else:
            high = middle
    return _record_from(data, low)


def _record_from(data: bytes, at: int) -> int:
    """Where the first line's record begins, from a line's beginning on."""
    while at < len(data) and data[at : at + 1] != b"[":
        at = _line_behind(data, at)
    return at


def _line_behind(data: bytes, at: int) -> int:
    """Where the next line begins."""
    return data.find(b"\n", at) + 1 or len(data)


def run_end(raws: list[bytes], begin: int, starts: set[int]) -> int:
    """Where the run of numbers without a jump or a declared loss ends that begins there. Numbers only grow, so a stretch without a jump is one whose
    ends are as far apart as it is long: found by halving, not by reading each number."""
    first = records.seq_of(raws[begin])
    known, beyond = begin, len(raws)
    while beyond - known > 1:
        middle = (known + beyond) // 2
        if records.seq_of(raws[middle]) - first == middle - begin:
            known = middle
        else:
            beyond = middle
    last = first + known - begin
    lost = min((after for after in starts if first <= after < last), default=None)
    return begin + lost - first + 1 if lost is not None else known + 1


def notice(seq: int, gone: int) -> Batch:
    """Stands for lines that the store has dropped; takes the number of the last of them."""
    line = (seq, records.stamp(time.time()), "events", f"{gone} earlier lines are no longer kept on the node")
    return Batch(seq, seq, 1, records.payload_of(records.encode_lines([line])), flags=1)


def split(block: bytes, first_seq: int, *, gap: bool) -> list[Batch]:
    """A block of line records as batches of at most `BATCH_BYTES` (a longer single line makes one of its own)."""
    made: list[Batch] = []
    begin = 0
    while begin < len(block):
        end = len(block)
        if end - begin > BATCH_BYTES:
            end = block.rfind(b"\n", begin, begin + BATCH_BYTES) + 1 or block.index(b"\n", begin) + 1
        part = block[begin:end]
        count = part.count(b"\n")
        made.append(Batch(first_seq, first_seq + count - 1, count, records.payload_of(part), flags=1 if gap and not made else 0))
        first_seq += count
        begin = end
    return made
