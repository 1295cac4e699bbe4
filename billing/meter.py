"""From two readings of a container to amounts by the hour. Pure.

Counters carry the truth: what a lost report would have said is in the difference that the next one makes. What only samples tell (memory, disk) is
counted between two samples that are near each other, and marked as unmeasured elsewhere.
"""

from __future__ import annotations

from typing import NamedTuple

from lormas.common import clock

HOUR = 3600
GAP_SECONDS = 90.0
"""Between samples further apart than this nothing is said of memory and disk: the default pace is one in 10 s."""
MAX_BACK_SECONDS = 31 * 86400.0
FIRST_BACK_SECONDS = 86400.0
"""A container that is new to the meter is counted from its start if that was not longer ago; else from its first sample on."""
SAME_START_SECONDS = 1.5
SLACK_SECONDS = 2.0
"""A report is stamped after its counters were read."""


class Reading(NamedTuple):
    """What a sample said. `at` and `started` are seconds since 1970 by the panel's clock; None: not told, which is not 0."""

    at: float
    started_at: str
    started: float | None
    cpu: float | None
    rx: int
    tx: int
    memory: int
    disk: int | None


Amounts = tuple[float, float, float, int, int, float, float, float, float]
"""Of one hour, in the order of `billing.metering.AMOUNTS`."""


def metered(before: Reading | None, now: Reading, *, cores: float, born: float) -> dict[int, Amounts]:
    """Hour's begin (seconds since 1970) -> what is to be added to it.

    `cores` bounds the CPU that can have been used (0: not known); `born` is when the panel got to know the container: what an adopted one used before
    is not its owner's bill. Empty where `now` is not newer than `before`.
    """
    if before is not None and now.at <= before.at:
        return {}
    if before is None:
        if now.started is None or now.started < born - GAP_SECONDS or now.at - now.started > FIRST_BACK_SECONDS:
            return {}
        begin, same = now.started, False
    else:
        same = _same_run(before, now)
        begin = before.at if same or now.started is None else max(before.at, min(now.started, now.at))
    begin = max(begin, now.at - MAX_BACK_SECONDS)
    if begin >= now.at:
        begin = now.at - 0.001  # it started just now; what it has used belongs to this hour
    elapsed = now.at - begin
    base = before if same and before is not None else None
    cpu: float | None = None
    if now.cpu is not None and (base is None or base.cpu is not None):
        cpu = max(0.0, now.cpu - (base.cpu or 0.0 if base else 0.0))
        cpu = min(cpu, (elapsed + SLACK_SECONDS) * cores) if cores > 0 else cpu
    rx, tx = now.rx - (base.rx if base else 0), now.tx - (base.tx if base else 0)
    memory = (base.memory + now.memory) / 2 if base else float(now.memory)
    disks = [one.disk for one in (base, now) if one is not None and one.disk is not None]
    disk = sum(disks) / len(disks) if disks else None
    sampled = elapsed <= GAP_SECONDS
    # One start on both sides of a gap: it ran all the while. Where no start is told, nobody knows.
    ran = sampled or bool(now.started_at and (base is None or base.started_at))
    found: dict[int, Amounts] = {}
    start, done = begin, 0.0
    while start < now.at:
        hour = int(start // HOUR) * HOUR
        end = min(now.at, hour + HOUR)
        seconds, upto = end - start, (end - begin) / elapsed
        found[hour] = (
            0.0 if cpu is None else cpu * (upto - done),
            memory * seconds if sampled else 0.0,
            disk * seconds if sampled and disk is not None else 0.0,
            # Rounded from the beginning on, so that the parts are the whole.
            round(rx * upto) - round(rx * done),
            round(tx * upto) - round(tx * done),
            seconds if ran else 0.0,
            0.0 if sampled else seconds,
            seconds if cpu is None else 0.0,
            seconds if sampled and disk is None else 0.0,
        )
        start, done = end, upto
    return found


def _same_run(before: Reading, now: Reading) -> bool:
    if before.started_at and now.started_at and before.started_at != now.started_at:
        was, begun = clock.parse_rfc3339(before.started_at), clock.parse_rfc3339(now.started_at)
        # An agent that comes back may tell the same moment a bit differently.
        if was is None or begun is None or abs((begun - was).total_seconds()) > SAME_START_SECONDS:
            return False
    fell = before.cpu is not None and now.cpu is not None and now.cpu < before.cpu
    return not (fell or now.rx < before.rx or now.tx < before.tx)
