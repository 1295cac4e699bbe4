"""What the link needs of its neighbours, so that each can be replaced in a test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from agent.protocol.messages import Frame, LogStream


class Logs(Protocol):
    """The part of `agent.logs.LogService` that acts and reconciling use."""

    async def attach(self, container_id: str, *, before_start: bool = False) -> None:
        """Begin to read a container's output; no-op if it is being read. Before `start`, so that nothing is lost."""

    async def detach(self, container_id: str) -> None:
        """Stop reading."""

    async def delete(self, container_id: str) -> None:
        """Remove the store."""

    async def last_seq(self, container_id: str) -> int:
        """Number of the newest line; 0 if there is none."""

    async def append(self, container_id: str, text: str, *, stream: LogStream = "events") -> Any:
        """Add a line by hand."""


Emit = Callable[[Frame], None]
"""Send a frame if the link is up; else it is lost (what matters is in the outbox and is sent after the next hello)."""
