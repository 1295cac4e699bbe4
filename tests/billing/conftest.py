"""The node, the played agent and the containers of the containers' tests; and a clock that is held."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from lormas.common import clock
from tests.containers.conftest import agent, alice_api, bob_api, make, node, running

__all__ = ["agent", "alice_api", "bob_api", "held", "make", "node", "running"]


class Held:
    """The panel's clock; `unix` is what it shows."""

    def __init__(self, unix: float) -> None:
        self.unix = unix


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    """10 minutes before an hour is full, so that an hour of tests lies in two."""
    one = Held(1_800_000_000 // 3600 * 3600 + 3000.0)
    monkeypatch.setattr(clock, "unix", lambda: one.unix)
    monkeypatch.setattr(clock, "now", lambda: datetime.fromtimestamp(one.unix, UTC))
    return one
