"""The agent's side of the link, against a panel of a few lines that misbehaves (SECURITY J12, R06, R18, R41, R43, M3)."""

from __future__ import annotations

import asyncio
import contextlib
import http
import json
import logging
import ssl
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trustme
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from agent import session as link
from agent.config import Config, load
from agent.logsetup import Formatter
from agent.program import Agent
from agent.protocol import frames
from agent.protocol import messages as wire
from tests.agent.conftest import command_of
from tests.agent.tiny import TinyLogs, TinyRuntime

NODE = str(uuid.uuid4())
TOKEN = "canary-token-of-this-node"


def welcome(epoch: int = 1, **changes: Any) -> wire.Welcome:
    values: dict[str, Any] = {
        "node_id": NODE,
        "node_name": "n",
        "protocol": 1,
        "panel_version": "0",
        "panel_instance": NODE,
        "session_epoch": epoch,
        "heartbeat_seconds": 0.2,
        "stats_seconds": 0.2,
        "server_time_unix": time.time(),
    }
    return wire.Welcome(**{**values, **changes})


class StubPanel:
    """Each connection is given to `talk(peer)`; `hellos` has the moments of all tries."""

    def __init__(self, talk: Callable[[Peer], Awaitable[None]]) -> None:
        self.talk = talk
        self.tries: list[float] = []
        self.peers: list[Peer] = []
        self.headers: list[Any] = []
        self.url = ""

    async def handle(self, socket: ServerConnection) -> None:
        self.tries.append(time.monotonic())
        assert socket.request is not None
        self.headers.append(socket.request.headers)
        peer = Peer(socket)
        self.peers.append(peer)
        with contextlib.suppress(ConnectionClosed, TimeoutError):
            peer.hello = await peer.expect(wire.Hello)
            await self.talk(peer)


class Peer:
    """One connection as the panel sees it."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket
        self.hello: wire.Hello | None = None
        self.seen: list[wire.AgentMessage] = []
        self.bulk: list[bytes] = []

    async def send(self, message: wire.Frame) -> None:
        await self.socket.send(wire.encode(message).decode())

    async def receive(self) -> wire.AgentMessage | bytes:
        data = await self.socket.recv()
        if isinstance(data, bytes):
            self.bulk.append(data)
            return data
        self.seen.append(wire.decode_from_agent(data))
        return self.seen[-1]

    async def expect(self, kind: type, seconds: float = 60, where: Callable[[Any], bool] = lambda message: True) -> Any:
        async with asyncio.timeout(seconds):
            while True:
                message = await self.receive()
                if isinstance(message, kind) and where(message):
                    return message


@contextlib.asynccontextmanager
async def stub(talk: Callable[[Peer], Awaitable[None]], **options: Any) -> AsyncIterator[StubPanel]:
    panel = StubPanel(talk)
    async with serve(panel.handle, "127.0.0.1", 0, **options) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        panel.url = f"{'https' if options.get('ssl') else 'http'}://127.0.0.1:{port}"
        yield panel


@contextlib.asynccontextmanager
async def agent(folder: Path, panel: StubPanel, runtime: TinyRuntime | None = None, logs: TinyLogs | None = None, **changes: Any) -> Any:
    config = Config(data_dir=folder, panel_url=panel.url, **{"token": TOKEN, "instance_id": "i", "panel_instance": NODE, **changes})
    made = Agent(config, runtime=runtime or TinyRuntime(), logs=logs or TinyLogs())
    task = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def eventually(check: Callable[[], Any], seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while not (found := check()):
        assert time.monotonic() < end, "not in time"
        await asyncio.sleep(0.01)
    return found


async def listen(peer: Peer) -> None:
    await peer.send(welcome())
    while True:
        await peer.receive()


async def test_says_hello_with_its_token_in_the_header_beats_and_answers_pings(tmp_path: Path) -> None:
    async def talk(peer: Peer) -> None:
        await peer.send(welcome())
        await peer.send(wire.Ping(nonce="n1"))
        assert (await peer.expect(wire.Pong)).nonce == "n1"
        await peer.expect(wire.Heartbeat, where=lambda beat: beat.seq >= 3 and beat.engine_ok and beat.usage.cpu_percent == 3.0)
        await peer.expect(wire.StatsReport)
        peer.bulk.append(b"all seen")

    async with stub(talk) as panel, agent(tmp_path, panel):
        await eventually(lambda: panel.peers and panel.peers[0].bulk)
        hello = panel.peers[0].hello
        assert hello is not None
        assert (hello.protocol, hello.instance_id, hello.containers_complete, hello.facts.runtime_kind) == (1, "i", True, "fake")
        assert hello.facts.cpu_cores >= 1 and hello.facts.total_memory_bytes > 0 and hello.facts.kernel_version
        assert panel.headers[0]["Authorization"] == f"Bearer {TOKEN}"


async def test_a_refused_token_says_why_and_tries_at_most_twelve_times_a_minute(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """J12: with time that runs a hundred times faster; and the reason is on stderr."""

    async def talk(peer: Peer) -> None:
        await peer.send(wire.Refused(code="bad_token", reason="This token has been replaced by a newer one.", retry_after_seconds=0))
        await peer.socket.close(4401)

    naps: list[float] = []
    real = asyncio.sleep

    async def fast(seconds: float) -> None:
        naps.append(seconds)
        await real(min(seconds, seconds / 100))

    monkeypatch.setattr(link.asyncio, "sleep", fast)
    async with stub(talk) as panel, agent(tmp_path, panel):
        await eventually(lambda: len(panel.tries) >= 8, 60)
    pauses = [nap for nap in naps if nap >= 6]
    assert len(pauses) >= 7, "each refusal waits at least six seconds: ten tries a minute"
    assert "This token has been replaced by a newer one." in capsys.readouterr().err


async def test_a_close_code_without_a_reason_is_understood_too(tmp_path: Path, capsys: Any) -> None:
    async def talk(peer: Peer) -> None:
        await peer.socket.close(4401)

    async with stub(talk) as panel, agent(tmp_path, panel):
        await eventually(lambda: panel.tries)
        await eventually(lambda: "join again" in capsys.readouterr().err)


async def test_a_redirect_is_never_followed(tmp_path: Path, caplog: Any) -> None:
    """The token goes to the panel that was named, nowhere else."""
    caught: list[Any] = []

    async def thief(peer: Peer) -> None:
        caught.append(peer)

    async with stub(thief) as other:

        def redirect(connection: ServerConnection, request: Any) -> Any:
            answer = connection.respond(http.HTTPStatus.FOUND, "")
            answer.headers["Location"] = other.url.replace("http", "ws", 1) + "/api/ws/nodes"
            return answer

        async with stub(listen, process_request=redirect) as panel, agent(tmp_path, panel):
            with caplog.at_level(logging.WARNING):
                await eventually(lambda: any("redirects" in str(vars(record)) for record in caplog.records))
        assert (caught, other.tries) == ([], [])


async def test_tls_is_verified_unless_told_otherwise(tmp_path: Path, caplog: Any) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    async with stub(listen, ssl=context) as panel:
        async with agent(tmp_path / "a", panel):
            with caplog.at_level(logging.WARNING):
                await eventually(lambda: any("not trusted" in str(vars(record)) for record in caplog.records))
        assert panel.tries == []
        async with agent(tmp_path / "b", panel, insecure=True):
            await eventually(lambda: panel.peers and panel.peers[0].hello)


async def test_a_link_that_falls_silent_is_dropped_and_dialled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R06: half open; nothing comes, nothing breaks."""
    monkeypatch.setattr(link, "SILENCE_SECONDS", 0.5)

    async def talk(peer: Peer) -> None:
        await peer.send(welcome(epoch=len(panel.tries)))
        await peer.socket.wait_closed()

    async with stub(talk) as panel, agent(tmp_path, panel):
        await eventually(lambda: len(panel.tries) >= 2, 60)


async def test_an_older_session_epoch_is_not_believed(tmp_path: Path) -> None:
    async def talk(peer: Peer) -> None:
        await peer.send(welcome(epoch=10 - len(panel.tries)))
        if len(panel.tries) == 1:
            await peer.expect(wire.Heartbeat)
            await peer.socket.close(1012)
        else:
            await peer.receive()

    async with stub(talk) as panel, agent(tmp_path, panel):
        await eventually(lambda: len(panel.tries) >= 2, 60)
        with pytest.raises(AssertionError):
            await eventually(lambda: panel.peers[1].seen[1:], 1)


async def test_results_and_facts_are_said_again_at_the_next_hello_until_acknowledged(tmp_path: Path) -> None:
    command = command_of("container.create")

    async def talk(peer: Peer) -> None:
        await peer.send(welcome(epoch=len(panel.tries)))
        if len(panel.tries) == 1:
            await peer.send(command)
            await peer.expect(wire.Result)
            await peer.socket.close(1012)
            return
        assert peer.hello is not None
        assert peer.hello.known_commands == [command.id]
        await peer.expect(wire.Result, where=lambda result: result.command_id == command.id)
        fact = await peer.expect(wire.StateFact)
        await peer.send(wire.ResultAck(command_id=command.id))
        await peer.send(wire.FactAck(fact_id=fact.fact_id))
        peer.bulk.append(b"done")
        await peer.receive()

    async with stub(talk) as panel, agent(tmp_path, panel) as made:
        await eventually(lambda: len(panel.peers) > 1 and panel.peers[1].bulk, 60)
        async with asyncio.timeout(60):
            while await made._outbox.known_commands() or await made._outbox.unacknowledged_facts():
                await asyncio.sleep(0.02)


async def test_fences_come_before_any_command(tmp_path: Path) -> None:
    """R39."""
    runtime = TinyRuntime()
    moved = str(uuid.uuid4())
    runtime.reports[moved] = wire.ContainerReport(container_id=moved, state="running")

    async def talk(peer: Peer) -> None:
        await peer.send(welcome(fenced=[moved]))
        await peer.send(command_of("container.create"))
        await peer.expect(wire.Result)

    async with stub(talk) as panel, agent(tmp_path, panel, runtime):
        await eventually(lambda: "start" in runtime.calls)
        assert runtime.calls[0] == "stop"
        assert panel.tries


async def test_the_new_token_is_on_disk_before_it_is_confirmed(tmp_path: Path) -> None:
    """R43, R44."""

    async def talk(peer: Peer) -> None:
        await peer.send(welcome(epoch=len(panel.tries)))
        if len(panel.tries) == 1:
            await peer.send(wire.TokenRotated(rotation_id="r1", token="fresh-token"))
            await peer.expect(wire.Ack, where=lambda ack: ack.command_id == "r1")
            assert load(tmp_path, {}).token == "fresh-token"
            await peer.socket.close(1012)

    async with stub(talk) as panel, agent(tmp_path, panel):
        await eventually(lambda: len(panel.headers) >= 2, 60)
        assert panel.headers[1]["Authorization"] == "Bearer fresh-token"


async def test_unknown_frames_are_answered_with_oops(tmp_path: Path) -> None:
    """R41."""

    async def talk(peer: Peer) -> None:
        await peer.send(welcome())
        for text in ("{", '{"type":"self_destruct"}', '{"type":"command"}', "[" * 5000):
            await peer.socket.send(text)
            await peer.expect(wire.Oops)
        await peer.socket.send(b"\xff\x00")
        await peer.send(wire.Ping(nonce="alive"))
        await peer.expect(wire.Pong)
        peer.bulk.append(b"done")
        await peer.receive()

    async with stub(talk) as panel, agent(tmp_path, panel):
        await eventually(lambda: panel.peers and panel.peers[0].bulk)


async def test_a_viewer_that_reads_nothing_gets_its_credit_and_no_more_and_delays_no_command(tmp_path: Path) -> None:
    """M3, F11: bulk is under credit, control goes first."""
    logs = TinyLogs()
    watched = str(uuid.uuid4())
    for number in range(200):
        logs.feed(watched, first=number, last=number, payload=b"x" * 10_000)

    async def talk(peer: Peer) -> None:
        await peer.send(welcome())
        await peer.send(wire.Watch(stream_id=str(uuid.uuid4()), container_id=watched, credit_bytes=100_000))
        await eventually_received(peer, 100_000)
        await peer.send(command_of("container.create"))
        await peer.expect(wire.Result, seconds=60)
        before = sum(map(len, peer.bulk))
        assert 100_000 <= before < 120_000
        peer.bulk.append(b"done")
        await peer.receive()

    async def eventually_received(peer: Peer, size: int) -> None:
        async with asyncio.timeout(60):
            while sum(map(len, peer.bulk)) < size:
                await peer.receive()

    async with stub(talk) as panel, agent(tmp_path, panel, logs=logs):
        await eventually(lambda: panel.peers and panel.peers[0].bulk[-1:] == [b"done"])


async def test_a_watch_ends_with_its_lease(tmp_path: Path) -> None:
    logs = TinyLogs()
    watched, stream = str(uuid.uuid4()), str(uuid.uuid4())

    async def talk(peer: Peer) -> None:
        await peer.send(welcome())
        await peer.send(wire.Watch(stream_id=stream, container_id=watched, lease_seconds=0.1))
        logs.feed(watched, first=1, last=1, payload=b"[]")
        await peer.expect(bytes)
        await asyncio.sleep(3)
        logs.feed(watched, first=2, last=2, payload=b"[]")
        with contextlib.suppress(TimeoutError):
            await peer.expect(bytes, seconds=1)
        assert len(peer.bulk) == 1
        peer.bulk.append(b"done")
        await peer.receive()

    async with stub(talk) as panel, agent(tmp_path, panel, logs=logs):
        await eventually(lambda: panel.peers and panel.peers[0].bulk[-1:] == [b"done"], 60)


async def test_execs_die_with_the_link(tmp_path: Path) -> None:
    """F12."""
    runtime = TinyRuntime()
    container_id = str(uuid.uuid4())
    runtime.reports[container_id] = wire.ContainerReport(container_id=container_id, state="running")

    async def talk(peer: Peer) -> None:
        await peer.send(welcome(epoch=len(panel.tries)))
        if len(panel.tries) == 1:
            start = wire.ExecStart(stream_id=str(uuid.uuid4()), container_id=container_id, argv=["sh"])
            await peer.send(start)
            await peer.socket.send(frames.pack_exec(frames.ExecFrame(frames.EXEC_STDIN, start.stream_id, b"echo")))
            await peer.expect(bytes)
            await peer.socket.close(1012)
            return
        await peer.receive()

    async with stub(talk) as panel, agent(tmp_path, panel, runtime):
        await eventually(lambda: runtime.execs and runtime.execs[0].killed, 60)


async def test_the_engine_down_is_told_at_once_and_its_return_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """R12, R13: not after one slow answer, but within seconds; without waiting for the next heartbeat."""
    monkeypatch.setattr("agent.engine.PROBE_SECONDS", 0.05)
    runtime = TinyRuntime()

    async def talk(peer: Peer) -> None:
        await peer.send(welcome(heartbeat_seconds=60))
        await peer.expect(wire.Heartbeat)
        runtime.broken = "connection refused"
        down = await peer.expect(wire.Heartbeat, seconds=60)
        assert (down.engine_ok, "connection refused" in down.engine_error) == (False, True)
        runtime.broken = ""
        assert (await peer.expect(wire.Heartbeat, seconds=60)).engine_ok
        assert (await peer.expect(wire.Snapshot, seconds=60)).complete
        peer.bulk.append(b"done")
        await peer.receive()

    async with stub(talk) as panel, agent(tmp_path, panel, runtime):
        await eventually(lambda: panel.peers and panel.peers[0].bulk, 60)


async def test_an_engine_that_is_down_at_the_start_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("agent.engine.PROBE_SECONDS", 0.05)
    runtime = TinyRuntime()
    runtime.broken = "no such socket"

    async def talk(peer: Peer) -> None:
        assert peer.hello is not None
        assert not peer.hello.containers_complete
        await peer.send(welcome())
        await peer.send(command_of("container.create"))
        await peer.expect(wire.Heartbeat, where=lambda beat: not beat.engine_ok)
        runtime.broken = ""
        assert (await peer.expect(wire.Result)).ok
        peer.bulk.append(b"done")
        await peer.receive()

    async with stub(talk) as panel, agent(tmp_path, panel, runtime):
        await eventually(lambda: panel.peers and panel.peers[0].bulk, 60)


async def test_a_link_that_is_cut_while_the_agent_takes_up_what_runs_leaves_nothing_half_done(tmp_path: Path) -> None:
    """The rest of it is done all the same: without it nobody would follow the engine's events until the next restart."""
    taking_up, go_on = asyncio.Event(), asyncio.Event()

    class SlowLogs(TinyLogs):
        async def resume_all(self, container_ids: list[str]) -> None:
            taking_up.set()
            await go_on.wait()
            await super().resume_all(container_ids)

    runtime = TinyRuntime()

    async def talk(peer: Peer) -> None:
        await peer.send(welcome(len(panel.peers)))
        if len(panel.peers) == 1:
            await asyncio.wait_for(taking_up.wait(), 60)
            await peer.socket.close()
            return
        go_on.set()
        command = command_of("container.create")
        await peer.send(command)
        assert (await peer.expect(wire.Result)).ok
        runtime.happen(command.container_id, "die", state="exited", exit_code=3)
        await peer.expect(wire.StateFact, where=lambda fact: fact.report.state == "exited")
        peer.bulk.append(b"done")
        await peer.receive()

    async with stub(talk) as panel, agent(tmp_path, panel, runtime, SlowLogs(), panel_instance=""):
        await eventually(lambda: len(panel.peers) > 1 and panel.peers[1].bulk, 60)


def test_secrets_never_get_into_the_log() -> None:
    """F13: and a line is one line, whatever is in it."""
    record = logging.makeLogRecord({"msg": "joined", "levelname": "INFO", "token": TOKEN, "node_token": TOKEN, "password": "x", "node": "n\nforged"})
    line = Formatter().format(record)
    assert TOKEN not in line
    assert "\n" not in line
    assert json.loads(line)["node"] == "n\nforged"
