"""Answers about the inside of containers: processes, terminals, recordings."""

from __future__ import annotations

from typing import Any

import msgspec

from agent.protocol import inside as ask
from agent.recordings import Recordings
from agent.rpc import Answer
from agent.runtimes.base import Runtime
from agent.terminals import Terminals


def inside_answers(runtime: Runtime, terminals: Terminals, recordings: Recordings) -> dict[str, Answer]:
    """By the kinds of `agent.protocol.inside.INSIDE_RPCS`."""

    async def processes(container_id: str, _: Any) -> dict[str, Any]:
        found = await runtime.inside.processes(container_id)
        return {"processes": [{field: getattr(one, field) for field in one.__struct_fields__} for one in found]}

    async def signal(container_id: str, asked: ask.ProcessSignal) -> dict[str, Any]:
        await runtime.inside.signal(container_id, asked.pid, asked.signal)
        return {}

    async def terminal_list(container_id: str, _: Any) -> dict[str, Any]:
        return {"terminals": terminals.of(container_id)}

    async def terminal_kill(container_id: str, asked: ask.TerminalKill) -> dict[str, Any]:
        await terminals.kill(container_id, asked.name)
        return {}

    async def recording_list(container_id: str, _: Any) -> dict[str, Any]:
        return {"recordings": msgspec.to_builtins(await recordings.of(container_id))}

    async def recording_delete(container_id: str, asked: ask.RecordingDelete) -> dict[str, Any]:
        await recordings.delete(container_id, asked.id)
        return {}

    return {
        "process.list": processes,
        "process.signal": signal,
        "terminal.list": terminal_list,
        "terminal.kill": terminal_kill,
        "recording.list": recording_list,
        "recording.delete": recording_delete,
    }
