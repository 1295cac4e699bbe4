"""Questions of the panel: answered once or never, at most `PARALLEL` at a time, each in bounded time."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import msgspec

from agent.protocol.commands import RPCS, ExecRun, LogsAppend, LogsQuery, StdinWrite
from agent.protocol.messages import ErrorInfo, NodeFacts, Rpc, RpcReply
from agent.reconcile import Reconciler
from agent.runtimes.base import Runtime, RuntimeFailure
from agent.services import Emit

log = logging.getLogger(__name__)

PARALLEL = 32
EXEC_OUTPUT_BYTES = 256 * 1024
REPLY_BYTES = 1000 * 1024


Answer = Callable[[str, Any], Awaitable[dict[str, Any]]]
"""(container id, decoded payload) -> data of the reply."""


class LogStore(Protocol):
    """The part of `agent.logs.LogService` that questions use."""

    async def read(self, container_id: str, query: LogsQuery) -> dict[str, Any]: ...

    async def append(self, container_id: str, text: str, *, stream: Any = "events") -> Any: ...

    async def clear(self, container_id: str) -> Any: ...

    async def tidy(self, *, rotate: bool, older_than_seconds: float, forget: list[str]) -> dict[str, int]: ...


class Questions:
    """Answers `Rpc` frames."""

    def __init__(
        self,
        *,
        runtime: Runtime,
        logs: LogStore,
        reconciler: Reconciler,
        facts: Callable[[], Awaitable[NodeFacts]],
        emit: Emit,
        more: Mapping[str, Answer] | None = None,
    ) -> None:
        self._runtime = runtime
        self._logs = logs
        self._reconciler = reconciler
        self._facts = facts
        self._emit = emit
        self._more = more or {}
        self._slots = asyncio.Semaphore(PARALLEL)

    async def answer(self, rpc: Rpc) -> None:
        """Never raises; the answer is emitted."""
        try:
            async with self._slots, asyncio.timeout(max(0.1, min(rpc.timeout_seconds, 600))):
                data = await self._ask(rpc)
            reply = RpcReply(request_id=rpc.request_id, ok=True, data=data)
            if len(msgspec.json.encode(reply)) > REPLY_BYTES:
                raise RuntimeFailure("internal", "The answer is too large for one frame: ask for less.")
        except RuntimeFailure as failure:
            reply = RpcReply(request_id=rpc.request_id, ok=False, error=failure.info())
        except msgspec.ValidationError as error:
            reply = RpcReply(request_id=rpc.request_id, ok=False, error=ErrorInfo(code="bad_payload", detail=str(error)))
        except TimeoutError:
            reply = RpcReply(request_id=rpc.request_id, ok=False, error=ErrorInfo(code="timeout", detail="The node needed too long.", retryable=True))
        except Exception as fault:
            log.exception("question failed inside", extra={"kind": rpc.kind})
            detail = f"{type(fault).__name__}: see the agent's log."
            reply = RpcReply(request_id=rpc.request_id, ok=False, error=ErrorInfo(code="internal", detail=detail))
        self._emit(reply)

    async def _ask(self, rpc: Rpc) -> dict[str, Any]:
        if rpc.kind not in RPCS:
            raise RuntimeFailure("unknown_command", f"This agent does not know {rpc.kind[:64]!r}.")
        payload: Any = msgspec.convert(rpc.payload, RPCS[rpc.kind])
        container_id = rpc.container_id
        if rpc.kind in self._more:
            return await self._more[rpc.kind](container_id, payload)
        match rpc.kind:
            case "logs.read":
                return await self._logs.read(container_id, payload)
            case "logs.append":
                return await self._append(container_id, payload)
            case "logs.clear":
                return {"last_seq": await self._logs.clear(container_id)}
            case "logs.tidy":
                return {**await self._logs.tidy(rotate=payload.rotate, older_than_seconds=payload.older_than_seconds, forget=payload.forget)}
            case "container.stdin":
                return await self._stdin(container_id, payload)
            case "container.inspect":
                seen = await self._reconciler.observe(container_id, cause="")
                if seen is None or seen.state == "removed":
                    raise RuntimeFailure("no_such_container", "The container is not on this node.")
                return {"report": msgspec.to_builtins(seen)}
            case "container.stats":
                samples = await self._runtime.stats([container_id])
                if not samples:
                    raise RuntimeFailure("not_running", "The container does not run.")
                return {"stats": msgspec.to_builtins(samples[0])}
            case "exec.run":
                return await self._exec(container_id, payload)
            case "container.drift":
                found = await self._runtime.drift(payload.spec)
                return {"differences": [[one.field, one.wanted, one.running] for one in found]}
            case "node.sync":
                self._reconciler.want_listing()
                return {}
            case _:
                return {"facts": msgspec.to_builtins(await self._facts())}

    async def _append(self, container_id: str, payload: LogsAppend) -> dict[str, Any]:
        return {"seq": await self._logs.append(container_id, payload.text, stream=payload.stream)}

    async def _stdin(self, container_id: str, payload: StdinWrite) -> dict[str, Any]:
        await self._runtime.write_stdin(container_id, payload.text.encode() + b"\n")
        return {}

    async def _exec(self, container_id: str, payload: ExecRun) -> dict[str, Any]:
        begun = time.monotonic()
        kept = {"stdout": bytearray(), "stderr": bytearray()}
        truncated = timed_out = False
        exit_code: int | None = None
        session = await self._runtime.exec(container_id, payload.argv, env=payload.env, working_dir=payload.working_dir, user=payload.user)
        try:
            async with asyncio.timeout(payload.timeout_seconds):
                if payload.stdin:
                    await session.write(payload.stdin.encode())
                await session.close_stdin()
                async for output in session:
                    room = EXEC_OUTPUT_BYTES - len(kept[output.stream])
                    kept[output.stream] += output.data[:room]
                    truncated = truncated or len(output.data) > room
                exit_code = await session.wait()
        except TimeoutError:
            timed_out = True
            await session.kill()
        except BaseException:
            await session.kill()
            raise
        texts = {name: data.decode("utf-8", "replace") for name, data in kept.items()}
        while len(msgspec.json.encode(texts)) > REPLY_BYTES * 9 // 10:  # bytes that are no text grow when written as JSON
            longest = max(texts, key=lambda name: len(texts[name]))
            texts[longest] = texts[longest][: len(texts[longest]) // 2]
            truncated = True
        return {
            "exit_code": exit_code,
            **texts,
            "duration_seconds": round(time.monotonic() - begun, 3),
            "truncated": truncated,
            "timed_out": timed_out,
        }
