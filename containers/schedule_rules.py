"""Schedules without a database: when one is due, and what its steps may be (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from agent.protocol.patterns import BadPattern, check_search
from containers.services.power import CAPABILITY
from containers.states import Status
from lormas.common import zones
from lormas.common.errors import FieldError

MOST_STEPS = 10
LONGEST_WAIT_SECONDS = 86_400
LONGEST_COMMAND = 4000
POWER = ("start", "stop", "restart", "kill")
STEP_KINDS = ("power", "command", "backup", "wait")
RESOURCES = ("cpu", "memory", "disk")
STATES = (Status.RUNNING, Status.STOPPED, Status.CRASHED, Status.CRASH_LOOP, Status.FAILED, Status.PAUSED, Status.UNKNOWN)
FIELDS = {"power": {"action"}, "command": {"command"}, "backup": {"name", "stop_first"}, "wait": {"seconds"}}
COMMON = {"kind", "offset_seconds", "continue_on_failure"}


def cron_of(expression: str, timezone: str, *, after: datetime) -> CronSim:
    """Five fields. Moments that daylight saving skips or repeats are run once (as Debian's cron does). Raises ValueError with a sentence."""
    if len(expression.split()) != 5:
        raise ValueError("Five fields: minute, hour, day of the month, month, day of the week; such as 30 4 * * *.")
    if not zones.known(timezone):
        raise ValueError(f"There is no time zone {timezone[:64]}.")
    try:
        found = CronSim(expression, after.astimezone(ZoneInfo(timezone)))
        next(found)
    except (CronSimError, StopIteration) as error:
        raise ValueError(f"Not a time that ever comes: {error}." if str(error) else "Not a time that ever comes.") from error
    return CronSim(expression, after.astimezone(ZoneInfo(timezone)))


def next_runs(expression: str, timezone: str, *, after: datetime, count: int = 5) -> list[datetime]:
    """In UTC. Raises ValueError."""
    times = cron_of(expression, timezone, after=after)
    return [next(times).astimezone(UTC) for _ in range(count)]


def words(schedule: Any) -> str:
    """When it runs, as a person says it."""
    when = schedule.when
    match schedule.trigger:
        case "cron":
            try:
                return f"{CronSim(schedule.cron, datetime.now(UTC)).explain()} ({schedule.timezone})"
            except CronSimError:
                return str(schedule.cron)
        case "state":
            return f"When it becomes {when.get('status', '?').replace('_', ' ')}"
        case "crash":
            return "When it crashes"
        case "log":
            return f"When it writes {when.get('pattern', '')}"
        case _:
            return f"When its {when.get('resource')} was above {when.get('above')} % for {when.get('minutes')} min"


def rights_for(steps: Sequence[Mapping[str, Any]]) -> set[str]:
    """All that the steps do must be allowed to whoever has them done (C13)."""
    needed: set[str] = set()
    for step in steps:
        if step["kind"] == "power":
            needed.add(CAPABILITY[step["action"]])
        elif step["kind"] == "command":
            needed.add("containers.console")
        elif step["kind"] == "backup":
            needed |= {"containers.backups"} | ({"containers.stop", "containers.start"} if step.get("stop_first") else set())
    return needed


def checked_steps(steps: Any) -> tuple[list[dict[str, Any]], list[FieldError]]:
    """As they are kept, and what is wrong with them."""
    if not isinstance(steps, list) or not 1 <= len(steps) <= MOST_STEPS:
        return [], [FieldError("steps", f"1 to {MOST_STEPS} steps.", "invalid")]
    kept: list[dict[str, Any]] = []
    wrong: list[FieldError] = []
    for number, step in enumerate(steps):
        at = f"steps.{number}"
        if not isinstance(step, dict) or step.get("kind") not in STEP_KINDS:
            wrong.append(FieldError(f"{at}.kind", f"One of {', '.join(STEP_KINDS)}.", "invalid"))
            continue
        kind = step["kind"]
        unknown = sorted(set(step) - FIELDS[kind] - COMMON)
        wrong += [FieldError(f"{at}.{name[:64]}", f"A step of this kind has no {name[:64]}.", "unknown_field") for name in unknown[:5]]
        clean: dict[str, Any] = {
            "kind": kind,
            "offset_seconds": step.get("offset_seconds", 0),
            "continue_on_failure": step.get("continue_on_failure", False),
        }
        if not _whole(clean["offset_seconds"], 0, LONGEST_WAIT_SECONDS):
            wrong.append(FieldError(f"{at}.offset_seconds", f"Seconds from 0 to {LONGEST_WAIT_SECONDS}.", "invalid"))
        if not isinstance(clean["continue_on_failure"], bool):
            wrong.append(FieldError(f"{at}.continue_on_failure", "true or false.", "invalid"))
        own, problem = _own(kind, step)
        wrong += [FieldError(f"{at}.{problem[0]}", problem[1], "invalid")] if problem else []
        kept.append({**clean, **own})
    return kept, wrong


def _own(kind: str, step: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, str] | None]:
    match kind:
        case "power":
            return {"action": step.get("action")}, None if step.get("action") in POWER else ("action", f"One of {', '.join(POWER)}.")
        case "command":
            text = step.get("command")
            good = isinstance(text, str) and text.strip() and len(text) <= LONGEST_COMMAND and "\0" not in text and "\n" not in text
            return {"command": text}, None if good else ("command", f"One line for its console, at most {LONGEST_COMMAND} characters.")
        case "backup":
            name, stop_first = step.get("name", ""), step.get("stop_first", False)
            if not isinstance(name, str) or len(name) > 100:
                return {}, ("name", "A text of at most 100 characters.")
            return {"name": name, "stop_first": stop_first}, None if isinstance(stop_first, bool) else ("stop_first", "true or false.")
        case _:
            seconds = step.get("seconds")
            return {"seconds": seconds}, None if _whole(seconds, 1, LONGEST_WAIT_SECONDS) else ("seconds", f"From 1 to {LONGEST_WAIT_SECONDS}.")


def _whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def checked_when(trigger: str, when: Any) -> tuple[dict[str, Any], list[FieldError]]:
    """What a trigger other than the clock looks for."""
    given = when if isinstance(when, dict) else {}
    match trigger:
        case "state":
            good = given.get("status") in STATES
            return {"status": given.get("status")}, [] if good else [FieldError("when.status", f"One of {', '.join(STATES)}.", "invalid")]
        case "log":
            pattern = given.get("pattern")
            if not isinstance(pattern, str) or not 2 <= len(pattern) <= 256:
                return {"pattern": pattern}, [FieldError("when.pattern", "Plain text of 2 to 256 characters, or regex: and a pattern.")]
            try:
                check_search(pattern)
            except BadPattern as wrong_pattern:
                return {"pattern": pattern}, [FieldError("when.pattern", str(wrong_pattern))]
            return {"pattern": pattern}, []
        case "resource":
            found = {"resource": given.get("resource"), "above": given.get("above"), "minutes": given.get("minutes", 5)}
            wrong = []
            if found["resource"] not in RESOURCES:
                wrong.append(FieldError("when.resource", f"One of {', '.join(RESOURCES)}.", "invalid"))
            if not _whole(found["above"], 1, 100):
                wrong.append(FieldError("when.above", "Percent of its limit, from 1 to 100.", "invalid"))
            if not _whole(found["minutes"], 1, 60):
                wrong.append(FieldError("when.minutes", "From 1 to 60.", "invalid"))
            return found, wrong
        case _:
            return {}, []
