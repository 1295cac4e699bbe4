"""Events from comparing two looks at all containers."""

from __future__ import annotations

import signal
import time

from agent.protocol.messages import ContainerReport
from agent.runtimes.base import RuntimeEvent
from agent.runtimes.process.folders import Run

Looks = dict[str, tuple[ContainerReport, Run | None]]

HANDS = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})
"""Signals that somebody sends; others are the program's own fault."""


def differences(before: Looks, now: Looks) -> list[RuntimeEvent]:
    """`kill` comes before the `die` of whom a signal ended, be it ours or anybody's."""
    made: list[RuntimeEvent] = []
    at = time.time()
    for container_id, (report, run) in now.items():
        old = before[container_id][0] if container_id in before else None
        if old is None:
            made.append(RuntimeEvent("create", container_id, time_unix=at))
        restarted = report.started_at != (old.started_at if old else "")
        if restarted and old is not None and old.state in ("running", "paused"):
            made.append(RuntimeEvent("die", container_id, time_unix=at))  # and what it died of is overwritten
        if restarted and report.started_at:
            made.append(RuntimeEvent("start", container_id, time_unix=at))
        if report.state == "exited" and (restarted or old is None or old.state != "exited"):
            if report.oom_killed:
                made.append(RuntimeEvent("oom", container_id, time_unix=at))
            elif report.cause == "external" or (run is not None and run.signal in HANDS and not run.killed_for):
                number = run.signal if run is not None else 0
                made.append(RuntimeEvent("kill", container_id, time_unix=at, attributes={"signal": str(number or int(signal.SIGKILL))}))
            made.append(RuntimeEvent("die", container_id, exit_code=report.exit_code, time_unix=at))
        elif old is not None and not restarted and {old.state, report.state} == {"running", "paused"}:
            made.append(RuntimeEvent("pause" if report.state == "paused" else "unpause", container_id, time_unix=at))
    made += [RuntimeEvent("destroy", container_id, time_unix=at) for container_id in before.keys() - now.keys()]
    return made
