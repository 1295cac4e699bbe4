"""A runtime in a dictionary and a log service that remembers its calls: enough to test the link and the dispatcher."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import msgspec

from agent.protocol.commands import LogsQuery
from agent.protocol.messages import ContainerReport, ContainerSpec, ContainerStats, NodeUsage, StopSpec
from agent.runtimes.base import EngineInfo, Output, RuntimeEvent, RuntimeFailure
from agent.runtimes.inside import Inside, NoInside


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


class TinyExec:
    """Echoes its standard input."""

    def __init__(self) -> None:
        self.fed: asyncio.Queue[bytes | None] = asyncio.Queue()
        self.killed = False

    async def __aiter__(self) -> AsyncIterator[Output]:
        while (data := await self.fed.get()) is not None:
            yield Output("stdout", data)

    async def write(self, data: bytes) -> None:
        self.fed.put_nowait(data)

    async def close_stdin(self) -> None:
        self.fed.put_nowait(None)

    async def resize(self, *, columns: int, rows: int) -> None:
        self.size = (columns, rows)

    async def wait(self) -> int | None:
        return 137 if self.killed else 0

    async def kill(self) -> None:
        self.killed = True
        self.fed.put_nowait(None)


class TinyInstalls:
    """None at all."""

    async def end(self, container_id: str) -> None:
        pass

    async def all(self) -> dict[str, str]:
        return {}


class TinyRuntime:
    """`calls` lists the verbs in order; `gates[verb]` holds a verb up; `broken` makes every call fail."""

    kind = "fake"
    capabilities = frozenset({"pause", "stats", "exec", "stdin", "events"})

    def __init__(self) -> None:
        self.reports: dict[str, ContainerReport] = {}
        self.calls: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}
        self.broken = ""
        self.inside: Inside = NoInside()
        self.listing_error = ""
        self.images = {"busybox"}
        self.pulled: list[Any] = []
        self.instance = ""
        self.in_flight = 0
        self.most_in_flight = 0
        self.execs: list[TinyExec] = []
        self._events: asyncio.Queue[RuntimeEvent] = asyncio.Queue()
        self.on: Callable[[str], None] = lambda verb: None
        self.installs = TinyInstalls()
        self.data = None

    async def _enter(self, verb: str) -> None:
        if self.broken:
            raise RuntimeFailure("engine_down", self.broken)
        self.calls.append(verb)
        self.on(verb)
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            if verb in self.gates:
                await self.gates[verb].wait()
        finally:
            self.in_flight -= 1

    def happen(self, container_id: str, action: str, **changes: Any) -> None:
        """Somebody's hand on the engine."""
        if action == "destroy":
            self.reports.pop(container_id, None)
        else:
            self.reports[container_id] = msgspec.structs.replace(self.reports[container_id], **changes)
        self._events.put_nowait(RuntimeEvent(action, container_id, time_unix=time.time()))

    def tell(self, action: str, at: datetime) -> None:
        """An event without a container."""
        self._events.put_nowait(RuntimeEvent(action, time_unix=at.timestamp()))

    def _set(self, container_id: str, **changes: Any) -> ContainerReport:
        if container_id not in self.reports:
            raise RuntimeFailure("no_such_container", "The container is not on this node.")
        self.reports[container_id] = msgspec.structs.replace(self.reports[container_id], **changes)
        return self.reports[container_id]

    async def open(self, *, instance: str) -> None:
        if self.broken:
            raise RuntimeFailure("engine_down", self.broken)
        self.instance = instance

    async def close(self) -> None:
        pass

    async def info(self) -> EngineInfo:
        if self.broken:
            raise RuntimeFailure("engine_down", self.broken)
        return EngineInfo(kind="fake", version="1")

    async def pull(self, image: str, *, auth: Any = None, progress: Any = None, timeout_seconds: float = 900) -> None:
        await self._enter("pull")
        self.pulled.append((image, auth))
        self.images.add(image)

    async def has_image(self, image: str) -> bool:
        return image in self.images

    async def create(self, spec: ContainerSpec, *, epoch: int, operation_id: str) -> ContainerReport:
        await self._enter("create")
        if spec.container_id not in self.reports:
            self.reports[spec.container_id] = ContainerReport(
                container_id=spec.container_id,
                state="created",
                epoch=epoch,
                runtime_ref=f"ref-{len(self.calls)}",
                operation_id=operation_id,
                image=spec.image,
            )
        return self.reports[spec.container_id]

    async def start(self, container_id: str) -> ContainerReport:
        await self._enter("start")
        return self._set(container_id, state="running", started_at=_now(), exit_code=None, finished_at="")

    async def stop(self, container_id: str, stop: StopSpec) -> ContainerReport:
        await self._enter("stop")
        if container_id not in self.reports:
            return ContainerReport(container_id=container_id, state="removed")
        return self._set(container_id, state="exited", exit_code=0, finished_at=_now())

    async def kill(self, container_id: str, signal: str = "SIGKILL") -> ContainerReport:
        await self._enter("kill")
        if container_id not in self.reports:
            return ContainerReport(container_id=container_id, state="removed")
        return self._set(container_id, state="exited", exit_code=137, finished_at=_now())

    async def pause(self, container_id: str) -> ContainerReport:
        await self._enter("pause")
        return self._set(container_id, state="paused")

    async def unpause(self, container_id: str) -> ContainerReport:
        await self._enter("unpause")
        return self._set(container_id, state="running")

    async def remove(self, container_id: str, *, keep_data: bool = False) -> None:
        await self._enter("remove")
        self.reports.pop(container_id, None)

    async def inspect(self, container_id: str) -> ContainerReport | None:
        if self.broken:
            raise RuntimeFailure("engine_down", self.broken)
        return self.reports.get(container_id)

    async def list_owned(self) -> list[ContainerReport]:
        if self.broken or self.listing_error:
            raise RuntimeFailure("engine_down", self.broken or self.listing_error)
        return list(self.reports.values())

    async def output(self, container_id: str, resume: Any) -> Any:
        raise NotImplementedError

    async def write_stdin(self, container_id: str, data: bytes) -> None:
        self.calls.append(f"stdin {data!r}")

    async def stats(self, container_ids: list[str]) -> list[ContainerStats]:
        return [ContainerStats(container_id=i, cpu_percent=1.5, memory_bytes=1000) for i in container_ids if i in self.reports]

    async def node_usage(self) -> NodeUsage:
        return NodeUsage(cpu_percent=3.0, containers_running=len(self.reports))

    async def exec(self, container_id: str, argv: list[str], **kwargs: Any) -> TinyExec:
        if container_id not in self.reports:
            raise RuntimeFailure("no_such_container", "The container is not on this node.")
        self.execs.append(TinyExec())
        return self.execs[-1]

    async def events(self, *, since_unix: float = 0) -> AsyncIterator[RuntimeEvent]:
        while True:
            yield await self._events.get()


class TinyLogs:
    """Remembers what was asked; `feed` gives batches to followers."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self.feeds: dict[str, asyncio.Queue[Any]] = {}

    async def attach(self, container_id: str, *, before_start: bool = False) -> None:
        self.calls.append(("attach", container_id))

    async def detach(self, container_id: str) -> None:
        self.calls.append(("detach", container_id))

    async def delete(self, container_id: str) -> None:
        self.calls.append(("delete", container_id))

    async def append(self, container_id: str, text: str, *, stream: Any = "events") -> int:
        self.calls.append((f"append {text}", container_id))
        return 1

    async def last_seq(self, container_id: str) -> int:
        return 42

    async def clear(self, container_id: str) -> int:
        return 5

    async def read(self, container_id: str, query: LogsQuery) -> dict[str, Any]:
        return {"lines": [[1, _now(), "application", f"tail={query.tail}"]], "first_seq": 1, "last_seq": 1, "more": False, "gaps": []}

    async def follow(self, container_id: str, after: int) -> AsyncIterator[Any]:
        queue = self.feeds.setdefault(container_id, asyncio.Queue())
        while True:
            yield await queue.get()

    def feed(self, container_id: str, *, first: int, last: int, payload: bytes) -> None:
        batch = SimpleNamespace(first_seq=first, last_seq=last, count=last - first + 1, payload=payload, flags=0)
        self.feeds.setdefault(container_id, asyncio.Queue()).put_nowait(batch)

    async def resume_all(self, container_ids: list[str]) -> None:
        self.calls.append(("resume_all", ",".join(container_ids)))

    async def close(self) -> None:
        pass
