"""A node's health as separate signals, each with a level, a cause and an age: pure (from what was known and what is seen to what is known).

Hysteresis: a level is taken over only after it was seen so many times in a row (`Rule.worse_after`, `better_after`), and a measured value has to fall
clearly below its limit before it counts as better. `socket` is what the panel heard; the others are what the agent said last.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Level = Literal["ok", "warning", "bad", "unknown"]
SIGNALS = ("socket", "engine", "disk", "clock", "version")
ORDER = {"ok": 0, "unknown": 1, "warning": 2, "bad": 3}

DISK_WARNING, DISK_BAD, DISK_BACK = 0.90, 0.97, 0.02
"""Shares of the disk in use, and how far below a limit it must fall to be better."""
SKEW_WARNING_SECONDS, SKEW_BAD_SECONDS, SKEW_BACK_SECONDS = 10.0, 60.0, 2.0


@dataclass(frozen=True, slots=True)
class Rule:
    """How often in a row a level must be seen before it counts."""

    worse_after: int = 1
    better_after: int = 1


RULES: Mapping[str, Rule] = {
    "socket": Rule(),  # silence has bounds of its own (nodes.warden)
    "engine": Rule(),  # the agent asks twice before it says so
    "disk": Rule(worse_after=2, better_after=2),
    "clock": Rule(worse_after=3, better_after=3),
    "version": Rule(),
}


@dataclass(frozen=True, slots=True)
class Reading:
    """What was seen now."""

    level: Level
    cause: str = ""
    value: float | None = None


@dataclass(frozen=True, slots=True)
class Signal:
    """What counts: kept on the node's row. `since` and `checked` are Unix seconds of the panel's clock."""

    level: Level = "unknown"
    cause: str = ""
    since: float = 0
    checked: float = 0
    value: float | None = None
    next_level: str = ""
    streak: int = 0


def known(raw: Mapping[str, Any], name: str) -> Signal:
    """One signal as the row has it."""
    found = raw.get(name) or {}
    return Signal(**{key: found[key] for key in Signal.__slots__ if key in found})


def take(before: Signal, seen: Reading, *, rule: Rule, now: float) -> Signal:
    """What is known after `seen`."""
    if before.level == "unknown" and not before.checked:
        return Signal(seen.level, seen.cause, now, now, seen.value)
    if seen.level == before.level:
        return Signal(before.level, seen.cause, before.since, now, seen.value)
    streak = before.streak + 1 if before.next_level == seen.level else 1
    needed = rule.worse_after if ORDER[seen.level] > ORDER[before.level] else rule.better_after
    if streak >= needed:
        return Signal(seen.level, seen.cause, now, now, seen.value)
    return Signal(before.level, before.cause, before.since, now, seen.value, seen.level, streak)


def disk(used: int, total: int, *, before: Level) -> Reading:
    """Share of the disk in use."""
    if total <= 0:
        return Reading("unknown", "The agent does not tell how large the disk is.")
    share = used / total
    level = _level(share, DISK_WARNING, DISK_BAD, DISK_BACK, before)
    cause = f"The disk is {share:.0%} full." if level != "ok" else ""
    return Reading(level, cause, round(share, 4))


def clock(skew_seconds: float | None, *, before: Level) -> Reading:
    """The agent's clock minus the panel's, as far as a message tells (its way takes time too)."""
    if skew_seconds is None:
        return Reading("unknown", "The agent does not tell its time.")
    level = _level(abs(skew_seconds), SKEW_WARNING_SECONDS, SKEW_BAD_SECONDS, SKEW_BACK_SECONDS, before)
    where = "ahead of" if skew_seconds > 0 else "behind"
    cause = f"Its clock is {abs(skew_seconds):.0f} s {where} the panel's: set up time synchronisation there." if level != "ok" else ""
    return Reading(level, cause, round(skew_seconds, 1))


def engine(ok: bool, error: str) -> Reading:
    """Does the container engine answer the agent?"""
    return Reading("ok") if ok else Reading("bad", f"The engine does not answer: {error or 'no reason given'}"[:250])


QUIET_SECONDS, LOST_SECONDS = 25.0, 35.0
"""As long as a node's status bears it (`NODE_NOT_READY_SECONDS`, `NODE_INACTIVE_SECONDS`): no signal calls one connected that is not heard."""


def socket(connected: bool, *, silent_seconds: float | None) -> Reading:
    """Is there a link on which something was heard, or were there at least beats by HTTP?"""
    if connected and (silent_seconds or 0) < QUIET_SECONDS:
        return Reading("ok")
    if silent_seconds is None:
        return Reading("unknown", "No agent has joined yet.")
    if silent_seconds < LOST_SECONDS:
        return Reading("warning", f"Nothing heard for {silent_seconds:.0f} s." if connected else "No socket; it was heard a moment ago.")
    return Reading("bad", "No agent is connected.")


def version(agent: str, panel: str) -> Reading:
    """Agents may be older by one version of the protocol (refused at the door otherwise); any difference is told."""
    if not agent:
        return Reading("unknown", "No agent has joined yet.")
    if agent == panel:
        return Reading("ok")
    older = _numbers(agent) < _numbers(panel)
    return Reading("warning", f"Agent {agent}, panel {panel}: {'upgrade the agent' if older else 'the agent is newer, upgrade the panel'}.")


SAFE_DOCKER = (29, 5, 1)


def engine_advice(runtime: str) -> str:
    """What is to be said of an engine as its agent names it (`docker://20.10.24`); "" = nothing. No signal: nothing is wrong at the moment.

    Lormas sends plain archives only (SECURITY B11), so that what it does itself never meets the fault (CVE-2026-41567); people on the machine may.
    """
    kind, _, number = runtime.partition("://")
    if kind != "docker" or not number[:1].isdigit() or _numbers(number) >= SAFE_DOCKER:
        return ""
    safe = ".".join(map(str, SAFE_DOCKER))
    return f"Docker {number} is older than {safe}, where unpacking compressed archives into containers was made safe. Upgrade it when you can."


def _numbers(text: str) -> tuple[int, ...]:
    parts = []
    for part in text.split(".")[:3]:
        digits = re.match(r"\d*", part)  # 24+dfsg1 is 24
        parts.append(int(digits[0] or 0) if digits else 0)
    return tuple(parts)


def _level(value: float, warning: float, bad: float, back: float, before: Level) -> Level:
    """The level of a measured value; one that was reached is left only when the value is `back` below its limit."""
    bad_at = bad - back if before == "bad" else bad
    warning_at = warning - back if before in ("bad", "warning") else warning
    return "bad" if value >= bad_at else "warning" if value >= warning_at else "ok"


def update(raw: Mapping[str, Any], readings: Mapping[str, Reading], *, now: float) -> tuple[dict[str, Any], list[tuple[str, Signal, Signal]]]:
    """(all signals as the row keeps them, [(name, before, after)] of those whose level moved)."""
    kept, moved = dict(raw), []
    for name, reading in readings.items():
        before = known(raw, name)
        after = take(before, reading, rule=RULES[name], now=now)
        kept[name] = asdict(after)
        if after.level != before.level:
            moved.append((name, before, after))
    return kept, moved


def worst(raw: Mapping[str, Any]) -> str:
    """The worst level of all signals that say something."""
    levels = [known(raw, name).level for name in SIGNALS if name in raw]
    return max(levels, key=lambda level: ORDER[level], default="unknown")
