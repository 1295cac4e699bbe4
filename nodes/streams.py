"""A stream that this process opens on a node: an exec, or a view of a terminal. Async; one consumer each.

The consumer pays for what it has read (`pay`), so a slow one slows only its own stream down: at most `EXEC_CREDIT` bytes are under way.
"""

from __future__ import annotations

import base64
import json
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal

from agent.protocol import frames
from lormas.common import live

SILENT_SECONDS = 20.0
"""The gateway says something on every stream each 2 s: a silence means that it died."""
TAP_BYTES = 512 * 1024
PAY_BYTES = 32 * 1024


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes of stdout or stderr."""

    stream: Literal["stdout", "stderr"]
    data: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A word about the stream, see `agent.protocol.streaming.StreamNote`."""

    note: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Ended:
    """The last thing of a stream."""

    exit_code: int | None
    code: str = ""
    detail: str = ""


class NodeStream:
    """Use `open_stream`; iterate it to its `Ended`; always `leave` it."""

    def __init__(self, node_id: Any, stream_id: str, tap: live.Tap) -> None:
        self._node_id = node_id
        self.stream_id = stream_id
        self._tap = tap
        self._unpaid = 0
        self._ended = False

    async def __aiter__(self) -> AsyncIterator[Chunk | Note | Ended]:
        while not self._ended:
            data = await self._tap.get(SILENT_SECONDS)
            if data is None or data == live.RESYNC or self._tap.skipped():
                self._ended = True
                yield Ended(None, "node_offline", "The connection to the node was lost.")
                return
            if data[:1] == b"{":
                message = json.loads(data)
                if message["type"] == "note":
                    yield Note(message["note"])
                    continue
                self._ended = True
                error = message.get("error") or {}
                yield Ended(message.get("exit_code"), error.get("code", ""), error.get("detail", ""))
                return
            frame = frames.unpack(data)
            if isinstance(frame, frames.ExecFrame) and frame.data:
                yield Chunk("stderr" if frame.kind == frames.EXEC_STDERR else "stdout", frame.data)
                await self._pay(len(frame.data))

    async def _pay(self, count: int) -> None:
        self._unpaid += count
        if self._unpaid >= PAY_BYTES:
            paid, self._unpaid = self._unpaid, 0
            await self._tell(live.Question(op="pay", stream_id=self.stream_id, bytes=paid))

    async def _tell(self, question: live.Question) -> None:
        await live.hub().tell_node(self._node_id, question)

    async def write(self, data: bytes) -> None:
        """Standard input; empty closes it."""
        await self._tell(live.Question(op="input", stream_id=self.stream_id, data=base64.b64encode(data).decode()))

    async def resize(self, *, columns: int, rows: int) -> None:
        await self._tell(live.Question(op="resize", stream_id=self.stream_id, payload={"columns": columns, "rows": rows}))

    async def leave(self) -> None:
        """An exec is killed if it still runs; a terminal lives on."""
        if not self._ended:
            self._ended = True
            await self._tell(live.Question(op="kill", stream_id=self.stream_id))
        await self._tap.close()


async def open_stream(node_id: Any, op: Literal["exec", "terminal"], *, container_id: str, payload: dict[str, Any]) -> NodeStream:
    """Raises live.NodeOffline."""
    stream_id = str(uuid.uuid4())
    tap = await live.hub().tap(f"stream:{stream_id}", max_bytes=TAP_BYTES)
    try:
        question = live.Question(op=op, stream_id=stream_id, container_id=container_id, payload={**payload, "paced": True})
        if await live.hub().tell_node(node_id, question) == 0:
            raise live.NodeOffline(f"node {node_id} is not connected")
    except BaseException:
        await tap.close()
        raise
    return NodeStream(node_id, stream_id, tap)
