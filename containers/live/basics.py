"""What the handlers of `/ws` share: reading fields of a message, and its container through the access door."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from channels.db import database_sync_to_async

from containers import access
from containers.models import Container

if TYPE_CHECKING:
    from containers.live.socket import ClientSocket

_numbers = itertools.count(1)


class Refusal(Exception):
    """A message of the wrong shape."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def text_of(message: dict[str, Any], name: str, *, default: str | None = None, limit: int = 32_768) -> str:
    value = message.get(name, default)
    if not isinstance(value, str) or len(value) > limit:
        raise Refusal("invalid", f"{name} must be a text of at most {limit} characters.")
    return value


def integer_of(message: dict[str, Any], name: str, *, default: int, minimum: int, maximum: int) -> int:
    value = message.get(name, default)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
        raise Refusal("invalid", f"{name} must be a whole number from {minimum} to {maximum}.")
    return int(value)


async def container_of(socket: ClientSocket, message: dict[str, Any], capability: str) -> Container:
    """Asks access anew for every message (F04). Raises Refusal, NotFound, Forbidden."""
    container_id = message.get("container_id", socket.current)
    if not isinstance(container_id, str):
        raise Refusal("invalid", "container_id is missing; name it, or say `use` first.")
    container: Container = await database_sync_to_async(access.get_container)(socket.user, container_id, capability)
    return container


def run_apart(socket: ClientSocket, what: str, container: Container, capability: str, work: Awaitable[None]) -> str:
    """Work that takes a while, apart from the receive loop; ends with the person's right to it. Returns its key."""
    key = f"{what}-{next(_numbers)}"

    async def forgetful() -> None:
        try:
            await work
        finally:
            if socket.tasks.get(key) is asyncio.current_task():
                socket.tasks.pop(key, None)

    socket.start(key, forgetful(), container_id=str(container.pk), capability=capability)
    return key
