"""Each container's log on the node: kept in files, read by query, followed live. See docs/adr/0005-log-store.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent.logs.service import LogService

__all__ = ["LogService"]


def __getattr__(name: str) -> Any:
    # Late, so that the search process (`agent.logs.grep`) starts fast.
    if name == "LogService":
        from agent.logs.service import LogService

        return LogService
    raise AttributeError(name)
