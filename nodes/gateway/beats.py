"""Heartbeats to the database in batches: one transaction a second, whatever the number of agents."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from uuid import UUID

import structlog
from django.db import DatabaseError

from nodes.gateway import store
from nodes.gateway.threads import in_database

if TYPE_CHECKING:
    from nodes.gateway.session import AgentSession

log = structlog.get_logger(__name__)

FLUSH_SECONDS = 1.0


class Beats:
    """The sessions of this process (one per event loop) and their unwritten heartbeats."""

    def __init__(self) -> None:
        self.sessions: dict[UUID, AgentSession] = {}
        self._pending: dict[UUID, store.Beat] = {}
        self._writer: asyncio.Task[None] | None = None

    def enter(self, session: AgentSession) -> None:
        self.sessions[session.node_id] = session
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write(), name="gateway-beats")

    def leave(self, session: AgentSession) -> None:
        if self.sessions.get(session.node_id) is session:
            del self.sessions[session.node_id]
            self._pending.pop(session.node_id, None)

    def note(self, beat: store.Beat) -> None:
        self._pending[beat.node_id] = beat

    async def _write(self) -> None:
        while self.sessions:
            await asyncio.sleep(FLUSH_SECONDS)
            batch, self._pending = list(self._pending.values()), {}
            if not batch:
                continue
            try:
                stale, due = await in_database(store.write_beats, batch)
            except DatabaseError as error:  # the next beats are written when the database is back
                log.warning("gateway.beats_not_written", error=str(error), count=len(batch))
                continue
            for node_id in stale:
                session = self.sessions.get(node_id)
                if session is not None:
                    session.close_soon("replaced", "A newer connection of this node has taken over, or the node was removed.")
            for node_id in due:
                session = self.sessions.get(node_id)
                if session is not None:
                    session.commands_due()


_beats: dict[int, tuple[asyncio.AbstractEventLoop, Beats]] = {}


def beats() -> Beats:
    """Those of the running event loop."""
    loop = asyncio.get_running_loop()
    found = _beats.get(id(loop))
    if found is None or found[0] is not loop:
        found = (loop, Beats())
        _beats[id(loop)] = found
    return found[1]
