"""Places where a test may have the agent die at once (SECURITY R04). Does nothing unless `LORMAS_TESTING=1`."""

from __future__ import annotations

import os
import signal

POINTS = ("after_accept", "before_engine", "after_engine", "before_result", "after_result", "move_received", "move_taking", "move_digest")


def point(name: str) -> None:
    """SIGKILL to ourselves if `LORMAS_AGENT_CRASH_AT` names this place."""
    if os.environ.get("LORMAS_AGENT_CRASH_AT") == name and os.environ.get("LORMAS_TESTING") == "1":
        os.kill(os.getpid(), signal.SIGKILL)
