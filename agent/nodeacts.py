"""Commands about the node itself: pulling an image, pruning, upgrading the agent, the swarm. Each is safe to run again after a death half-way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from agent.outbox import Entry
from agent.protocol import nodework as kinds
from agent.protocol.swarm import SWARM_COMMANDS
from agent.runtimes.base import PullProgress, Runtime, RuntimeFailure
from agent.stock import checked_kind, stock_of
from agent.swarm import swarm_act

Progress = Callable[[int, str], None]
Upgrader = Callable[[str, kinds.Upgrade, Progress], Awaitable[dict[str, Any]]]


class NodeActs:
    """`upgrade(command_id, payload, progress)` is the program's; without one this agent can't upgrade itself."""

    def __init__(self, runtime: Runtime, *, upgrade: Upgrader | None = None) -> None:
        self._runtime = runtime
        self._upgrade = upgrade

    async def run(self, entry: Entry, payload: Any, *, progress: Progress) -> dict[str, Any]:
        """Carry it out; returns the result's data. Raises RuntimeFailure."""
        match payload:
            case kinds.ImagePull():
                return await self._pull(payload, progress=progress)
            case kinds.Prune():
                return await self._prune(payload, progress=progress)
            case kinds.Upgrade() if self._upgrade is not None:
                return await self._upgrade(entry.command.id, payload, progress)
        if type(payload) in SWARM_COMMANDS.values():
            return await swarm_act(self._runtime, payload, operation_id=entry.command.id)
        raise RuntimeFailure("unsupported", f"This agent can't do {entry.command.kind}.")

    async def _pull(self, payload: kinds.ImagePull, *, progress: Progress) -> dict[str, Any]:
        if "pull" not in self._runtime.capabilities:
            raise RuntimeFailure("unsupported", f"The runtime of this node ({self._runtime.kind}) has no images.")

        def tell(pull: PullProgress) -> None:
            progress(int(99 * pull.done_bytes / pull.total_bytes) if pull.total_bytes else 0, pull.message)

        progress(0, f"Pulling {payload.image}")
        await self._runtime.pull(payload.image, auth=payload.registry_auth, progress=tell, timeout_seconds=payload.timeout_seconds)
        return {"image": payload.image}

    async def _prune(self, payload: kinds.Prune, *, progress: Progress) -> dict[str, Any]:
        kind, stock = checked_kind(payload.kind), stock_of(self._runtime)
        removed: list[str] = []
        kept: list[list[str]] = []
        for number, key in enumerate(payload.ids):
            progress(100 * number // len(payload.ids), f"{number} of {len(payload.ids)}")
            try:
                # Chosen by id, so all names of an unused image go with it.
                await stock.remove(kind, key, force=kind == "images")
                removed.append(key)
            except RuntimeFailure as failure:
                if failure.code == "not_found":
                    removed.append(key)  # gone already
                elif failure.code in ("engine_down", "timeout"):
                    raise
                else:
                    kept.append([key, failure.detail[:200]])
        return {"removed": removed, "kept": kept[:100]}
