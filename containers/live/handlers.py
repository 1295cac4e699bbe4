"""The messages of `/ws`: one function a type. Each asks access anew (F04); none keeps anything but the socket's own subscriptions."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import msgspec
from channels.db import database_sync_to_async

from accounts.access import has
from agent.protocol.commands import ExecRun
from containers import access, logs
from containers.live.granted import Granted
from containers.live.logfeed import LogFeed
from containers.models import Container
from containers.services import power
from containers.validation import check_command, check_exec
from lormas.common import live
from lormas.common.errors import NodeUnavailable

if TYPE_CHECKING:
    from containers.live.socket import ClientSocket

MAX_TAIL = 10_000
TOPICS = {
    "containers": "ui:containers", "nodes": "ui:nodes", "operations": "ui:operations",
    "machines": "ui:machines", "reservations": "ui:reservations",
}  # fmt: skip
STREAMS = frozenset({"application", "error", "startup", "events"})


class Refusal(Exception):
    """A message of the wrong shape."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def _text(message: dict[str, Any], name: str, *, default: str | None = None, limit: int = 32_768) -> str:
    value = message.get(name, default)
    if not isinstance(value, str) or len(value) > limit:
        raise Refusal("invalid", f"{name} must be a text of at most {limit} characters.")
    return value


def _integer(message: dict[str, Any], name: str, *, default: int, minimum: int, maximum: int) -> int:
    value = message.get(name, default)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or not minimum <= value <= maximum:
        raise Refusal("invalid", f"{name} must be a whole number from {minimum} to {maximum}.")
    return int(value)


async def _container(socket: ClientSocket, message: dict[str, Any], capability: str) -> Container:
    container_id = message.get("container_id", socket.current)
    if not isinstance(container_id, str):
        raise Refusal("invalid", "container_id is missing; name it, or say `use` first.")
    container: Container = await database_sync_to_async(access.get_container)(socket.user, container_id, capability)
    return container


def _key(kind: str, message: dict[str, Any], socket: ClientSocket) -> str:
    container_id = message.get("container_id", socket.current)
    if not isinstance(container_id, str):
        raise Refusal("invalid", "container_id is missing.")
    return f"{kind}:{container_id}"


async def use(socket: ClientSocket, message: dict[str, Any]) -> None:
    """`{container_id}`: meant from now on where none is named."""
    container = await _container(socket, message, "containers.view")
    socket.current = str(container.pk)
    await socket.answer({"type": "using", "container_id": socket.current}, reply_to=message.get("id"))


async def ping(socket: ClientSocket, message: dict[str, Any]) -> None:
    await socket.answer({"type": "pong"}, reply_to=message.get("id"))


async def subscribe_logs(socket: ClientSocket, message: dict[str, Any]) -> None:
    """`{container_id, stream?, after?, tail?}` -> `log` frames."""
    container = await _container(socket, message, "containers.logs")
    if container.node_id is None:
        raise NodeUnavailable("This container has no node yet.")
    stream = message.get("stream")
    wanted = [stream] if isinstance(stream, str) else stream or []
    if not isinstance(wanted, list) or not all(isinstance(s, str) and s in STREAMS for s in wanted):
        raise Refusal("invalid", f"stream must be one or several of {', '.join(sorted(STREAMS))}.")
    feed = LogFeed(
        container_id=str(container.pk),
        node_id=container.node_id,
        after=_integer(message, "after", default=-1, minimum=-1, maximum=2**62),
        tail=_integer(message, "tail", default=200, minimum=0, maximum=MAX_TAIL),
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
    container = await _container(socket, message, "containers.view")
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
    topics = message.get("topics")
    if not isinstance(topics, list) or not all(isinstance(t, str) and t in TOPICS for t in topics):
        raise Refusal("invalid", f"topics must be a list of {', '.join(TOPICS)}.")
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
    if topic == "machines":
        return has(user, "machines.view")
    if topic == "reservations":
        return hint.get("owner") == str(user.pk) or has(user, "reservations.any")
    return hint.get("owner") == str(user.pk) or has(user, "operations.any")


async def unsubscribe(socket: ClientSocket, message: dict[str, Any]) -> None:
    for topic in message.get("topics") or []:
        socket.stop(f"topic-{topic}")


async def power_action(socket: ClientSocket, message: dict[str, Any]) -> None:
    """`{container_id, action, timeout_seconds?}` -> `operation`."""
    action = _text(message, "action", limit=16)
    if action not in power.ACTIONS:
        raise Refusal("invalid", f"action must be one of {', '.join(power.ACTIONS)}.")
    container = await _container(socket, message, power.CAPABILITY[action])
    operation = await database_sync_to_async(power.act)(container, action, user=socket.user, actor=socket.user.as_actor())
    await socket.answer(
        {"type": "operation", "id": str(operation.pk), "operation_id": str(operation.pk), "kind": operation.kind, "status": operation.status},
        reply_to=message.get("id"),
    )


async def stdin(socket: ClientSocket, message: dict[str, Any]) -> None:
    """`{container_id, data or command}`: a line for the main process."""
    text = _text(message, "command" if "command" in message else "data")
    container = await _container(socket, message, "containers.console")
    await database_sync_to_async(logs.write_stdin)(container, text=text.rstrip("\n"), actor=socket.user.as_actor())
    await socket.answer({"type": "written"}, reply_to=message.get("id"))


async def execute(socket: ClientSocket, message: dict[str, Any]) -> None:
    """`execute_command {command, working_dir?}` / `exec_command {command, args[], cwd}` -> `output`, `exit`.

    With `args` no shell takes part; without, a text is a line for the container's own shell, a list is run as it is.
    """
    container = await _container(socket, message, "containers.exec")
    try:
        command, extra = message.get("command"), message.get("args")
        if extra is None:
            argv = check_exec(command)
        elif isinstance(command, str) and command and isinstance(extra, list):
            argv = check_command([command, *extra])
        else:
            raise ValueError("With args, command is a program's name and args a list of texts.")
    except ValueError as error:
        raise Refusal("invalid", str(error)) from None
    if not argv:
        raise Refusal("invalid", "command is missing.")
    folder = _text(message, "working_dir" if "working_dir" in message else "cwd", default="", limit=4096)
    seconds = _integer(message, "timeout_seconds", default=30, minimum=1, maximum=300)
    reply_to = message.get("id")

    async def run() -> None:
        assert container.node_id is not None
        try:
            done = await live.hub().ask_node(
                container.node_id,
                "exec.run",
                container_id=str(container.pk),
                payload=msgspec.to_builtins(ExecRun(argv=argv, working_dir=folder, timeout_seconds=seconds)),
                timeout_seconds=seconds + 5,
            )
        except (live.NodeOffline, live.NodeTimeout) as error:
            await socket.answer({"type": "error", "code": "node_offline", "message": str(error)}, reply_to=reply_to)
            return
        except live.NodeRefused as error:
            await socket.answer({"type": "error", "code": error.code, "message": error.detail}, reply_to=reply_to)
            return
        for stream in ("stdout", "stderr"):
            if done.get(stream):
                await socket.answer({"type": "output", "stream": stream, "data": done[stream]}, reply_to=reply_to)
        await socket.answer({"type": "exit", "code": done.get("exit_code"), "truncated": bool(done.get("truncated"))}, reply_to=reply_to)

    socket.start(
        f"exec-{id(message)}",
        _forget_when_done(socket, f"exec-{id(message)}", run()),
        container_id=str(container.pk),
        capability="containers.exec",
    )


async def _forget_when_done(socket: ClientSocket, key: str, work: Awaitable[None]) -> None:
    try:
        await work
    finally:
        if socket.tasks.get(key) is asyncio.current_task():
            socket.tasks.pop(key, None)


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
    "execute_command": execute,
    "exec_command": execute,
}
"""The closed list of message types."""
