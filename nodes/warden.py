"""The warden: a background loop in each web process that judges nodes by their silence and ends what is overdue.

Liveness is derived from when the *panel* last heard of a node. NOT_READY after `NODE_NOT_READY_SECONDS`, INACTIVE after `NODE_INACTIVE_SECONDS`.
After a pause or start of the panel itself nobody is judged for a while (SECURITY R10): the silence may have been ours. Every act is a conditional
UPDATE, so that any number of wardens does no more than one.
"""

from __future__ import annotations

import asyncio
import time
from datetime import datetime, timedelta

import structlog
from django.conf import settings
from django.db import DatabaseError
from django.db.models import Q

from lormas.common import clock
from lormas.common.wires import resolve, wired
from nodes import commands, drains, health, operations, services
from nodes.gateway.threads import in_database
from nodes.models import Node
from nodes.states import NodeStatus

log = structlog.get_logger(__name__)

TICK_SECONDS = 1.0
SWEEP_SECONDS = 5.0
PAUSE_SECONDS = 5.0
"""A tick that comes so much too late means that this process (or its machine) was paused."""


class Grace:
    """Nobody is judged until it is over. Pure but for the clocks it is given, in seconds."""

    def __init__(self, *, seconds: float, monotonic: float, wall: float) -> None:
        self._seconds = seconds
        self._last = (monotonic, wall)
        self._until = monotonic + seconds

    def tick(self, *, monotonic: float, wall: float) -> bool:
        """Call at each tick; True while the grace lasts. A late tick, or a wall clock that jumped, begins it anew."""
        late = monotonic - self._last[0] > PAUSE_SECONDS or abs((wall - self._last[1]) - (monotonic - self._last[0])) > PAUSE_SECONDS
        self._last = (monotonic, wall)
        if late:
            self._until = monotonic + self._seconds
        return monotonic < self._until


def _ago(seconds: float) -> str:
    return f"Nothing heard for {seconds:.0f} s."


def _tell_silence(node: Node, silent_seconds: float, now: datetime) -> None:
    """Its signal of the link, too; the timeline has the move of the status, which says the same. Not if it was heard meanwhile."""
    kept, _ = health.update(node.signals, {"socket": health.socket(bool(node.gateway), silent_seconds=silent_seconds)}, now=now.timestamp())
    Node.objects.filter(pk=node.pk, last_heartbeat=node.last_heartbeat).update(signals=kept)


def judge(now: datetime) -> int:
    """Move silent nodes down: ACTIVE -> NOT_READY -> INACTIVE. Returns how many moved."""
    not_ready = now - timedelta(seconds=settings.NODE_NOT_READY_SECONDS)
    inactive = now - timedelta(seconds=settings.NODE_INACTIVE_SECONDS)
    moved = 0
    silent = Node.objects.filter(status__in=(NodeStatus.ACTIVE, NodeStatus.NOT_READY), last_heartbeat__lt=not_ready)
    for node in silent:
        assert node.last_heartbeat is not None
        lost = node.last_heartbeat < inactive
        if not lost and node.status == NodeStatus.NOT_READY:
            continue
        limit = inactive if lost else not_ready
        silent_seconds = (now - node.last_heartbeat).total_seconds()
        if services.move_status(
            node,
            to=NodeStatus.INACTIVE if lost else NodeStatus.NOT_READY,
            reason=_ago(silent_seconds),
            condition=Q(last_heartbeat__lt=limit),
        ):
            moved += 1
            _tell_silence(node, silent_seconds, now)
    # A process that died can't say that its sockets are gone.
    Node.objects.filter(last_heartbeat__lt=inactive).exclude(gateway="").update(gateway="", disconnected_at=now)
    return moved


def sweep() -> None:
    """End overdue commands and operations (R54), and take drains a step on."""
    commands.sweep_overdue()
    operations.sweep_overdue()
    drains.advance_all()


async def _run() -> None:
    grace = Grace(seconds=settings.NODE_INACTIVE_SECONDS, monotonic=time.monotonic(), wall=time.time())
    next_sweep = time.monotonic() + SWEEP_SECONDS
    while True:
        await asyncio.sleep(TICK_SECONDS)
        try:
            may_judge = not grace.tick(monotonic=time.monotonic(), wall=time.time())
            if may_judge:
                await in_database(judge, clock.now())
            for dotted in wired("NODE_TICKS"):
                await in_database(resolve(dotted))
            for dotted in wired("NODE_CARRIERS"):
                await resolve(dotted)()
            if time.monotonic() >= next_sweep:
                next_sweep = time.monotonic() + SWEEP_SECONDS
                await in_database(sweep)
                if may_judge:
                    for dotted in wired("NODE_SILENT"):
                        await in_database(resolve(dotted))
        except DatabaseError as error:
            log.warning("warden.no_database", error=str(error))
            await asyncio.sleep(2)
        except Exception:  # the warden must outlive whatever a handler of an upper room does
            log.exception("warden.failed")
            await asyncio.sleep(2)


_tasks: dict[int, asyncio.Task[None]] = {}


def ensure_started() -> None:
    """Start the warden of this event loop unless it runs. Call from the loop."""
    loop = asyncio.get_running_loop()
    task = _tasks.get(id(loop))
    if task is None or task.done() or task.get_loop() is not loop:
        _tasks.clear()
        _tasks[id(loop)] = loop.create_task(_run(), name="warden")
