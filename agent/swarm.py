"""The swarm that an engine manages: what a runtime with the capability `swarm` offers, the answers about it and the acts on it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, cast

import msgspec

from agent.protocol import swarm as kinds
from agent.runtimes.base import Runtime, RuntimeFailure


class Swarm(Protocol):
    """Every call is bounded in time, asks first which swarm this is, and raises what `agent.protocol.swarm` says."""

    async def look(self, *, swarm_id: str) -> kinds.SwarmView:
        """Its nodes and services as they are now."""

    async def tasks(self, service_id: str, *, swarm_id: str) -> list[kinds.SwarmTask]:
        """Of one service. Raises `not_found`."""

    async def create(self, wish: kinds.SwarmCreate, *, operation_id: str) -> str:
        """The service's id; the same again for the same operation. Raises `name_taken`, `invalid_spec`."""

    async def update(self, wish: kinds.SwarmUpdate) -> None:
        """Change one of ours. Raises `not_found`, `foreign`, `invalid_spec`."""

    async def remove(self, service_id: str, *, swarm_id: str) -> None:
        """No-op if it is gone. Raises `foreign`."""

    async def set_availability(self, node_id: str, availability: str, *, swarm_id: str) -> None:
        """No-op if it is so already. Raises `not_found`."""


def swarm_of(runtime: Runtime) -> Swarm:
    """Of this runtime. Raises RuntimeFailure `unsupported`."""
    found = getattr(runtime, "swarm", None)
    if found is None:
        raise RuntimeFailure("unsupported", f"The runtime of this node ({runtime.kind}) is no part of a Docker swarm.")
    return cast(Swarm, found)


def swarm_answers(runtime: Runtime) -> dict[str, Callable[[str, Any], Awaitable[dict[str, Any]]]]:
    """By the kinds of `agent.protocol.swarm.SWARM_RPCS`."""

    async def look(_: str, asked: kinds.SwarmLook) -> dict[str, Any]:
        return {"swarm": msgspec.to_builtins(await swarm_of(runtime).look(swarm_id=asked.swarm_id))}

    async def tasks(_: str, asked: kinds.SwarmTasks) -> dict[str, Any]:
        return {"tasks": msgspec.to_builtins(await swarm_of(runtime).tasks(asked.service_id, swarm_id=asked.swarm_id))}

    return {"swarm.look": look, "swarm.tasks": tasks}


async def swarm_act(runtime: Runtime, payload: Any, *, operation_id: str) -> dict[str, Any]:
    """Carry out one of `SWARM_COMMANDS`; returns the result's data. Each is safe to run again after a death half-way."""
    swarm = swarm_of(runtime)
    match payload:
        case kinds.SwarmCreate():
            return {"service_id": await swarm.create(payload, operation_id=operation_id)}
        case kinds.SwarmUpdate():
            await swarm.update(payload)
            return {"service_id": payload.service_id}
        case kinds.SwarmRemove():
            await swarm.remove(payload.service_id, swarm_id=payload.swarm_id)
            return {"service_id": payload.service_id}
        case kinds.SwarmAvailability():
            if payload.availability not in kinds.AVAILABILITIES:
                raise RuntimeFailure("bad_payload", f"The availability must be one of {', '.join(kinds.AVAILABILITIES)}.")
            await swarm.set_availability(payload.node_id, payload.availability, swarm_id=payload.swarm_id)
            return {"availability": payload.availability}
    raise RuntimeFailure("unsupported", f"This agent can't do {type(payload).__name__}.")
