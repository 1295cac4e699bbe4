"""One container's log in files. Synchronous; one thread writes, others may read at the same time.

Durability: each batch is one `write` and no fsync, so a killed agent loses nothing (the kernel has it), and a machine that loses power
loses at most what its kernel had not yet written (seconds). Sealed segments are synced. After such a loss the numbers jump by
`POWER_LOSS_STEP` and a gap is declared, because somebody may have seen higher ones than the disk remembers.
"""

from __future__ import annotations

import contextlib
import gzip
import logging
import os
import time
from dataclasses import dataclass, field
from pathlib import Path

from agent.logs import records
from agent.logs.batches import BATCH_BYTES, Batch, notice, offset_behind, run_end, split
from agent.logs.records import Commit, Line, ResumeState

log = logging.getLogger(__name__)

SEGMENT_BYTES = 4 * 1024 * 1024
SEGMENT_SECONDS = 24 * 3600.0
TOTAL_BYTES = 64 * 1024 * 1024
MAX_SEGMENTS = 512
POWER_LOSS_STEP = 10_000_000


@dataclass(slots=True)
class Segment:
    """A file: its lines are `first_seq` up to the next segment's."""

    path: Path
    first_seq: int
    size: int
    packed: bool = False

    def data(self) -> bytes:
        """All of it that is committed (nothing if it was dropped meanwhile)."""
        try:
            if self.packed:
                with gzip.open(self.path, "rb") as file:
                    return file.read()
            with self.path.open("rb") as plain:
                return plain.read(self.size)
        except FileNotFoundError:
            packed = self.path.with_name(self.path.name + ".gz")
            if not self.packed and packed.exists():  # sealed while we looked
                return Segment(packed, self.first_seq, 0, packed=True).data()
            return b""


@dataclass(slots=True)
class ContainerLog:
    """See the module. `open` before use."""

    folder: Path
    segment_bytes: int = SEGMENT_BYTES
    segment_seconds: float = SEGMENT_SECONDS
    total_bytes: int = TOTAL_BYTES
    segments: list[Segment] = field(default_factory=list)
    last_seq: int = 0
    floor: int = 1
    resume: ResumeState = field(default_factory=ResumeState)
    gaps: list[tuple[int, int | None]] = field(default_factory=list)
    lost: int = 0
    """Lines that could not be written (disk full) since the last that could."""
    last_write: float = 0
    _fd: int = -1
    _opened_at: float = 0
    _power_loss: bool = False
    _boot: str = ""

    @property
    def first_seq(self) -> int:
        """Of the oldest line that is still there; `last_seq + 1` if there is none."""
        return max(self.floor, self.segments[0].first_seq if self.segments else self.last_seq + 1)

    # ---------------------------------------------------------------------------------------------------------------- open

    def open(self) -> None:
        """Read what is there; cut the torn end of the newest file."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for leftover in self.folder.glob("*.tmp"):
            leftover.unlink(missing_ok=True)
        for packed in self.folder.glob("*.log.gz"):
            packed.with_suffix("").unlink(missing_ok=True)  # died between packing and removing
        found = sorted([*self.folder.glob("*.log"), *self.folder.glob("*.log.gz")], key=lambda path: path.name)
        self.segments = [Segment(path, int(path.name.split(".")[0]), path.stat().st_size, path.suffix == ".gz") for path in found]
        last: Commit | None = None
        while self.segments:
            segment = self.segments[-1]
            last = self._recover(segment)
            if last is not None:
                break
            segment.path.unlink(missing_ok=True)  # died while it was being made: the one before holds all
            self.segments.pop()
        if last is not None:
            self.last_seq = last.c
            self.resume = last.r or ResumeState()
            boot = records.boot_id()
            if boot and self._boot != boot and not last.clean:
                self.last_seq += POWER_LOSS_STEP
                self._power_loss = True
        for segment in [segment for segment in self.segments[:-1] if self._end_of(segment) < self.floor]:
            segment.path.unlink(missing_ok=True)  # died while clearing
            self.segments.remove(segment)
        for segment in self.segments:
            if b'{"g"' in (data := segment.data()):
                self.gaps += [gap for raw in data.split(b"\n") if (gap := records.decode_gap(raw)) is not None and gap[0] >= self.floor - 1]

    def _recover(self, segment: Segment) -> Commit | None:
        """The last commit of a file, which is cut behind it; None if it has none."""
        data = segment.data()
        end = data.rfind(b"\n") + 1
        last: Commit | None = None
        while end:
            begin = data.rfind(b"\n", 0, end - 1) + 1
            last = records.decode_commit(data[begin : end - 1])
            if last is not None:
                break
            end = begin
        if last is None:
            return None
        head = records.decode_commit(data[: data.index(b"\n")])
        if head is not None:
            self.floor, self._boot = max(1, head.floor), head.boot
        if not segment.packed:
            if end < len(data):
                log.warning("torn end of a log was cut", extra={"file": segment.path.name, "bytes": len(data) - end})
                os.truncate(segment.path, end)
            segment.size = end
        return last

    def _end_of(self, segment: Segment) -> int:
        """The last seq of a segment."""
        at = self.segments.index(segment)
        return self.segments[at + 1].first_seq - 1 if at + 1 < len(self.segments) else self.last_seq

    # ---------------------------------------------------------------------------------------------------------------- write

    def append(
        self,
        lines: list[tuple[str, str, str]],
        *,
        resume: ResumeState | None = None,
        gap: tuple[int | None, str] | None = None,
        by_hand: bool = False,
    ) -> list[Batch]:
        """Write (time, stream, text) lines and the point they reach, together. `gap` = (how many are lost, why) goes before them.

        On a full disk nothing is written and the lines are counted as lost; the first batch that can be written says so.
        """
        if self._power_loss:
            gap = gap or (None, "the machine went down, and what it had not yet written to its disk is lost")
        elif self.lost:
            gap = (self.lost + (gap[0] or 0) if gap else self.lost, gap[1] if gap else "they could not be written to the node's disk")
        before = self.last_seq
        head = b""
        numbered: list[Line] = []
        seq = before
        if gap is not None:
            amount = f"{gap[0]} lines" if gap[0] is not None else "an unknown number of lines"
            head = records.encode_gap(seq, gap[0])
            seq += 1
            when = lines[0][0] if lines else records.stamp(time.time())
            numbered.append((seq, when, "events", f"Lost here: {amount} of output: {gap[1]}"))
        for when, stream, text in lines:
            seq += 1
            numbered.append((seq, when, stream, text))
        block = records.encode_lines(numbered)
        state = resume if resume is not None else self.resume
        end = records.encode_commit(Commit(c=seq, r=state, h=len(numbered) if by_hand else 0))
        try:
            self._write(head + block + end)
        except OSError as error:
            self.lost += len(lines)
            self.resume = state
            log.error("log lines could not be written", extra={"folder": self.folder.name, "lines": len(lines), "reason": str(error)})
            return []
        self.last_seq, self.resume = seq, state
        if gap is not None:
            self.gaps.append((before, gap[0]))
            self.lost, self._power_loss = 0, False
        return split(block, before + 1, gap=gap is not None) if numbered else []

    def _write(self, data: bytes) -> None:
        if self._fd < 0 or self.segments[-1].size >= self.segment_bytes or time.time() - self._opened_at > self.segment_seconds:
            self._ready()
        segment = self.segments[-1]
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._fd, view) :]
        except OSError:
            with contextlib.suppress(OSError):
                os.truncate(segment.path, segment.size)
            raise
        segment.size += len(data)
        self.last_write = time.monotonic()

    def _ready(self) -> None:
        """An open file that may grow: the newest one, or a new one."""
        if self._fd < 0 and self.segments and not self.segments[-1].packed:
            segment = self.segments[-1]
            age = time.time() - segment.path.stat().st_mtime
            if segment.size < self.segment_bytes and age < self.segment_seconds and not self._power_loss:
                self._fd = os.open(segment.path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
                self._opened_at = time.time()
                return
        sealed = self.segments[-1] if self.segments else None
        self._begin()
        if sealed is not None:
            self._seal(sealed)
        self._trim()

    def rotate(self) -> bool:
        """Seal the newest segment and begin another one. False: there is nothing in it."""
        if not self.segments or self.last_seq < self.segments[-1].first_seq:
            return False
        sealed = self.segments[-1]
        self._begin()
        self._seal(sealed)
        self._trim()
        return True

    def expire(self, *, before_unix: float) -> int:
        """Forget sealed segments whose newest line is older than this; gives how many. The newest segment stays."""
        count = 0
        while len(self.segments) > 1:
            segment = self.segments[0]
            try:
                written = segment.path.stat().st_mtime
            except FileNotFoundError:
                written = 0.0
            if written >= before_unix:
                break
            segment.path.unlink(missing_ok=True)
            self.segments.pop(0)
            count += 1
        if count:
            self.gaps = [gap for gap in self.gaps if gap[0] >= self.first_seq - 1]
        return count

    def _begin(self, *, floor: int = 0) -> None:
        """Begin a new segment. Its first record carries all that must outlive the older ones."""
        self.floor = floor or self.floor
        name = f"{self.last_seq + 1:019d}"
        path = self.folder / f"{name}.log"
        draft = self.folder / f"{name}.tmp"
        head = records.encode_commit(Commit(c=self.last_seq, r=self.resume, v=1, floor=self.floor, boot=records.boot_id()))
        if self.segments and self.segments[-1].path == path:  # an empty one: written anew
            self.segments.pop()
        draft.write_bytes(head)
        draft.replace(path)
        if self._fd >= 0:
            os.close(self._fd)
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        self._opened_at = time.time()
        self.segments.append(Segment(path, self.last_seq + 1, len(head)))

    def _seal(self, segment: Segment) -> None:
        """Compress a full segment."""
        if segment.packed or not segment.path.exists():
            return
        draft = segment.path.with_suffix(".tmp")
        packed = segment.path.with_name(segment.path.name + ".gz")
        try:
            with draft.open("wb") as file:
                file.write(gzip.compress(segment.data(), compresslevel=3))
                file.flush()
                os.fsync(file.fileno())
            draft.replace(packed)
        except OSError as error:
            draft.unlink(missing_ok=True)
            log.warning("a log could not be compressed", extra={"file": segment.path.name, "reason": str(error)})
            return
        old = segment.path
        self.segments[self.segments.index(segment)] = Segment(packed, segment.first_seq, packed.stat().st_size, packed=True)
        old.unlink(missing_ok=True)

    def _trim(self) -> None:
        while len(self.segments) > 1 and (sum(one.size for one in self.segments) > self.total_bytes or len(self.segments) > MAX_SEGMENTS):
            self.segments.pop(0).path.unlink(missing_ok=True)
        first = self.first_seq
        self.gaps = [gap for gap in self.gaps if gap[0] >= first - 1]

    def clear(self) -> int:
        """Forget all lines; numbers go on. The new file says so before the old ones go."""
        old = list(self.segments)
        self._begin(floor=self.last_seq + 1)
        self.gaps = []
        for segment in old:
            if segment.path != self.segments[-1].path:
                segment.path.unlink(missing_ok=True)
        self.segments = self.segments[-1:]
        return self.last_seq

    def rest(self) -> None:
        """Close the file until the next line (descriptors are few)."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def close(self) -> None:
        """A clean end: all is on the disk, and said so."""
        if self._fd >= 0:
            with contextlib.suppress(OSError):
                self._write(records.encode_commit(Commit(c=self.last_seq, r=self.resume, clean=True)))
                os.fsync(self._fd)
        self.rest()

    # ----------------------------------------------------------------------------------------------------------------- read

    def tails(self, most: int = 200) -> tuple[list[str], list[str]]:
        """The last lines of this run that the container itself wrote: (stdout, stderr), oldest first."""
        found: dict[str, list[str]] = {"application": [], "error": []}
        for segment in reversed(self.segments[-3:]):
            part: dict[str, list[str]] = {"application": [], "error": []}
            batch: list[bytes] = []
            for raw in segment.data().split(b"\n"):
                if raw.startswith(b"["):
                    batch.append(raw)
                elif (commit := records.decode_commit(raw)) is not None:
                    if not commit.h:
                        for entry in records.decode_entries(batch):
                            if entry.stream in part and entry.seq > self.resume.from_seq:
                                part[entry.stream].append(entry.text)
                    batch = []
            for stream, texts in part.items():
                found[stream] = (texts + found[stream])[-most:]
            if segment.first_seq <= self.resume.from_seq + 1:
                break
        return found["application"], found["error"]

    def batches_after(self, after: int, *, most: int = 16) -> list[Batch]:
        """The stored lines behind `after`, as up to `most` batches; lines that are no longer there are declared by the first one."""
        segments = list(self.segments)
        first = self.first_seq
        made: list[Batch] = []
        if after + 1 < first:
            gone = first - after - 1
            if self.last_seq < first:  # nothing is left at all
                return [notice(first - 1, gone)]
            made.append(notice(first - 1, gone))
            after = first - 1
        starts = {gap[0] for gap in self.gaps}
        for index, segment in enumerate(segments):
            if index + 1 < len(segments) and segments[index + 1].first_seq <= after + 1:
                continue
            data = segment.data()
            at = offset_behind(data, after)
            while at < len(data) and len(made) < most:
                to = data.find(b"\n", at + most * BATCH_BYTES) + 1 or len(data)
                raws = [raw for raw in data[at:to].split(b"\n") if raw.startswith(b"[")]
                begin = 0
                while begin < len(raws) and len(made) < most:
                    end = run_end(raws, begin, starts)
                    first = records.seq_of(raws[begin])
                    made += split(b"\n".join(raws[begin:end]) + b"\n", first, gap=first - 1 in starts)
                    begin = end
                at = to
            if len(made) >= most:
                break
        return made[:most]
