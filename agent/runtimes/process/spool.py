"""Reading what a shim has spooled, from any byte on, without loss or repeat."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from agent.runtimes.base import Output, OutputGap, ResumePoint
from agent.runtimes.process.folders import Run

FRAME = struct.Struct(">BdI")
QUICK_SECONDS = 0.02
SLOW_SECONDS = 0.2
READ_BYTES = 256 * 1024
STORED_BYTES = 4 * 1024 * 1024
"""What was given so long ago counts as stored: who reads must store at least each megabyte. Younger files stay for the next reader."""
_NAMES: tuple[Literal["stdout", "stderr"], ...] = ("stdout", "stderr")

IsOver = Callable[[], bool]
Ends = tuple[tuple[int, int], tuple[int, int] | tuple[None, None]]
"""((stdout bytes, stderr bytes), (stdout lines, stderr lines)) of a whole run. None: not known."""
Totals = Callable[[], Ends]
"""Asked when the run is over."""


class Losses:
    """What is lost for ever of a run and was told: who stores counts what it was given, files are named by what was written.

    Kept beside the spool's folder. Entries: [place (bytes written), bytes lost, lines lost], in order.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder.with_name(f"{folder.name}.lost")
        try:
            self.entries: list[list[list[int]]] = json.loads(self._path.read_bytes())
        except (FileNotFoundError, ValueError):
            self.entries = [[], []]

    def written(self, stream: int, given_bytes: int, given_lines: int) -> tuple[int, int]:
        """From what was given to what was written."""
        for place, size, lines in self.entries[stream]:
            if place <= given_bytes:
                given_bytes += size
                given_lines += lines
        return given_bytes, given_lines

    def add(self, stream: int, place: int, size: int, lines: int) -> None:
        self.entries[stream].append([place, size, lines])
        draft = self._path.with_suffix(".tmp")
        with contextlib.suppress(OSError):  # the disk may still be full: then some is given twice after a restart
            draft.write_text(json.dumps(self.entries), encoding="ascii")
            draft.replace(self._path)


@dataclass(slots=True)
class _Loss:
    gap: OutputGap
    stream: int
    place: int
    size: int


_Item = Output | _Loss


@dataclass(slots=True)
class _File:
    """An open segment and the place in it."""

    path: Path
    offset: int = 0
    rest: bytes = b""


def segments(folder: Path) -> list[Path]:
    """Oldest first. Nothing if there is no folder yet."""
    try:
        return sorted(folder.iterdir())
    except FileNotFoundError:
        return []


def _begin(path: Path) -> list[int]:
    return [int(word) for word in path.name.split("-")]


class SpoolReader:
    """See `OutputReader`. Waits for the run to begin; ends when it is over. Polls: a look costs microseconds."""

    def __init__(self, folder: Path, *, run_id: str, resume: ResumePoint, is_over: IsOver, totals: Totals) -> None:
        self._folder = folder
        self._run_id = run_id
        self._is_over = is_over
        self._totals = totals
        self._losses = Losses(folder)
        same = resume.run_id == run_id
        stdout = self._losses.written(0, resume.stdout_bytes, resume.stdout_lines) if same else (0, 0)
        stderr = self._losses.written(1, resume.stderr_bytes, resume.stderr_lines) if same else (0, 0)
        self._want = [stdout[0], stderr[0]]
        self._lines = [stdout[1], stderr[1]]
        self._at = [0, 0]
        self._file: _File | None = None
        self._given = 0
        self._passed: list[tuple[Path, int]] = []
        """Files that are read to their end, and how much was given until then."""
        self._closed = False

    @property
    def run_id(self) -> str:
        return self._run_id

    def is_past(self) -> bool:
        """Is the run that it reads over?"""
        return self._is_over()

    async def close(self) -> None:
        self._closed = True

    async def __aiter__(self) -> AsyncIterator[Output | OutputGap]:
        pause = QUICK_SECONDS
        quiet = 0.0
        while not self._closed:
            over = self._is_over()  # before looking: what was written before the end is seen
            found = await asyncio.to_thread(self._read) if self._has_more() else []
            if over and not found and not self._has_more():
                found = await asyncio.to_thread(self._end)
                self._closed = True
            for item in found:
                if isinstance(item, Output):
                    yield item
                    continue
                yield item.gap
                # Asked for the next one, so the gap is stored.
                await asyncio.to_thread(self._losses.add, item.stream, item.place, item.size, item.gap.lines or 0)
            if found:
                pause, quiet = QUICK_SECONDS, 0.0
            elif not self._closed:
                quiet += pause
                pause = QUICK_SECONDS if quiet < 2 else SLOW_SECONDS
                await asyncio.sleep(pause)

    def _has_more(self) -> bool:
        """Cheap enough for the event loop: one or two stats."""
        if self._file is not None:
            try:
                if self._file.path.stat().st_size > self._file.offset:
                    return True
            except FileNotFoundError:
                return True
        files = segments(self._folder)
        return bool(files) and (self._file is None or files[-1] > self._file.path)

    def _end(self) -> list[_Item]:
        """What a full disk has taken of the end."""
        made: list[_Item] = []
        places, lines = self._totals()
        for stream in (0, 1):
            self._miss(stream, places[stream], lines[stream], made)
        return made

    def _miss(self, stream: int, place: int, lines: int | None, made: list[_Item]) -> None:
        """What lies before `place` and was not given is lost."""
        reached = max(self._at[stream], self._want[stream])
        if place <= reached:
            return
        count = None if lines is None else max(0, lines - self._lines[stream])
        self._lines[stream] += count or 0
        gap = OutputGap(reason=f"{_NAMES[stream]}: no room was left to keep it", lines=count)
        made.append(_Loss(gap, stream, reached, place - reached))

    def _read(self) -> list[_Item]:
        """What is there now, up to `READ_BYTES`."""
        made: list[_Item] = []
        while self._passed and self._passed[0][1] + STORED_BYTES <= self._given:
            _drop(self._passed.pop(0)[0])
        files = segments(self._folder)
        if self._file is None or self._file.path not in files:
            later = [path for path in files if self._file is None or path > self._file.path]
            if not later:
                return made
            self._enter(self._start(later), made)
        assert self._file is not None
        size = 0
        while size < READ_BYTES:
            data = self._more()
            if data:
                size += len(data)
                self._take(data, made)
                continue
            later = [path for path in files if path > self._file.path]
            if not later:
                break
            self._file.rest = b""  # a frame that a full disk cut off; the next file's name tells what is missing
            self._passed.append((self._file.path, self._given))
            self._enter(later[0], made)
        return made

    def _start(self, files: list[Path]) -> Path:
        """The newest file that begins before what is wanted. What lies before it is stored."""
        best = files[0]
        for path in files:
            begin = _begin(path)
            if begin[0] <= self._want[0] and begin[1] <= self._want[1]:
                best = path
        for path in files[: files.index(best)]:
            _drop(path)
        return best

    def _enter(self, path: Path, made: list[_Item]) -> None:
        begin = _begin(path)
        for stream in (0, 1):
            self._miss(stream, begin[stream], begin[2 + stream], made)
            self._at[stream] = begin[stream]
        self._file = _File(path)

    def _more(self) -> bytes:
        assert self._file is not None
        try:
            with self._file.path.open("rb") as file:
                file.seek(self._file.offset)
                data = file.read(READ_BYTES)
        except FileNotFoundError:
            return b""
        self._file.offset += len(data)
        return data

    def _take(self, data: bytes, made: list[_Item]) -> None:
        assert self._file is not None
        data = self._file.rest + data
        at = 0
        while len(data) - at >= FRAME.size:
            stream, when, size = FRAME.unpack_from(data, at)
            if len(data) - at - FRAME.size < size:
                break
            piece = data[at + FRAME.size : at + FRAME.size + size]
            at += FRAME.size + size
            index = stream - 1
            skip = min(size, max(0, self._want[index] - self._at[index]))
            self._at[index] += size
            if skip < size:
                piece = piece[skip:]
                self._given += len(piece)
                self._lines[index] += piece.count(b"\n")
                made.append(Output(_NAMES[index], piece, when))
        self._file.rest = data[at:]


def _drop(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)


def totals(folder: Path) -> tuple[int, int]:
    """(stdout, stderr) bytes spooled in all: for runs whose shim could not tell."""
    files = segments(folder)
    if not files:
        return 0, 0
    counts = _begin(files[-1])[:2]
    data = files[-1].read_bytes()
    at = 0
    while len(data) - at >= FRAME.size:
        stream, _, size = FRAME.unpack_from(data, at)
        if len(data) - at - FRAME.size < size:
            break
        counts[stream - 1] += size
        at += FRAME.size + size
    return counts[0], counts[1]


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    with contextlib.suppress(OSError):
        folder.with_name(f"{folder.name}.lost").unlink(missing_ok=True)


def next_run(folder: Path, *, run: Run | None, birth: str, resume: ResumePoint) -> int:
    """The oldest run that is not stored to its end, or the one to come. Spools of older ones are removed. Blocking."""
    known, _, word = resume.run_id.rpartition(":")
    reached = int(word) if known == birth and word.isdigit() else 0
    there = sorted(int(entry.name) for entry in folder.iterdir() if entry.name.isdigit()) if folder.exists() else []
    for number in there:
        mine = folder / str(number)
        if number < reached or (number == reached and _is_stored(mine, run, resume)) or (number > reached and _was_silent(mine, run)):
            remove(mine)
            continue
        return number
    return max(reached, run.number if run is not None else 0) + 1


def _is_over(folder: Path, run: Run | None) -> bool:
    """False also for one that is just beginning: its shim makes the folder before it says that it runs."""
    number = int(folder.name)
    return run is not None and (run.number > number or (run.number == number and not run.is_alive))


def _was_silent(folder: Path, run: Run | None) -> bool:
    """It ended and wrote nothing: there is nothing to store, so no resume point ever names it."""
    return _is_over(folder, run) and ends_of(folder, run)[0] == (0, 0)


def _is_stored(folder: Path, run: Run | None, resume: ResumePoint) -> bool:
    if not _is_over(folder, run):
        return False
    (ends, _), losses = ends_of(folder, run), Losses(folder)
    stored = (losses.written(0, resume.stdout_bytes, 0)[0], losses.written(1, resume.stderr_bytes, 0)[0])
    return stored[0] >= ends[0] and stored[1] >= ends[1]


def ends_of(folder: Path, run: Run | None) -> Ends:
    """If the shim could not tell: what it has written."""
    if run is not None and run.number == int(folder.name) and run.stdout_bytes >= 0:
        return (run.stdout_bytes, run.stderr_bytes), (run.stdout_lines, run.stderr_lines)
    return totals(folder), (None, None)
