"""Samples to the database in batches: those of all agents of this process together, twice a second, whatever their number.

A report is no promise: agents don't keep it and nobody acknowledges it. So it needn't be taken in order with what else its agent says.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

import msgspec
import structlog
from django.db import DatabaseError

from agent.protocol import messages as wire
from lormas.common import clock, live
from lormas.common.database import trouble
from lormas.common.wires import resolve, wired
from nodes.gateway.store import uuid_of
from nodes.gateway.threads import in_database

if TYPE_CHECKING:
    from nodes.gateway.session import AgentSession

log = structlog.get_logger(__name__)

FLUSH_SECONDS = 0.5
MOST_WAITING = 16
"""Of one session: an agent that tells more than is written waits, and its socket with it."""


@dataclass(frozen=True, slots=True)
class Told:
    """A report, and who told it. `strangers` are containers that the session holds though they live elsewhere (known since its hello)."""

    node_id: UUID
    strangers: frozenset[str]
    report: wire.StatsReport


@dataclass(slots=True)
class TakenSamples:
    """What came of a batch: frames for viewers, and for each report how often it spoke of what is not its node's."""

    frames: list[tuple[str, bytes]] = field(default_factory=list)
    violations: list[list[str]] = field(default_factory=list)


def take_samples(batch: list[Told], watched: set[str]) -> TakenSamples:
    """Store a batch. `watched`: the channels for which somebody waits; for others no frame is made.

    Raises:
        DatabaseError: the database does not do its work; a part of it may be stored.
    """
    found = TakenSamples()
    homes: dict[str, UUID] = {}
    named = {sample.container_id for told in batch for sample in told.report.containers}
    for dotted in wired("NODE_HOMES"):
        homes.update(resolve(dotted)({container_id for container_id in named if uuid_of(container_id)}))
    mine: list[tuple[UUID, wire.StatsReport]] = []
    for told in batch:
        own = [s for s in told.report.containers if homes.get(s.container_id, told.node_id) == told.node_id and uuid_of(s.container_id)]
        theirs = {s.container_id for s in told.report.containers if homes.get(s.container_id, told.node_id) != told.node_id}
        found.violations.append([f"stats name container {one} of another node" for one in sorted(theirs - told.strangers)])
        mine.append((told.node_id, msgspec.structs.replace(told.report, containers=own)))
    for dotted in wired("STATS"):
        try:
            resolve(dotted)(mine)
        except Exception as error:  # a fault in an upper room, or a value that no column takes: what one report broke is that report's loss
            if trouble(error) is not None:
                raise
            log.exception("gateway.samples_failed", count=len(mine))
            _one_by_one(dotted, mine)
    time = clock.rfc3339(clock.now())  # the panel's, as on the stored samples
    for node_id, report in mine:
        # asdict, not to_builtins: that leaves out what is 0.
        frames = [(f"stats:{s.container_id}", _shown(s)) for s in report.containers if f"stats:{s.container_id}" in watched]
        if f"stats:{node_id}" in watched:
            frames.append((f"stats:{node_id}", {"node_id": str(node_id), **msgspec.structs.asdict(report.node)}))
        found.frames += [(channel, msgspec.json.encode({"time": time, **fields})) for channel, fields in frames]
    return found


def _one_by_one(dotted: str, reports: list[tuple[UUID, wire.StatsReport]]) -> None:
    """Which are stored already are not stored again: their time is known."""
    for node_id, report in reports:
        try:
            resolve(dotted)([(node_id, report)])
        except Exception:
            log.exception("gateway.sample_failed", node_id=str(node_id))


def _shown(sample: wire.ContainerStats) -> dict[str, Any]:
    """What viewers get: all but what only the meter of usage needs."""
    fields = msgspec.structs.asdict(sample)
    del fields["cpu_seconds_total"], fields["started_at"]
    return fields


class Samples:
    """The reports of this process (one per event loop) that are not written yet."""

    def __init__(self) -> None:
        self._waiting: list[tuple[AgentSession, Told]] = []
        self._of: dict[UUID, int] = {}
        self._writer: asyncio.Task[None] | None = None
        self._taken = asyncio.Event()

    async def note(self, session: AgentSession, told: Told) -> None:
        """For the next batch. Waits while too many of this node wait."""
        while self._of.get(told.node_id, 0) >= MOST_WAITING:
            self._taken.clear()
            await self._taken.wait()
        self._waiting.append((session, told))
        self._of[told.node_id] = self._of.get(told.node_id, 0) + 1
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write(), name="gateway-samples")

    async def _write(self) -> None:
        while self._waiting:
            await asyncio.sleep(FLUSH_SECONDS)
            batch, self._waiting, self._of = self._waiting, [], {}
            self._taken.set()
            watched = await live.hub().watched_anywhere("stats:")
            try:
                found = await in_database(take_samples, [told for _, told in batch], watched)
            except DatabaseError as error:  # the next ones are written when the database is back; counters of usage lose nothing by it
                log.warning("gateway.samples_not_written", error=str(error), count=len(batch))
                continue
            except Exception:  # the writer must outlive whatever one batch does
                log.exception("gateway.samples_lost", count=len(batch))
                continue
            for channel, data in found.frames:
                await live.hub().publish(channel, data)
            for (session, _), violations in zip(batch, found.violations, strict=True):
                for violation in violations:
                    session.blame(violation)


_samples: dict[int, tuple[asyncio.AbstractEventLoop, Samples]] = {}


def samples() -> Samples:
    """Those of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _samples.get(id(loop))
    if found is None or found[0] is not loop:
        found = (loop, Samples())
        _samples[id(loop)] = found
    return found[1]
