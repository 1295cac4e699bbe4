"""Images, volumes and networks of an engine: what a runtime with the capability `stock` offers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Literal, Protocol, cast

from agent.protocol.nodework import CommandCancel, StockList, StockRemove
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


def stock_answers(
    runtime: Runtime, *, tidy: Callable[[], Awaitable[None]], cancel: Callable[[str], bool]
) -> dict[str, Callable[[str, Any], Awaitable[dict[str, Any]]]]:
    """By the kinds of `agent.protocol.nodework.NODE_RPCS`."""

    async def listing(_: str, asked: StockList) -> dict[str, Any]:
        return {"items": await stock_of(runtime).listing(checked_kind(asked.kind))}

    async def remove(_: str, asked: StockRemove) -> dict[str, Any]:
        return {"removed": await stock_of(runtime).remove(checked_kind(asked.kind), asked.name, force=asked.force)}

    async def tidied(_: str, __: Any) -> dict[str, Any]:
        await tidy()
        return {}

    async def cancelled(_: str, asked: CommandCancel) -> dict[str, Any]:
        return {"found": cancel(asked.command_id)}

    return {"node.cancel": cancelled, "node.tidy": tidied, "stock.list": listing, "stock.remove": remove}
