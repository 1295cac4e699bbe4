"""The messages of `/ws`: one function a type. Each asks access anew (F04); none keeps anything but the socket's own subscriptions."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from channels.db import database_sync_to_async

from accounts.access import has
from containers import logs
from containers.live import filetalk, shells
from containers.live.basics import Refusal, container_of, integer_of, text_of
from containers.live.granted import Granted
from containers.live.logfeed import LogFeed
from containers.services import power
from lormas.common import live
from lormas.common.errors import NodeUnavailable
from nodes.operations import may_know

if TYPE_CHECKING:
    from containers.live.socket import ClientSocket

MAX_TAIL = 10_000
TOPICS = {
    "containers": "ui:containers", "nodes": "ui:nodes", "operations": "ui:operations",
    "backups": "ui:backups", "schedules": "ui:schedules", "machines": "ui:machines", "reservations": "ui:reservations",
}  # fmt: skip
STREAMS = frozenset({"application", "error", "startup", "events"})


def _key(kind: str, message: dict[str, Any], socket: ClientSocket) -> str:
    container_id = message.get("container_id", socket.current)
    if not isinstance(container_id, str):
        raise Refusal("invalid", "container_id is missing.")
    return f"{kind}:{container_id}"


async def use(socket: ClientSocket, message: dict[str, Any]) -> None:
    """`{container_id}`: meant from now on where none is named."""
    container = await container_of(socket, message, "containers.view")
    socket.current = str(container.pk)
    await socket.answer({"type": "using", "container_id": socket.current}, reply_to=message.get("id"))


async def ping(socket: ClientSocket, message: dict[str, Any]) -> None:
    await socket.answer({"type": "pong"}, reply_to=message.get("id"))


async def subscribe_logs(socket: ClientSocket, message: dict[str, Any]) -> None:
    """`{container_id, stream?, after?, tail?}` -> `log` frames."""
    container = await container_of(socket, message, "containers.logs")
    if container.node_id is None:
        raise NodeUnavailable("This container has no node yet.")
    stream = message.get("stream")
    wanted = [stream] if isinstance(stream, str) else stream or []
    if not isinstance(wanted, list) or not all(isinstance(s, str) and s in STREAMS for s in wanted):
        raise Refusal("invalid", f"stream must be one or several of {', '.join(sorted(STREAMS))}.")
    feed = LogFeed(
        container_id=str(container.pk),
        node_id=container.node_id,
        after=integer_of(message, "after", default=-1, minimum=-1, maximum=2**62),
        tail=integer_of(message, "tail", default=200, minimum=0, maximum=MAX_TAIL),
        streams=frozenset(wanted),
        send=socket.outbox.send,
    )
    await socket.answer({"type": "subscribed", "container_id": str(container.pk), "to": "logs"}, reply_to=message.get("id"))
    socket.start(f"logs:{container.pk}", feed.run(), capability="containers.logs")


async def unsubscribe_logs(socket: ClientSocket, message: dict[str, Any]) -> None:
    socket.stop(_key("logs", message, socket))
    await socket.answer({"type": "unsubscribed", "to": "logs"}, reply_to=message.get("id"))


async def subscribe_stats(socket: ClientSocket, message: dict[str, Any]) -> None:
    """`{container_id}` -> the last sample at once, then each new one."""
    container = await container_of(socket, message, "containers.view")
    tap = await live.hub().tap(f"stats:{container.pk}", max_messages=4)

    async def feed() -> None:
        try:
            async for data in tap:
                if data != live.RESYNC:
                    await socket.answer({"type": "stats", "container_id": str(container.pk), **json.loads(data)})
        finally:
            await tap.close()

    if container.stats:
        await socket.answer({"type": "stats", "container_id": str(container.pk), **container.stats}, reply_to=message.get("id"))
    socket.start(f"stats:{container.pk}", feed())


async def unsubscribe_stats(socket: ClientSocket, message: dict[str, Any]) -> None:
    socket.stop(_key("stats", message, socket))


async def subscribe(socket: ClientSocket, message: dict[str, Any]) -> None:
    """`{topics: [...]}` -> `container`, `node`, `operation` messages about what this person may see."""
    topics = _topics(message)
    for topic in topics:
        # tapped before it is said, so that nothing after the answer is missed
        socket.start(f"topic-{topic}", _topic_feed(socket, topic, await live.hub().tap(TOPICS[topic])))
    await socket.answer({"type": "subscribed", "topics": topics}, reply_to=message.get("id"))


async def _topic_feed(socket: ClientSocket, topic: str, tap: live.Tap) -> None:
    try:
        async for data in tap:
            if data == live.RESYNC or tap.skipped():
                await socket.answer({"type": "resync", "topic": topic})
                continue
            hint = json.loads(data)
            if _may_know(socket.user, socket.granted, topic, hint):
                await socket.answer(hint)
    finally:
        await tap.close()


def _may_know(user: Any, granted: Granted, topic: str, hint: dict[str, Any]) -> bool:
    if topic == "nodes":
        return has(user, "nodes.view") or str(hint.get("id")) in granted.nodes()
    if topic == "containers":
        if has(user, "containers.view") and (hint.get("owner") == str(user.pk) or has(user, "containers.any")):
            return True
        return str(hint.get("id")) in granted.containers()
    if topic in ("backups", "schedules"):
        return _may_know(user, granted, "containers", {"id": hint.get("container"), "owner": hint.get("owner")})
    if topic == "machines":
        return has(user, "machines.view")
    if topic == "reservations":
        own = hint.get("owner") == str(user.pk) and (has(user, "machines.view") or has(user, "reservations.create"))
        return own or has(user, "reservations.any")
    return may_know(user, owner=hint.get("owner"), target_type=str(hint.get("target_type")))


def _topics(message: dict[str, Any]) -> list[str]:
    topics = message.get("topics")
    if not isinstance(topics, list) or not all(isinstance(t, str) and t in TOPICS for t in topics):
        raise Refusal("invalid", f"topics must be a list of {', '.join(TOPICS)}.")
    return topics


async def unsubscribe(socket: ClientSocket, message: dict[str, Any]) -> None:
    """`{topics: [...]}`."""
    for topic in _topics(message):
        socket.stop(f"topic-{topic}")


async def power_action(socket: ClientSocket, message: dict[str, Any]) -> None:
    """`{container_id, action, timeout_seconds?}` -> `operation`."""
    action = text_of(message, "action", limit=16)
    if action not in power.ACTIONS:
        raise Refusal("invalid", f"action must be one of {', '.join(power.ACTIONS)}.")
    container = await container_of(socket, message, power.CAPABILITY[action])
    operation = await database_sync_to_async(power.act)(container, action, user=socket.user, actor=socket.user.as_actor())
    await socket.answer(
        {"type": "operation", "id": str(operation.pk), "operation_id": str(operation.pk), "kind": operation.kind, "status": operation.status},
        reply_to=message.get("id"),
    )


async def stdin(socket: ClientSocket, message: dict[str, Any]) -> None:
    """`{container_id, data or command}`: a line for the main process."""
    text = text_of(message, "command" if "command" in message else "data")
    container = await container_of(socket, message, "containers.console")
    await database_sync_to_async(logs.write_stdin)(container, text=text.rstrip("\n"), actor=socket.user.as_actor())
    await socket.answer({"type": "written"}, reply_to=message.get("id"))


Handler = Callable[["ClientSocket", dict[str, Any]], Awaitable[None]]

HANDLERS: dict[str, Handler] = {
    "use": use,
    "ping": ping,
    "subscribe_logs": subscribe_logs,
    "unsubscribe_logs": unsubscribe_logs,
    "subscribe_stats": subscribe_stats,
    "unsubscribe_stats": unsubscribe_stats,
    "subscribe": subscribe,
    "unsubscribe": unsubscribe,
    "power": power_action,
    "stdin": stdin,
    "container_command": stdin,
    "execute_command": shells.execute,
    "exec_command": shells.execute,
    "cancel": shells.cancel,
    "signal": shells.signal,
    "terminal_open": shells.terminal_open,
    "terminal_input": shells.terminal_input,
    "terminal_resize": shells.terminal_resize,
    "terminal_close": shells.terminal_close,
    "terminal_list": shells.terminal_list,
    "list_files": filetalk.list_files,
    "read_file": filetalk.read_file,
    "write_file": filetalk.write_file,
}
"""The closed list of message types."""
