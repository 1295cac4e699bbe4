"""Messages of `/ws` that run something: `execute_command`, terminals, signals. Output flows under the browser's own credit."""

from __future__ import annotations

import codecs
import re
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from channels.db import database_sync_to_async

from containers import access, uses
from containers.live.basics import Refusal, container_of, integer_of, run_apart, text_of
from containers.models import Container, ExecRecord
from containers.services import execs
from containers.validation import check_command, check_exec
from lormas.common import live
from lormas.common.errors import NodeUnavailable, Problem
from nodes.streams import Chunk, Ended, NodeStream, Note, open_stream

if TYPE_CHECKING:
    from containers.live.socket import ClientSocket

MOST_EXECS = 5
"""At a time, of one person in one process (F12)."""
MOST_VIEWS = 10
RIGHTS_SECONDS = 5.0
NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,31}$")
USER = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,63})?$")

_running: dict[str, int] = {}


def _count(user: Any, step: int) -> None:
    key = str(user.pk)
    now = _running.get(key, 0) + step
    if now > MOST_EXECS:
        raise Refusal("too_many", f"At most {MOST_EXECS} of your commands run at a time: wait until one has ended.")
    if now <= 0:
        _running.pop(key, None)
    else:
        _running[key] = now


def _argv(message: dict[str, Any]) -> tuple[list[str], str]:
    """(argv, as it was typed). With `args` no shell takes part; without, a text is a line for the container's shell, a list is run as it is."""
    command, extra = message.get("command"), message.get("args")
    try:
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
    return argv, command if isinstance(command, str) and extra is None else " ".join(argv)


async def _open(container: Container, op: Any, payload: dict[str, Any]) -> NodeStream:
    if container.node_id is None:
        raise NodeUnavailable("This container has no node yet.")
    try:
        return await open_stream(container.node_id, op, container_id=str(container.pk), payload=payload)
    except live.NodeOffline as error:
        raise NodeUnavailable(f"The node of this container is not connected: {error}.") from None


async def execute(socket: ClientSocket, message: dict[str, Any]) -> None:
    """`execute_command {command, working_dir?, timeout_seconds?}` / `exec_command {command, args[], cwd}` -> `output`..., `exit {code}`.

    `cancel {id}` of the same id kills it; so does the end of the socket.
    """
    container = await container_of(socket, message, "containers.exec")
    argv, typed = _argv(message)
    folder = text_of(message, "working_dir" if "working_dir" in message else "cwd", default="", limit=4096)
    seconds = integer_of(message, "timeout_seconds", default=300, minimum=1, maximum=3600)
    execs.require_running(container)
    reply_to = message.get("id")
    _count(socket.user, 1)

    async def run() -> None:
        stream: NodeStream | None = None
        made: ExecRecord | None = None
        ended = Ended(None, "cancelled", "It was cancelled.")
        decoders = {name: codecs.getincrementaldecoder("utf-8")("replace") for name in ("stdout", "stderr")}
        try:
            made = await database_sync_to_async(execs.begin_exec)(
                container, user=socket.user, actor=socket.user.as_actor(), command=typed, working_dir=folder
            )
            stream = await _open(container, "exec", {"argv": argv, "working_dir": folder, "timeout_seconds": seconds})
            async for item in stream:
                if isinstance(item, Chunk):
                    if text := decoders[item.stream].decode(item.data):
                        await socket.answer({"type": "output", "stream": item.stream, "data": text}, reply_to=reply_to)
                elif isinstance(item, Ended):
                    ended = item
            if ended.code:
                await socket.answer({"type": "error", "code": ended.code, "message": ended.detail}, reply_to=reply_to)
            else:
                await socket.answer({"type": "exit", "code": ended.exit_code}, reply_to=reply_to)
        except Problem as problem:
            ended = Ended(None, problem.code)
            await socket.answer({"type": "error", "code": problem.code, "message": problem.detail}, reply_to=reply_to)
        finally:
            _count(socket.user, -1)
            if stream is not None:
                await stream.leave()
            if made is not None:
                await database_sync_to_async(execs.end_exec)(made, exit_code=ended.exit_code, error=ended.code)

    work = run()
    try:
        key = run_apart(socket, "exec", container, "containers.exec", work)
    except BaseException:
        _count(socket.user, -1)
        raise
    if isinstance(reply_to, str | int):
        socket.named[f"exec:{reply_to}"] = key


async def cancel(socket: ClientSocket, message: dict[str, Any]) -> None:
    """`{id: <of execute_command>}`: kill it. `exec_id` where the message has an id of its own."""
    named = message.get("exec_id", message.get("id"))
    key = socket.named.pop(f"exec:{named}", "")
    if key:
        socket.stop(key)
    await socket.answer({"type": "cancelled", "exec_id": named, "found": bool(key)}, reply_to=message.get("id"))


# --------------------------------------------------------------------------------------------------------------- terminals


@dataclass(slots=True)
class View:
    """One terminal that this socket looks at."""

    container_id: str
    name: str
    stream: NodeStream
    checked_at: float = field(default_factory=time.monotonic)


async def terminal_open(socket: ClientSocket, message: dict[str, Any]) -> None:
    """`{container_id, name?, cols, rows, command?, user?, working_dir?}` -> `terminal_opened {terminal_id, name, cols, rows, viewers, recorded}`,
    then `terminal_output {terminal_id, data}` beginning with what it wrote before; at its end `terminal_closed {terminal_id, code}`.

    The terminal lives on when the socket ends; the same name again shows it again.
    """
    container = await container_of(socket, message, "containers.exec")
    name = text_of(message, "name", default="main", limit=32)
    user = text_of(message, "user", default="", limit=129)
    if not NAME.match(name):
        raise Refusal("invalid", "A terminal's name is 1 to 32 letters, digits, spaces, dots, dashes or underscores.")
    if user and not USER.match(user):
        raise Refusal("invalid", "user is a name or number of the container's, or user:group.")
    columns = integer_of(message, "cols", default=80, minimum=2, maximum=500)
    rows = integer_of(message, "rows", default=24, minimum=2, maximum=300)
    argv = _argv(message)[0] if message.get("command") else []
    folder = text_of(message, "working_dir", default="", limit=4096)
    execs.require_running(container)
    if len(socket.terminals) >= MOST_VIEWS:
        raise Refusal("too_many", f"At most {MOST_VIEWS} terminals are shown at a time: close one.")
    record = await database_sync_to_async(execs.must_record)(container, socket.user)
    made = await database_sync_to_async(execs.begin_exec)(
        container, user=socket.user, actor=socket.user.as_actor(), command=name, working_dir=folder, kind=ExecRecord.Kind.TERMINAL
    )
    payload = {
        "name": name,
        "argv": argv,
        "user": user,
        "working_dir": folder,
        "columns": columns,
        "rows": rows,
        "record": record,
        "opened_by": socket.user.label[:128],
    }
    try:
        stream = await _open(container, "terminal", payload)
    except Problem as problem:
        await database_sync_to_async(execs.end_exec)(made, exit_code=None, error=problem.code)
        raise
    view = socket.terminals[stream.stream_id] = View(str(container.pk), name, stream)
    run_apart(socket, "terminal", container, "containers.exec", _show(socket, view, made, message.get("id")))


async def _show(socket: ClientSocket, view: View, made: ExecRecord, reply_to: Any) -> None:
    terminal_id, told = view.stream.stream_id, False
    ended = Ended(None, "")
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    try:
        async for item in view.stream:
            if isinstance(item, Chunk):
                if text := decoder.decode(item.data):
                    await socket.answer({"type": "terminal_output", "terminal_id": terminal_id, "data": text})
            elif isinstance(item, Note):
                await _note(socket, view, item.note, reply_to if not told else None, opened=not told)
                told = True
            else:
                ended = item
        if ended.code and not told:
            await socket.answer({"type": "error", "code": ended.code, "message": ended.detail}, reply_to=reply_to)
        else:
            closed = {"type": "terminal_closed", "terminal_id": terminal_id, "name": view.name, "code": ended.exit_code}
            await socket.answer({**closed, "reason": ended.code, "message": ended.detail})
    finally:
        socket.terminals.pop(terminal_id, None)
        await view.stream.leave()
        await database_sync_to_async(execs.end_exec)(made, exit_code=ended.exit_code, error=ended.code)


async def _note(socket: ClientSocket, view: View, note: dict[str, Any], reply_to: Any, *, opened: bool) -> None:
    base = {"terminal_id": view.stream.stream_id, "name": view.name}
    if "skipped" in note:  # it was too slow: begin with a clean screen
        await socket.answer({"type": "terminal_output", "terminal_id": view.stream.stream_id, "data": "\x1bc", "skipped": note["skipped"]})
        return
    facts = {"cols": note.get("columns"), "rows": note.get("rows"), "viewers": note.get("viewers"), "recorded": bool(note.get("recorded"))}
    if opened:
        await socket.answer({"type": "terminal_opened", "container_id": view.container_id, **base, **facts}, reply_to=reply_to)
    else:
        await socket.answer({"type": "terminal_resized", **base, **facts})


async def _view(socket: ClientSocket, message: dict[str, Any]) -> View:
    """The terminal a message means: by `terminal_id`, by `name`, or the only one. The right to it is at most 5 s old."""
    wanted, name = message.get("terminal_id"), message.get("name")
    fits = [view for key, view in socket.terminals.items() if (wanted is None or key == wanted) and (name is None or view.name == name)]
    if len(fits) != 1:
        raise Refusal("no_such_terminal", "Name one terminal that you have open by terminal_id.")
    view = fits[0]
    if time.monotonic() - view.checked_at > RIGHTS_SECONDS:
        await database_sync_to_async(access.get_container)(socket.user, view.container_id, "containers.exec")
        view.checked_at = time.monotonic()
    return view


async def terminal_input(socket: ClientSocket, message: dict[str, Any]) -> None:
    """`{terminal_id, data}`: keys, as the terminal would send them."""
    data = text_of(message, "data", limit=32_768)
    view = await _view(socket, message)
    if data:
        if uses.is_due(view.container_id):
            await database_sync_to_async(uses.used)(view.container_id, "terminal")
        await view.stream.write(data.encode("utf-8", "replace"))


async def terminal_resize(socket: ClientSocket, message: dict[str, Any]) -> None:
    """`{terminal_id, cols, rows}`; the last one who resizes decides."""
    columns = integer_of(message, "cols", default=80, minimum=2, maximum=500)
    rows = integer_of(message, "rows", default=24, minimum=2, maximum=300)
    await (await _view(socket, message)).stream.resize(columns=columns, rows=rows)


async def terminal_close(socket: ClientSocket, message: dict[str, Any]) -> None:
    """`{terminal_id, kill?}`: stop looking; with `kill` end it for everybody."""
    view = await _view(socket, message)
    if message.get("kill") is True:
        container = await database_sync_to_async(access.get_container)(socket.user, view.container_id, "containers.exec")
        await database_sync_to_async(execs.kill_terminal)(container, name=view.name, actor=socket.user.as_actor())
    await view.stream.leave()
    await socket.answer({"type": "terminal_left", "terminal_id": view.stream.stream_id}, reply_to=message.get("id"))


async def terminal_list(socket: ClientSocket, message: dict[str, Any]) -> None:
    """`{container_id}` -> `terminals {terminals: [...]}`: those that live on the node."""
    from containers import logs

    container = await container_of(socket, message, "containers.exec")
    found = await database_sync_to_async(logs.ask)(container, "terminal.list")
    await socket.answer({"type": "terminals", "container_id": str(container.pk), "terminals": found.get("terminals", [])}, reply_to=message.get("id"))


async def signal(socket: ClientSocket, message: dict[str, Any]) -> None:
    """`{container_id, pid, signal}` -> `signalled`."""
    name = text_of(message, "signal", default="SIGTERM", limit=16).upper()
    name = name if name.startswith("SIG") else f"SIG{name}"
    if name not in execs.SIGNALS:
        raise Refusal("invalid", f"signal must be one of {', '.join(execs.SIGNALS)}.")
    pid = integer_of(message, "pid", default=0, minimum=1, maximum=2**22)
    container = await container_of(socket, message, "containers.exec")
    await database_sync_to_async(execs.signal_process)(container, pid=pid, signal=name, actor=socket.user.as_actor())
    await socket.answer({"type": "signalled", "pid": pid, "signal": name}, reply_to=message.get("id"))
