"""Reading a log by `LogsQuery`: over a list of files, so that the same code runs in a thread (plain search) or in a process (regex)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from agent.logs import records
from agent.logs.store import ContainerLog, Segment
from agent.protocol.commands import LogsQuery
from agent.protocol.messages import LogEntry
from agent.protocol.patterns import REGEX, BadPattern, check_pattern

MAX_LINES = 10_000
MAX_BYTES = 600 * 1024
"""Of text in one answer: it must fit into one frame with its quotes and numbers."""
BUDGET_SECONDS = 4.0


class QueryError(ValueError):
    """The question itself is wrong; the text says how."""


class FileView(msgspec.Struct):
    """One segment as a reader sees it."""

    path: str
    first_seq: int
    size: int
    packed: bool


class Plan(msgspec.Struct):
    """All that is needed to answer, and plain data: it can go to another process."""

    files: list[FileView]
    first_seq: int
    last_seq: int
    query: LogsQuery
    gaps: list[tuple[int, int | None]] = []
    budget_seconds: float = BUDGET_SECONDS


class Found(msgspec.Struct):
    """`lines` oldest first. `more`: there are further ones in the direction of reading (or the time was over)."""

    lines: list[LogEntry]
    more: bool


def plan(container: ContainerLog, query: LogsQuery) -> Plan:
    """Checked and with its times in one form.

    Raises:
        QueryError
    """
    try:
        since = records.normal_time(query.since) if query.since else ""
        until = records.normal_time(query.until) if query.until else ""
    except ValueError:
        raise QueryError("since and until must be times such as 2026-01-31T12:00:00Z.") from None
    if query.search.startswith(REGEX):
        try:
            check_pattern(query.search.removeprefix(REGEX))
        except BadPattern as error:
            raise QueryError(str(error)) from None
    files = [FileView(str(one.path), one.first_seq, one.size, one.packed) for one in container.segments]
    return Plan(files, container.first_seq, container.last_seq, msgspec.structs.replace(query, since=since, until=until), list(container.gaps))


def _matcher(query: LogsQuery) -> Callable[[LogEntry], bool]:
    streams = frozenset(query.streams)
    found: Callable[[str], bool] | None = None
    if query.search.startswith(REGEX):
        pattern = check_pattern(query.search.removeprefix(REGEX))

        def found(text: str) -> bool:
            return pattern.search(text) is not None
    elif query.search:
        needle = query.search.casefold()

        def found(text: str) -> bool:
            return needle in text.casefold()

    def matches(entry: LogEntry) -> bool:
        return (
            (not streams or entry.stream in streams)
            and entry.seq > query.after
            and (query.before < 0 or entry.seq < query.before)
            and (not query.since or entry.time >= query.since)
            and (not query.until or entry.time <= query.until)
            and (found is None or found(entry.text))
        )

    return matches


def _blocks(chosen: Plan, *, forward: bool) -> Iterator[list[LogEntry]]:
    """Entries of one file after the other; files that can't hold an answer are left out."""
    files, query = chosen.files, chosen.query
    for index in range(len(files)) if forward else range(len(files) - 1, -1, -1):
        file = files[index]
        end = files[index + 1].first_seq - 1 if index + 1 < len(files) else chosen.last_seq
        if end < chosen.first_seq or end <= query.after or (query.before >= 0 and file.first_seq >= query.before):
            continue
        data = Segment(Path(file.path), file.first_seq, file.size, file.packed).data()
        raws = [raw for raw in data.split(b"\n") if raw.startswith(b"[")]
        if not raws:
            continue
        # Times are nearly in order: what came late was at most minutes late.
        if query.until and records.time_of(raws[0])[:15] > query.until[:15]:
            if forward:
                return
            continue
        if query.since and records.time_of(raws[-1])[:15] < query.since[:15]:
            if not forward:
                return
            continue
        yield [entry for entry in records.decode_entries(raws) if entry.seq >= chosen.first_seq]


def run(chosen: Plan) -> Found:
    """Answer. Reads forward with `after` or `since` (and no `tail`), else backward from the end; stops when its time is over."""
    query = chosen.query
    forward = (query.after >= 0 or bool(query.since)) and not query.tail
    most = max(1, min(query.tail or query.limit or MAX_LINES, MAX_LINES))
    matches = _matcher(query)
    until = time.monotonic() + chosen.budget_seconds
    lines: list[LogEntry] = []
    size = 0
    for block in _blocks(chosen, forward=forward):
        for number, entry in enumerate(block if forward else reversed(block)):
            if not number & 1023 and time.monotonic() > until:
                return _found(lines, forward=forward, more=True)
            if not matches(entry):
                continue
            size += len(entry.text) + 80
            if len(lines) >= most or (size > MAX_BYTES and lines):
                return _found(lines, forward=forward, more=True)
            lines.append(entry)
    return _found(lines, forward=forward, more=False)


def _found(lines: list[LogEntry], *, forward: bool, more: bool) -> Found:
    return Found(lines if forward else lines[::-1], more)


def answer(chosen: Plan, found: Found) -> dict[str, object]:
    """The shape that `agent.protocol.commands.LogsQuery` promises."""
    gaps: list[list[int | None]] = []
    if found.lines:
        first, last = found.lines[0].seq, found.lines[-1].seq
        low = chosen.query.after if chosen.query.after >= 0 else first - 1
        gaps = [[after, lost] for after, lost in chosen.gaps if min(low, first - 1) <= after <= last]
    wanted = chosen.query.after + 1
    if chosen.query.after >= 0 and wanted < chosen.first_seq:
        gaps.insert(0, [chosen.query.after, chosen.first_seq - wanted])
    return {
        "lines": [[entry.seq, entry.time, entry.stream, entry.text] for entry in found.lines],
        "first_seq": chosen.first_seq,
        "last_seq": chosen.last_seq,
        "more": found.more,
        "gaps": gaps,
    }
