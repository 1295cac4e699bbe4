"""Answers about containers that nobody here made, and taking one over: all of it or nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, cast

import msgspec

from agent.protocol.foreign import AdoptPayload, ForeignLook
from agent.protocol.messages import ContainerReport
from agent.runtimes.base import ForeignDesk, Runtime, RuntimeFailure
from agent.services import Logs

log = logging.getLogger(__name__)


def foreign_of(runtime: Runtime) -> ForeignDesk:
    """Of this runtime. Raises RuntimeFailure `unsupported`."""
    found = getattr(runtime, "foreign", None)
    if found is None:
        raise RuntimeFailure("unsupported", f"The runtime of this node ({runtime.kind}) has no containers but ours.")
    return cast(ForeignDesk, found)


def foreign_answers(runtime: Runtime) -> dict[str, Callable[[str, Any], Awaitable[dict[str, Any]]]]:
    """By the kinds of `agent.protocol.foreign.FOREIGN_RPCS`."""

    async def listing(_: str, __: Any) -> dict[str, Any]:
        desk = foreign_of(runtime)
        return {"containers": msgspec.to_builtins(await desk.listing()), "allowed": not desk.why_not, "reason": desk.why_not}

    async def look(_: str, asked: ForeignLook) -> dict[str, Any]:
        return {"found": msgspec.to_builtins(await foreign_of(runtime).look(asked.ref))}

    return {"foreign.list": listing, "foreign.look": look}


async def adopt(
    payload: AdoptPayload,
    there: ContainerReport | None,
    *,
    runtime: Runtime,
    logs: Logs,
    make: Callable[[], Awaitable[ContainerReport]],
    launch: Callable[[], Awaitable[ContainerReport]],
    hold: Callable[[Awaitable[Any]], Awaitable[Any]],
) -> dict[str, Any]:
    """`make` and `launch` create and start ours. A second try of one that died goes on where it is: each step is a no-op once done."""
    desk = foreign_of(runtime)
    ours = payload.spec.container_id
    begun = False
    try:
        if there is None:
            begun = True
            await hold(desk.set_aside(payload.ref, container_id=ours, stop=payload.stop))
            there = await make()
        begun = True
        if payload.start and not there.started_at:
            there = await launch()
    except (RuntimeFailure, asyncio.CancelledError) as fault:
        if begun:
            # Also when a kill overtook it: half of a takeover is nobody's wish.
            await asyncio.shield(asyncio.ensure_future(_undo(payload, ours, runtime=runtime, logs=logs, desk=desk, why=str(fault))))
        raise
    return {"runtime_ref": there.runtime_ref, "warnings": []}


async def _undo(payload: AdoptPayload, ours: str, *, runtime: Runtime, logs: Logs, desk: ForeignDesk, why: str) -> None:
    log.warning("takeover is undone", extra={"container": ours, "reason": why})
    await runtime.remove(ours, keep_data=True)
    await logs.detach(ours)
    await logs.delete(ours)
    try:
        await desk.put_back(payload.ref, container_id=ours, restart=payload.restart, start=payload.start)
    except RuntimeFailure as failure:
        if failure.code != "not_found":
            raise
