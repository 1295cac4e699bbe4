"""Windows of time: bounds, repetition, calendar grids. Pure; all moments are aware and in UTC, people's zones only shape repetition."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Literal
from zoneinfo import ZoneInfo

MAX_REPEATS = 52
Every = Literal["day", "week"]


@dataclass(frozen=True, slots=True, order=True)
class Window:
    """Half-open: `start` is in it, `end` is not. Never empty."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.end.tzinfo is None:
            raise ValueError("a window needs aware moments")
        if self.end <= self.start:
            raise ValueError("a window ends after it starts")

    @property
    def seconds(self) -> float:
        """Elapsed, not wall clock: a window over a change of the clocks is as long as asked for."""
        return (self.end - self.start).total_seconds()

    def meets(self, other: Window) -> bool:
        """Do they share a moment?"""
        return self.start < other.end and other.start < self.end

    def moved(self, by: timedelta) -> Window:
        return Window(self.start + by, self.end + by)


def whole_second(moment: datetime) -> datetime:
    """Without fractions, in UTC: both databases then compare windows alike."""
    return moment.astimezone(UTC).replace(microsecond=0)


def window_of(start: datetime, seconds: int) -> Window:
    """`seconds` of elapsed time from `start`."""
    begin = whole_second(start)
    return Window(begin, begin + timedelta(seconds=seconds))


def repeated(window: Window, *, every: Every, times: int, zone: str = "UTC") -> list[Window]:
    """`times` windows, the first being `window` itself.

    They start at the same time of day in `zone`, also across changes of the clocks; each lasts as long as the first. A time of day
    that a change skips is taken an hour later; one that comes twice is the earlier one.
    """
    if not 1 <= times <= MAX_REPEATS:
        raise ValueError(f"1 to {MAX_REPEATS} times")
    place = ZoneInfo(zone)
    local = window.start.astimezone(place)
    step = timedelta(days=1 if every == "day" else 7)
    found = [window]  # as it is, also where it is the later one of an hour that comes twice
    for index in range(1, times):
        start = (local.replace(tzinfo=None) + index * step).replace(tzinfo=place)  # wall clock; fold=0
        begin = start.astimezone(UTC)
        found.append(Window(begin, begin + timedelta(seconds=window.seconds)))
    return found


def meeting(windows: Sequence[Window]) -> tuple[int, int] | None:
    """The first two of them (by index, in order of time) that meet, or None."""
    order = sorted(range(len(windows)), key=lambda i: windows[i])
    for first, second in pairwise(order):
        if windows[first].meets(windows[second]):
            return first, second
    return None


def peak(windows: Iterable[Window]) -> int:
    """How many of them share a moment, at most."""
    edges = sorted((moment, step) for window in windows for moment, step in ((window.start, 1), (window.end, -1)))
    most = level = 0
    for _, step in edges:  # an end sorts before a start of the same moment
        level += step
        most = max(most, level)
    return most


def free_from(busy: Iterable[Window], *, start: datetime, seconds: float) -> datetime:
    """The first moment at or after `start` from which `seconds` are free of all `busy` windows."""
    length = timedelta(seconds=seconds)
    at = start
    for window in sorted(busy):
        if window.end <= at:
            continue
        if window.start >= at + length:
            break
        at = window.end
    return at


def local_midnight(day: datetime, zone: str) -> datetime:
    """The start of the day that `day` falls on in `zone`."""
    return day.astimezone(ZoneInfo(zone)).replace(hour=0, minute=0, second=0, microsecond=0)


def span_of(day: datetime, *, view: Literal["day", "week"], zone: str) -> Window:
    """The day, or the week from Monday, that holds `day` in `zone`. A day of a clock change has 23 or 25 hours."""
    first = local_midnight(day, zone)
    if view == "week":
        first = local_midnight((first.replace(tzinfo=None) - timedelta(days=first.weekday())).replace(tzinfo=ZoneInfo(zone)), zone)
    last = (first.replace(tzinfo=None) + timedelta(days=1 if view == "day" else 7)).replace(tzinfo=ZoneInfo(zone))
    return Window(first.astimezone(UTC), last.astimezone(UTC))
