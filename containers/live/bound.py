"""A socket that a ticket opened for one container: every message is about that one (D12)."""

from __future__ import annotations

from typing import Any

from lormas.common.errors import Forbidden, NotFound

_WIDE = frozenset({"subscribe"})
"""Message types that are about no container."""


def keep_to(container_id: str | None, message: dict[str, Any]) -> None:
    """Raises NotFound for another container than the ticket's, Forbidden for what is about all. None: no ticket, or one for anything."""
    if container_id is None:
        return
    if message["type"] in _WIDE:
        raise Forbidden("This socket was opened for one container: lists are not for it.", code="bound_to_container")
    if str(message.get("container_id") or container_id) != container_id:
        raise NotFound("This socket was opened for another container.")
