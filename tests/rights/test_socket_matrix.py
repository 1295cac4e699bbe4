"""The authorization matrix of the sockets: every message type of `/ws` x every caller, and who may open which socket (SECURITY D10, F04).

`ok` means: understood and let in (the node is away, so what needs it then says `node_offline`). A type that is not in the table fails here.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from channels.testing import ApplicationCommunicator

from containers.live.handlers import HANDLERS, TOPICS
from containers.services.power import ACTIONS
from lormas.asgi import application
from lormas.common import live
from tests.rights.stage import CALLERS, Stage

pytestmark = [pytest.mark.redis, pytest.mark.django_db(transaction=True)]
AWAY, HIDDEN, NONE = "node_offline", "not_found", "no_such_terminal"
TABLE: dict[str, tuple[str, ...]] = {
    # message                stranger viewer  owner   operator administrator bare-key expired
    "use": (HIDDEN, HIDDEN, "ok", "ok", "ok", HIDDEN, HIDDEN),
    "ping": ("ok", "ok", "ok", "ok", "ok", "ok", "ok"),
    "subscribe_logs": (HIDDEN, HIDDEN, "ok", "ok", "ok", HIDDEN, HIDDEN),
    "unsubscribe_logs": ("ok", "ok", "ok", "ok", "ok", "ok", "ok"),
    "subscribe_stats": (HIDDEN, HIDDEN, "ok", "ok", "ok", HIDDEN, HIDDEN),
    "unsubscribe_stats": ("ok", "ok", "ok", "ok", "ok", "ok", "ok"),
    "subscribe:containers": ("ok", "ok", "ok", "ok", "ok", "ok", "ok"),  # each hint is then told to those who may know it (test_granted_sockets)
    "subscribe:nodes": ("ok", "ok", "ok", "ok", "ok", "ok", "ok"),
    "subscribe:backups": ("ok", "ok", "ok", "ok", "ok", "ok", "ok"),
    "subscribe:schedules": ("ok", "ok", "ok", "ok", "ok", "ok", "ok"),
    "subscribe:machines": ("ok", "ok", "ok", "ok", "ok", "ok", "ok"),
    "subscribe:reservations": ("ok", "ok", "ok", "ok", "ok", "ok", "ok"),
    "subscribe:operations": ("ok", "ok", "ok", "ok", "ok", "ok", "ok"),
    "unsubscribe:containers": ("ok", "ok", "ok", "ok", "ok", "ok", "ok"),
    "stdin": (HIDDEN, HIDDEN, AWAY, AWAY, AWAY, HIDDEN, HIDDEN),
    "container_command": (HIDDEN, HIDDEN, AWAY, AWAY, AWAY, HIDDEN, HIDDEN),
    "execute_command": (HIDDEN, HIDDEN, AWAY, AWAY, AWAY, HIDDEN, HIDDEN),
    "exec_command": (HIDDEN, HIDDEN, AWAY, AWAY, AWAY, HIDDEN, HIDDEN),
    "cancel": ("ok", "ok", "ok", "ok", "ok", "ok", "ok"),  # knows only what this very socket began
    "signal": (HIDDEN, HIDDEN, AWAY, AWAY, AWAY, HIDDEN, HIDDEN),
    "list_files": (HIDDEN, HIDDEN, AWAY, AWAY, AWAY, HIDDEN, HIDDEN),
    "read_file": (HIDDEN, HIDDEN, AWAY, AWAY, AWAY, HIDDEN, HIDDEN),
    "write_file": (HIDDEN, HIDDEN, AWAY, AWAY, AWAY, HIDDEN, HIDDEN),
    "terminal_open": (HIDDEN, HIDDEN, AWAY, AWAY, AWAY, HIDDEN, HIDDEN),
    "terminal_list": (HIDDEN, HIDDEN, AWAY, AWAY, AWAY, HIDDEN, HIDDEN),
    # these speak of a terminal that this very socket has open: nobody has one here
    "terminal_input": (NONE,) * 7,
    "terminal_resize": (NONE,) * 7,
    "terminal_close": (NONE,) * 7,
    **{f"power:{action}": (HIDDEN, HIDDEN, AWAY, AWAY, AWAY, HIDDEN, HIDDEN) for action in ACTIONS},
}
PEOPLE = tuple(caller for caller in CALLERS if caller not in ("anonymous", "node"))
SILENT = ("unsubscribe", "unsubscribe_stats", "subscribe_stats")
"""Say nothing where all is well: the answer to a ping behind them does."""
BODY: dict[str, dict[str, Any]] = {
    "stdin": {"data": "x"},
    "container_command": {"command": "x"},
    "execute_command": {"command": "x"},
    "exec_command": {"command": ["x"]},
    "signal": {"pid": 1},
    "read_file": {"path": "x"},
    "write_file": {"path": "x", "content": "x"},
    "terminal_open": {"cols": 80, "rows": 24},
    "terminal_input": {"data": "x"},
}


async def opened(path: str, authorization: str = "") -> tuple[ApplicationCommunicator, dict[str, Any]]:
    """A socket and its first answer."""
    headers = [(b"host", b"testserver"), *([(b"authorization", authorization.encode())] if authorization else [])]
    socket = ApplicationCommunicator(
        application,
        {
            "type": "websocket",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "subprotocols": [],
        },
    )
    await socket.send_input({"type": "websocket.connect"})
    return socket, await socket.receive_output(60)


async def asked(socket: ApplicationCommunicator, word: str, container_id: str) -> str:
    """Say it once; the code of the answer."""
    kind, _, what = word.partition(":")
    extra: dict[str, Any] = {"action": what} if kind == "power" else {"topics": [what]} if what else {}
    await socket.send_input(
        {"type": "websocket.receive", "text": json.dumps({"type": kind, "id": word, "container_id": container_id, **extra, **BODY.get(kind, {})})}
    )
    if kind in SILENT:
        await socket.send_input({"type": "websocket.receive", "text": json.dumps({"type": "ping", "id": word})})
    while True:
        event = await socket.receive_output(60)
        assert event["type"] == "websocket.send", event
        answer = json.loads(event["text"])
        if answer.get("reply_to") == word:
            return answer["code"] if answer["type"] == "error" else "ok"


def authorization(stage: Stage, caller: str) -> str:
    return str(stage.clients[caller].defaults.get("HTTP_AUTHORIZATION", ""))


@pytest.mark.parametrize("caller", PEOPLE)
async def test_every_message_answers_every_caller_as_the_table_says(stage: Stage, caller: str) -> None:
    socket, first = await opened("/ws", authorization(stage, caller))
    assert first["type"] == "websocket.accept"
    assert json.loads((await socket.receive_output(60))["text"])["type"] == "authenticated"
    found = {word: await asked(socket, word, str(stage.ids["container_id"])) for word in TABLE}
    await socket.send_input({"type": "websocket.disconnect", "code": 1000})
    await socket.wait(10)
    await live.hub().close()
    assert found == {word: codes[PEOPLE.index(caller)] for word, codes in TABLE.items()}


def test_no_message_type_is_missing_from_the_table() -> None:
    assert {word.partition(":")[0] for word in TABLE} == set(HANDLERS)
    assert {word.partition(":")[2] for word in TABLE if word.startswith("subscribe:")} == set(TOPICS)


WAITING = {("/ws", "anonymous"), ("/api/ws/nodes", "node"), ("/api/ws/nodes", "anonymous")}
"""These are waited for to say who they are: `authenticate`, `hello`."""


async def test_who_may_open_which_socket(stage: Stage) -> None:
    """D04: an agent's token opens the agents' socket and no other; nobody else's opens that one."""
    for caller in CALLERS:
        for path in ("/ws", "/api/ws/nodes", "/ws/elsewhere"):
            socket, first = await opened(path, authorization(stage, caller))
            seen = [first]
            if first["type"] == "websocket.accept" and (path, caller) not in WAITING:
                seen.append(await socket.receive_output(60))
            await socket.send_input({"type": "websocket.disconnect", "code": 1000})
            await socket.wait(10)
            codes = [event.get("code", "open") for event in seen]
            if path == "/ws/elsewhere":
                assert codes == [4404], (caller, path)
            elif path == "/ws" and caller in PEOPLE:
                assert json.loads(seen[1]["text"])["type"] == "authenticated"
            elif path == "/ws":
                assert codes == (["open"] if caller == "anonymous" else ["open", 4401]), (caller, path, seen)
            elif caller != "node":
                assert seen[-1].get("code") == 4401 or json.loads(seen[-1]["text"])["type"] == "refused", (caller, path, seen)
    await live.hub().close()
