"""Where the engine's log and an attached stream meet: pure functions over records and bytes. The how and why is in docs/adr/0005."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from agent.logs.lines import CONTINUED, clean
from agent.runtimes.base import ResumePoint
from agent.runtimes.docker.enginelog import Record

SAME_TIME_NS = 10_000_000_000
"""The stored time of a line and the engine's may differ by this: a backlog at our side."""


def plain(text: str) -> str:
    """For comparing: the engine replaces invalid bytes one by one, Python by sequence."""
    while "\ufffd\ufffd" in text:
        text = text.replace("\ufffd\ufffd", "\ufffd")
    return text


@dataclass(slots=True)
class Taken:
    """Records of one stream that the store already has, as entries (text, time), newest last."""

    entries: list[tuple[str, int]] = field(default_factory=list)
    _open: bytes = b""

    def add(self, record: Record) -> None:
        data = self._open + record.data
        if record.data.endswith(b"\n") or record.is_end:
            self.entries.append((plain(clean(data.removesuffix(b"\n"))), record.time_ns))
            self._open = b""
        else:
            self._open = data


def tail_of(resume: ResumePoint, stream: int) -> list[str]:
    """The last stored lines that can be compared: none before a long line that was stored in pieces."""
    tail = list(resume.stdout_tail if stream == 1 else resume.stderr_tail)
    for index in range(len(tail) - 1, -1, -1):
        if tail[index].endswith(CONTINUED) or (tail[index].startswith("[") and tail[index].endswith("bytes of this line were cut]")):
            return [plain(text) for text in tail[index + 2 :]]
    return [plain(text) for text in tail]


def counters(resume: ResumePoint, stream: int) -> tuple[int, int]:
    """(newlines, bytes since the last of them) already stored."""
    if stream == 1:
        return resume.stdout_lines, resume.stdout_open_bytes
    return resume.stderr_lines, resume.stderr_open_bytes


@dataclass(slots=True)
class Rest:
    """What of the engine's log is not stored yet, in its order. `lost` per stream: None = all is there, else why not."""

    records: list[Record]
    lost: dict[int, str]


def skip_stored(records: Sequence[Record], resume: ResumePoint, streams: Sequence[int]) -> Rest:
    """Drop exactly what the store has: by count if the log goes back to its beginning, else by content."""
    drop: dict[int, set[int]] = {}
    lost: dict[int, str] = {}
    for stream in streams:
        mine = [(index, record) for index, record in enumerate(records) if record.stream == stream]
        dropped = _by_count(mine, resume, stream)
        if dropped is None:
            dropped, why = _by_content(mine, resume, stream)
            if why:
                lost[stream] = why
        drop[stream] = dropped
        _, opened = counters(resume, stream)
        if stream not in lost and opened:
            _strip(mine, dropped, opened, stream)
    kept = [record for index, record in enumerate(records) if index not in drop.get(record.stream, ()) and record.data]
    return Rest(kept, lost)


def _strip(mine: list[tuple[int, Record]], dropped: set[int], opened: int, stream: int) -> None:
    """Take the stored beginning off an unfinished line."""
    for index, record in mine:
        if index in dropped:
            continue
        if not opened:
            return
        take = min(opened, len(record.data) - record.data.endswith(b"\n"))
        if take == len(record.data):
            dropped.add(index)
        else:
            record.data = record.data[take:]
        opened -= take
        if record.data.endswith(b"\n"):
            return


def _by_count(mine: list[tuple[int, Record]], resume: ResumePoint, stream: int) -> set[int] | None:
    lines, _ = counters(resume, stream)
    if not lines:
        return set()
    taken = Taken()
    dropped: set[int] = set()
    seen = 0
    for index, record in mine:
        if seen == lines:
            break
        taken.add(record)
        dropped.add(index)
        seen += record.data.endswith(b"\n")
    if seen < lines:
        return None
    tail = tail_of(resume, stream)
    if counters(resume, stream)[1]:
        tail = tail[:-1]  # the last entry may be of the unfinished line
    tail = tail[-50:]
    if not tail:
        return dropped
    found = taken.entries[-len(tail) - 1 :]
    texts = [text for text, _ in found]
    if texts[-len(tail) :] != tail:
        return None
    newest = found[-1][1]
    if resume.last_time_unix and newest > resume.last_time_unix * 1e9 + SAME_TIME_NS:
        return None  # same text, but written later than what we have
    return dropped


def _by_content(mine: list[tuple[int, Record]], resume: ResumePoint, stream: int) -> tuple[set[int], str]:
    """The engine's log was rotated: find the stored tail in it."""
    tail = tail_of(resume, stream)
    opened = counters(resume, stream)[1]
    if opened:
        tail = tail[:-1]
    taken = Taken()
    ends: list[int] = []  # position in `mine` behind each entry
    for position, (_, record) in enumerate(mine):
        before = len(taken.entries)
        taken.add(record)
        ends += [position + 1] * (len(taken.entries) - before)
    texts = [text for text, _ in taken.entries]
    limit = resume.last_time_unix * 1e9 + SAME_TIME_NS
    for size in (200, 50, 10, 3):
        part = tail[-size:]
        if not part or (size < 50 and len(part) < size):
            break
        found = [
            at + len(part) - 1
            for at in range(len(texts) - len(part) + 1)
            if texts[at] == part[0] and texts[at : at + len(part)] == part and taken.entries[at + len(part) - 1][1] <= limit
        ]
        if found:
            where = found[-1] if len(found) == 1 else min(found, key=lambda at: abs(taken.entries[at][1] - resume.last_time_unix * 1e9))
            why = "" if len(found) == 1 else "the engine's log was rotated, and its lines are too much alike to tell which are stored"
            return {mine[position][0] for position in range(ends[where])}, why
    # Nothing of what we have is left in it: all that is there is newer.
    return set(), "the engine's log was rotated before it could be read"


@dataclass(frozen=True, slots=True)
class Meeting:
    """`index` = line of the zone that is the first one ended after we attached. `sure` False: other places fit as well."""

    index: int
    sure: bool


def lines_of(records: Sequence[Record], stream: int) -> list[tuple[bytes, int]]:
    """(bytes with the newline, time) of each ended line of one stream."""
    found: list[tuple[bytes, int]] = []
    held = b""
    for record in records:
        if record.stream != stream:
            continue
        held += record.data
        if held.endswith(b"\n"):
            found.append((held, record.time_ns))
            held = b""
    return found


def meet(zone: Sequence[tuple[bytes, int]], attached: bytes, *, first: int, newest_ns: int, quiet: bool) -> Meeting | None:
    """Find where `attached` (it begins anywhere in a line, and has at least one newline) begins in `zone`.

    `zone`: ended lines with times, of which those before `first` can't be it; the log was read after `attached` was received, so it
    has all of its lines. `newest_ns`: the first line ended after we attached is not younger than this, unless it is the first one
    younger. `quiet`: nothing came while the log was read, so both end at the same place.
    None = no place fits (yet).
    """
    *whole, _ = attached.split(b"\n")
    seen = [_text(part) for part in whole]
    texts = [_text(data[:-1]) for data, _ in zone]
    last = len(zone) - len(seen)
    if quiet and last >= first and _fits(texts, last, seen):
        return Meeting(last, sure=True)
    found: list[int] = []
    for index in range(first, last + 1):
        if index > first and zone[index - 1][1] > newest_ns:
            break
        if _fits(texts, index, seen):
            found.append(index)
            if len(found) > 1:
                break
    if not found:
        return None
    return Meeting(found[0], sure=len(found) == 1)


def _fits(texts: list[str], at: int, seen: list[str]) -> bool:
    # A character cut at the very start is a replacement here and whole there.
    if not texts[at].endswith(seen[0].lstrip("\ufffd")):
        return False
    return texts[at + 1 : at + len(seen)] == seen[1:]


def _text(raw: bytes) -> str:
    return plain(raw.decode("utf-8", "replace"))
