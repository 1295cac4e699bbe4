"""Images, volumes and networks of an engine: what a runtime with the capability `stock` offers."""

from __future__ import annotations

from typing import Any, Literal, Protocol, cast

from agent.runtimes.base import Runtime, RuntimeFailure

Kind = Literal["images", "volumes", "networks"]


class Stock(Protocol):
    """What lies there beside containers. Every call is bounded in time."""

    async def listing(self, kind: Kind) -> list[dict[str, Any]]:
        """All of a kind, as `agent.protocol.commands.StockList` says. Raises `engine_down`, `timeout`."""

    async def remove(self, kind: Kind, name: str, *, force: bool = False) -> list[str]:
        """Remove one; gives the names that are gone. Raises `in_use`, `not_found`, and as `listing`. What containers use is never removed."""


def stock_of(runtime: Runtime) -> Stock:
    """Of this runtime. Raises RuntimeFailure `unsupported`."""
    found = getattr(runtime, "stock", None)
    if found is None:
        raise RuntimeFailure("unsupported", f"The runtime of this node ({runtime.kind}) has no images, volumes or networks.")
    return cast(Stock, found)


def checked_kind(text: str) -> Kind:
    """Raises RuntimeFailure `bad_payload`."""
    if text not in ("images", "volumes", "networks"):
        raise RuntimeFailure("bad_payload", "The kind must be images, volumes or networks.")
    return cast(Kind, text)
