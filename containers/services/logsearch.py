"""One search over the logs of many containers: their nodes are asked side by side, each for a bounded time."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from agent.protocol.commands import LogsQuery
from containers import logs
from containers.loglevels import at_least, detect
from containers.models import Container
from lormas.common.errors import Problem

MOST_CONTAINERS = 100
PARALLEL = 8
PER_CONTAINER = 200


@dataclass(frozen=True, slots=True)
class Found:
    """`lines` newest first, each with its container. `silent`: whom nobody could ask, and why. `more`: there are lines that were left out."""

    lines: list[dict[str, Any]] = field(default_factory=list)
    asked: int = 0
    silent: list[dict[str, str]] = field(default_factory=list)
    more: bool = False


def search_logs(containers: Sequence[Container], query: LogsQuery, *, level: str = "", limit: int = 200) -> Found:
    """`containers`: those the asker may read the logs of, nodes already joined, at most `MOST_CONTAINERS`."""

    def ask(container: Container) -> dict[str, Any] | Problem:
        try:
            return logs.read(container, query)
        except Problem as problem:
            return problem

    lines: list[dict[str, Any]] = []
    silent: list[dict[str, str]] = []
    more = False
    with ThreadPoolExecutor(max_workers=PARALLEL, thread_name_prefix="lormas-log-search") as pool:
        for container, answer in zip(containers, pool.map(ask, containers), strict=True):
            if isinstance(answer, Problem):
                silent.append({"id": str(container.pk), "name": container.name, "detail": answer.detail})
                continue
            more = more or bool(answer.get("more"))
            for seq, time, stream, text in answer.get("lines", []):
                if not level or at_least(text, level):
                    of = {"id": str(container.pk), "name": container.name}
                    lines.append({"container": of, "seq": seq, "time": time, "stream": stream, "level": detect(text), "text": text})
    lines.sort(key=lambda line: (line["time"], line["seq"]), reverse=True)
    return Found(lines[:limit], len(containers), silent, more or len(lines) > limit)
