"""Time: a window is as long as asked for, whatever the clocks do; repetitions keep the time of day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reservations import calendar
from reservations.windows import Window, free_from, meeting, peak, repeated, span_of, window_of

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Jakarta", "Australia/Lord_Howe", "America/St_Johns", "Pacific/Apia")
MOMENTS = st.datetimes(min_value=datetime(2024, 1, 1), max_value=datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis wants naive bounds


@settings(max_examples=80, deadline=None)
@given(start=MOMENTS, seconds=st.integers(60, 40 * 86400), zone=st.sampled_from(ZONES))
def test_a_window_lasts_as_long_as_asked_for(start: datetime, seconds: int, zone: str) -> None:
    """R32: over changes of the clocks, in every zone; leap days included."""
    window = window_of(start.astimezone(ZoneInfo(zone)), seconds)
    assert window.seconds == seconds and window.start.tzinfo == UTC and window.start.microsecond == 0
    assert abs((window.start - start).total_seconds()) < 1


@settings(max_examples=60, deadline=None)
@given(start=MOMENTS, zone=st.sampled_from(ZONES), times=st.integers(2, 20))
def test_repetitions_keep_the_time_of_day_and_never_meet(start: datetime, zone: str, times: int) -> None:
    """R32."""
    found = repeated(window_of(start, 3600), every="week", times=times, zone=zone)
    assert len(found) == times and meeting(found) is None and {round(one.seconds) for one in found} == {3600}
    place = ZoneInfo(zone)
    wanted = found[0].start.astimezone(place).time()
    off = [one for one in found if one.start.astimezone(place).time() != wanted]
    assert len(off) <= times // 20 + 1, "only one that falls into a skipped hour is moved"


def test_the_first_of_a_repetition_is_the_one_that_was_asked_for() -> None:
    """R32: the later 02:30 of the night in which the clocks go back."""
    second = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)
    found = repeated(window_of(second, 600), every="day", times=3, zone="Europe/Berlin")
    assert [one.start for one in found] == [second, datetime(2026, 10, 26, 1, 30, tzinfo=UTC), datetime(2026, 10, 27, 1, 30, tzinfo=UTC)]


def test_days_of_a_change_of_the_clocks_have_23_and_25_hours() -> None:
    """R32: in calendars, too."""
    for text, hours in (("2026-03-29", 23), ("2026-10-25", 25), ("2026-06-01", 24)):
        day = calendar.day_of(text, zone="Europe/Berlin", now=datetime(2026, 5, 1, tzinfo=UTC))
        window = span_of(day, view="day", zone="Europe/Berlin")
        ticks = calendar.ticks(window, view="day", zone="Europe/Berlin")
        assert (window.seconds / 3600, len(ticks), ticks[0].label) == (hours, hours, "00")
        week = span_of(day, view="week", zone="Europe/Berlin")
        assert len(calendar.ticks(week, view="week", zone="Europe/Berlin")) == 7


def test_peaks_and_gaps() -> None:
    zero = datetime(2026, 1, 1, tzinfo=UTC)

    def at(a: int, b: int) -> Window:
        return Window(zero + timedelta(hours=a), zero + timedelta(hours=b))

    assert peak([at(0, 2), at(1, 3), at(2, 4)]) == 2 and peak([]) == 0, "an end is not in the window"
    assert free_from([at(1, 2), at(3, 5)], start=zero, seconds=3600) == zero
    assert free_from([at(0, 2), at(3, 5)], start=zero, seconds=2 * 3600) == zero + timedelta(hours=5)
    for bad in ((2, 1), (1, 1)):
        with pytest.raises(ValueError, match="ends after"):
            at(*bad)
