"""How long ago something was."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from lormas.common import clock
from lormas.templatetags.console import ago, ago_word

NOW = datetime(2026, 11, 27, 12, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _now(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW)


@pytest.mark.parametrize(
    ("past", "word"),
    [
        (timedelta(seconds=4), "now"),
        (timedelta(seconds=59), "59s ago"),
        (timedelta(minutes=59, seconds=59), "59m ago"),
        (timedelta(hours=23), "23h ago"),
        (timedelta(days=365), "365d ago"),
        (timedelta(days=366), "2025-11-26"),
        (NOW - datetime(1970, 1, 1, tzinfo=UTC), "1970-01-01"),
    ],
)
def test_what_is_older_than_a_year_is_shown_with_its_date(past: timedelta, word: str) -> None:
    moment = NOW - past
    assert ago_word(moment) == word
    assert ago(moment) == f'<time datetime="{clock.rfc3339(moment)}" data-ago="ago">{word}</time>'
