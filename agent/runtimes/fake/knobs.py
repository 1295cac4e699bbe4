"""Misbehaviour on purpose."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal

from agent.runtimes.base import RuntimeFailure


@dataclass(slots=True)
class Knobs:
    """How to misbehave; change it at any time."""

    slow_seconds: dict[str, float] = field(default_factory=dict)
    """verb -> how long it takes; "" = all."""
    hang: set[str] = field(default_factory=set)
    """These verbs never answer; "" = all."""
    fail: dict[str, dict[int, str]] = field(default_factory=dict)
    """verb -> {n-th call (1 = the next after it was set; 0 = every): error code}."""
    lose_events: bool = False
    listing: Literal["", "fail", "empty", "truncated"] = ""
    """`empty` and `truncated` are lies that a runtime must never tell: for tests of who believes them."""
    missing_images: set[str] = field(default_factory=set)
    calls: Counter[str] = field(default_factory=Counter)

    async def act(self, verb: str) -> None:
        self.calls[verb] += 1
        plan = self.fail.get(verb, {})
        code = plan.get(0, "") or plan.pop(1, "")
        if plan and 0 not in plan:
            self.fail[verb] = {number - 1: what for number, what in plan.items() if number > 1}
        if verb in self.hang or "" in self.hang:
            await asyncio.Event().wait()
        pause = self.slow_seconds.get(verb, self.slow_seconds.get("", 0))
        if pause:
            await asyncio.sleep(pause)
        if code:
            raise RuntimeFailure(code, f"The fake runtime was told to fail at {verb}.", retryable=code in ("timeout", "engine_down"))
