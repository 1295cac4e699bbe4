"""Names of time zones."""

from __future__ import annotations

import pytest

from lormas.common import zones


def test_a_name_of_a_time_zone_is_known_and_looked_for_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    found = zones.available_timezones
    zones.names.cache_clear()
    monkeypatch.setattr(zones, "available_timezones", lambda: looked.append(1) or found())
    assert zones.known("Europe/Berlin") and zones.known("UTC") and not zones.known("Europe/Atlantis") and not zones.known("")
    assert looked == [1]
