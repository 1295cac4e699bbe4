"""Carrying the files of a move from agent to agent, through this process and never held here: a few frames are under way, whoever is slow.

A carrier is a task of a web process. It holds a lease, so that there is one; when it dies, with its process or its links, the next one asks the new
node how far it got and goes on there.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from uuid import UUID

import structlog
from django.db import transaction

from agent.protocol.moving import TreeRead, TreeWrite
from containers.models import Migration
from containers.models.moving import Phase
from containers.services import migrate_back as back
from containers.services import migrate_rows as rows
from containers.services import migrate_steps as steps
from lormas.common import live
from nodes import leases
from nodes.bulk import BulkLost, BulkStream, open_bulk
from nodes.gateway.threads import in_database

log = structlog.get_logger(__name__)

LEASE_SECONDS = 10
TOLD_SECONDS = 1.0
PAUSE_SECONDS = (0.3, 3.0)
MOST_AT_ONCE = 4
FOR_GOOD = frozenset({"disk_full", "unsupported", "bad_payload", "unknown_command", "not_found", "in_use", "running", "too_deep", "policy_denied"})
"""Refusals that trying again does not change."""

_carriers: dict[UUID, asyncio.Task[None]] = {}


def _due() -> list[UUID]:
    return list(Migration.objects.filter(phase=Phase.COPY).order_by("phase_since").values_list("pk", flat=True)[:50])


async def ensure() -> None:
    """Begin to carry what nobody carries. Call it from the loop, every second or so."""
    for move_id in await in_database(_due):
        if len(_carriers) >= MOST_AT_ONCE:
            return
        if move_id not in _carriers:
            task = asyncio.get_running_loop().create_task(_carry(move_id), name=f"carry {move_id}")
            _carriers[move_id] = task
            task.add_done_callback(lambda done, key=move_id: _ended(key, done))  # type: ignore[misc]


def _ended(move_id: UUID, task: asyncio.Task[None]) -> None:
    _carriers.pop(move_id, None)
    if not task.cancelled() and task.exception() is not None:
        log.error("containers.carrier_failed", move=str(move_id), exc_info=task.exception())


async def _carry(move_id: UUID) -> None:
    name = f"carry:{move_id}"
    fence = await in_database(leases.take, name, seconds=LEASE_SECONDS)
    if fence is None:
        return
    try:
        await _until_there(move_id, name, fence)
    finally:
        with contextlib.suppress(Exception):  # it runs out by itself
            await asyncio.shield(in_database(leases.give_back, name, fence))


def _row(move_id: UUID) -> Migration | None:
    found: Migration | None = Migration.objects.filter(pk=move_id, phase=Phase.COPY).first()
    return found


def _give_up(move_id: UUID, code: str, detail: str) -> None:
    with transaction.atomic():
        move = rows.locked(move_id, Phase.COPY)
        if move is not None:
            back.go_back(move, code=code, detail=detail)


async def _until_there(move_id: UUID, name: str, fence: int) -> None:
    pause = PAUSE_SECONDS[0]
    fresh: int | None = None
    while True:
        move = await in_database(_row, move_id)
        if move is None or not await in_database(leases.renew, name, fence, seconds=LEASE_SECONDS):
            return
        trip = _Trip(move, name, fence, fresh=move.copies > 0 and fresh != move.copies)
        try:
            if await trip.run():
                await in_database(steps.carried, move_id, done=trip.done)
            return
        except live.NodeRefused as refused:
            if refused.code in FOR_GOOD:
                await in_database(_give_up, move_id, refused.code, refused.detail)
                return
            why = refused.detail
        except (live.NodeOffline, live.NodeTimeout, BulkLost, TimeoutError) as lost:
            why = str(lost)
        if trip.begun:
            fresh, pause = move.copies, PAUSE_SECONDS[0]
        log.info("containers.copy_interrupted", move=str(move_id), reason=why, done=trip.done)
        await asyncio.sleep(pause)
        pause = min(2 * pause, PAUSE_SECONDS[1])


class _Trip:
    """One go: from where the new node is, to the end."""

    def __init__(self, move: Migration, name: str, fence: int, *, fresh: bool) -> None:
        self._move = move
        self._name = name
        self._fence = fence
        self._fresh = fresh
        self.begun = False
        self.done = 0
        self._total = move.bytes_total
        self._told = time.monotonic()
        self._rate: float = 0

    async def run(self) -> bool:
        """True: all came. False: it is no longer wanted. Raises NodeOffline, NodeRefused, BulkLost."""
        move = self._move
        assert move.source_id is not None and move.target_id is not None
        subject = str(move.container_id)
        into = await open_bulk(move.target_id, "tree.write", container_id=subject, payload=TreeWrite(move=str(move.pk), fresh=self._fresh))
        out: BulkStream | None = None
        try:
            self.begun = True
            head = into.head
            self.done = int(head.get("bytes") or 0)
            point = TreeRead(path=str(head.get("path") or ""), offset=int(head.get("offset", -1)))
            out = await open_bulk(move.source_id, "tree.read", container_id=subject, payload=point)
            self._total = int(out.head.get("bytes") or 0)
            async for data in out.chunks():
                await into.write(data)
                self.done += len(data)
                if time.monotonic() - self._told >= TOLD_SECONDS and not await self._tell(len(data)):
                    return False
            end = await into.finish()
            self.done = int(end.get("bytes") or self.done)
            return True
        finally:
            for stream in (out, into):
                if stream is not None:
                    await asyncio.shield(stream.close())

    async def _tell(self, size: int) -> bool:
        self._told = time.monotonic()
        done, total = min(self.done, self._total), self._total
        message = f"Copying its files: {done / 2**20:.1f} of {total / 2**20:.1f} MiB"
        if not await in_database(leases.renew, self._name, self._fence, seconds=LEASE_SECONDS):
            return False
        return await in_database(steps.progressed, self._move.pk, done=done, total=total, message=message)
