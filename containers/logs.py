"""Reading and writing the log that lives on a container's node. The panel stores no line."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import msgspec

from agent.protocol.commands import LogsAppend, LogsQuery, StdinWrite
from audit.services import Actor, record
from containers import uses
from containers.models import Container
from containers.services import power
from containers.services.publish import target
from lormas.common import clock, live
from lormas.common.errors import Conflict, NodeSilent, NodeUnavailable, NotFound, Problem, Refused

DOWNLOAD_PAGE = 1000


def ask(container: Container, kind: str, payload: msgspec.Struct | None = None, *, timeout_seconds: float = 10) -> dict[str, Any]:
    """A question to the container's node; the live layer's errors become problems.

    Raises:
        NodeUnavailable (says since when), NodeSilent, Conflict `not_running`, Refused with the node's own code.
    """
    node = container.node
    if node is None:
        raise NodeUnavailable("This container has no node yet.")
    try:
        return live.ask_node(
            node.pk, kind, container_id=str(container.pk), payload=msgspec.to_builtins(payload) if payload else {}, timeout_seconds=timeout_seconds
        )
    except live.NodeOffline:
        raise unavailable(container) from None
    except live.NodeTimeout:
        raise silent(container, timeout_seconds) from None
    except live.NodeRefused as error:
        if error.code in ("no_such_process", "no_such_terminal", "no_such_recording"):
            raise NotFound(error.detail, code=error.code) from None
        if error.code in ("not_running", "no_such_container"):
            raise Conflict(error.detail, code=error.code, extra={"state": container.status}) from None
        raise Refused(error.detail, code=error.code) from None


def unavailable(container: Container) -> NodeUnavailable:
    """Says which node, and since when."""
    node = container.node
    assert node is not None
    since = node.last_heartbeat or node.status_since
    return NodeUnavailable(
        f"Node {node.name} is not connected; last heard of {since:%Y-%m-%d %H:%M:%S} UTC.",
        extra={"node": str(node.pk), "since": clock.rfc3339(since)},
    )


def silent(container: Container, seconds: float) -> NodeSilent:
    return NodeSilent(f"Node {container.node.name if container.node else ''} did not answer within {seconds:g} s.")


def read(container: Container, query: LogsQuery) -> dict[str, Any]:
    """`{"lines", "first_seq", "last_seq", "more", "gaps"}`, see `agent.protocol.commands.LogsQuery`."""
    return ask(container, "logs.read", query)


END_SECONDS = 3


def end_of(container: Container) -> int:
    """Number of its newest line now, for what is to hear of later ones; -1: its node does not tell, so the first look begins there."""
    if container.node is None or not container.node.gateway:
        return -1
    try:
        return int(ask(container, "logs.read", LogsQuery(tail=1, limit=1), timeout_seconds=END_SECONDS).get("last_seq", 0))
    except Problem:
        return -1


def append(container: Container, *, text: str, level: str, actor: Actor) -> dict[str, Any]:
    """An entry by hand: `[LEVEL] text (name)` in the events stream."""
    who = f" ({actor.label})" if actor.label else ""
    return ask(container, "logs.append", LogsAppend(text=f"[{level.upper()}] {text}{who}", stream="events"))


def clear(container: Container, *, actor: Actor) -> None:
    """Forget all lines; numbers go on where they were. Panel processes that hold lines for their viewers are told up to which."""
    told = ask(container, "logs.clear")
    live.publish(f"log:{container.pk}", {"cleared": int(told.get("last_seq", 0))})
    record("containers.logs_cleared", actor=actor, target=target(container))


def write_stdin(container: Container, *, text: str, actor: Actor) -> None:
    """A line for the main process. Its own stop command counts as a wish to stop it."""
    uses.used(container.pk, "console")
    ask(container, "container.stdin", StdinWrite(text=text))
    power.typed(container, text)
    record("containers.console", actor=actor, target=target(container), message=text[:500])


def gzipped(pages: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes, compressed as they pass."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)  # 31: with the header of gzip
    for page in pages:
        if packed := packer.compress(page):
            yield packed
    yield packer.flush()


def download(container: Container, *, streams: list[str]) -> Iterator[bytes]:
    """The whole log as text, oldest first: `time stream text` lines, page by page."""
    after = -1
    while True:
        page = read(container, msgspec.convert({"streams": streams, "after": max(after, 0), "limit": DOWNLOAD_PAGE}, LogsQuery))
        lines = page.get("lines", [])
        yield "".join(f"{time} {stream:<11} {text}\n" for _, time, stream, text in lines).encode()
        if not page.get("more") or not lines:
            return
        after = lines[-1][0]
