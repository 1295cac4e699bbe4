"""An agent is trusted with its own node and nothing else; rubbish changes nothing and kills nothing (SECURITY D04, D05, D17, F07)."""

from __future__ import annotations

import asyncio
import json
import os
import random
import uuid
from pathlib import Path
from typing import Any

import pytest
from django.core import serializers
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from agent.protocol import frames
from agent.protocol import messages as wire
from agent.protocol.commands import StartPayload
from audit.services import SYSTEM
from containers.models import Container, StatsMinute, StatsSample
from lormas.common import live
from nodes import commands, tokens
from nodes.models import Command, Node, Operation
from nodes.services import register_node
from tests.nodes.rig import FakeAgent, Panel, hello, joined, report

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.redis]
GOLDEN = Path(__file__).parents[1] / "agent" / "golden"


@pytest.fixture
def theirs(registered: Any, alice: Any) -> dict[str, Any]:
    """A second node with a running container and an open command."""
    node, _ = register_node(name="theirs", actor=SYSTEM)
    container = Container.objects.create(
        name="web", owner=alice, node=node, image="busybox", status="running", desired="running", observed="running", observed_seq=5, epoch=2
    )
    command = commands.enqueue(node, "container.stop", payload=commands.COMMANDS["container.stop"](), subject_id=container.pk, epoch=2)
    return {"node": node, "container": container, "command": command}


def everything() -> str:
    """All rows that an agent could touch, but for its own node's."""
    others = [*Container.objects.values_list("pk", flat=True), *Node.objects.filter(name="theirs").values_list("pk", flat=True)]
    rows = [
        *Container.objects.order_by("pk"),
        *Command.objects.order_by("pk"),
        *Operation.objects.order_by("pk"),
        *Node.objects.filter(name="theirs"),
        *StatsSample.objects.filter(subject_id__in=others).order_by("pk"),
        *StatsMinute.objects.filter(subject_id__in=others).order_by("pk"),
    ]
    return serializers.serialize("json", rows)


def spoofs(container_id: str, command_id: str) -> list[wire.Frame | bytes]:
    """Fifteen ways to speak of what is another node's."""
    stolen = report(container_id, "exited", seq=99, epoch=2, exit_code=0)
    log = frames.LogFrame(str(uuid.uuid4()), container_id, 1, 1, 1, b"[]")
    return [
        wire.StateFact(fact_id=1, report=stolen),
        wire.StateFact(fact_id=2, report=report(container_id, "removed", seq=999, epoch=99)),
        wire.Snapshot(snapshot_id="s", complete=True, containers=[stolen]),
        wire.StatsReport(sampled_at_unix=1, node=wire.NodeUsage(), containers=[wire.ContainerStats(container_id=container_id, cpu_percent=1)]),
        wire.Ack(command_id=command_id),
        wire.Progress(command_id=command_id, percent=50),
        wire.Result(command_id=command_id, ok=True, data={"x": 1}),
        wire.Result(command_id=command_id, ok=False, error=wire.ErrorInfo(code="x", detail="x"), report=stolen),
        wire.Result(command_id=command_id, ok=True, report=stolen),
        wire.StateFact(fact_id=3, report=report("not a uuid", seq=1)),
        wire.Snapshot(snapshot_id="s", complete=False, containers=[stolen, report("../../etc")]),
        frames.pack_log(log),
        frames.pack_exec(frames.ExecFrame(frames.EXEC_STDOUT, str(uuid.uuid4()), b"x")),
        wire.StreamEnd(stream_id=str(uuid.uuid4()), exit_code=0),
        b"\xff" * 40,
    ]


@pytest.mark.parametrize("which", range(15))
async def test_what_is_another_nodes_can_not_be_touched_and_three_tries_end_the_session(
    panel: Panel, registered: Any, theirs: Any, in_thread: Any, which: int
) -> None:
    """D04, D17 (whose usage it is): samples of another node's containers are not written, neither as they are nor into a minute."""
    _, token = registered
    before = await in_thread(everything)
    spoof = spoofs(str(theirs["container"].pk), str(theirs["command"].pk))[which]
    async with joined(panel.url, token) as agent:
        for _ in range(3):
            await (agent.socket.send(spoof) if isinstance(spoof, bytes) else agent.send(spoof))
        refused = await agent.expect(wire.Refused)
        assert "not its own" in refused.reason
        with pytest.raises(ConnectionClosed):
            await agent.receive()
    assert await in_thread(everything) == before
    assert panel.said().count("gateway.violation") >= 3


async def test_identity_is_the_tokens_whatever_the_hello_says(panel: Panel, registered: Any, theirs: Any, in_thread: Any) -> None:
    """D05."""
    node, token = registered
    text = json.loads(wire.encode(hello()))
    text |= {"node_id": str(theirs["node"].pk), "id": str(theirs["node"].pk), "node": {"id": str(theirs["node"].pk)}, "sub": str(theirs["node"].pk)}
    before = await in_thread(everything)
    async with joined(panel.url, token, say=json.dumps(text)) as agent:
        assert agent.welcome is not None and agent.welcome.node_id == str(node.pk)
    assert await in_thread(everything) == before


async def test_a_returning_agent_that_still_holds_what_was_moved_is_fenced_not_blamed(
    panel: Panel, registered: Any, theirs: Any, in_thread: Any
) -> None:
    """D06, R39: old news of an old placement is dropped in silence."""
    _, token = registered
    moved = str(theirs["container"].pk)
    before = await in_thread(everything)
    old = report(moved, "running", seq=50, epoch=1)
    async with joined(panel.url, token, say=hello(containers=[old])) as agent:
        assert agent.welcome is not None and agent.welcome.fenced == [moved]
        for count in range(5):
            await agent.send(wire.StateFact(fact_id=count, report=report(moved, "exited", seq=51 + count, epoch=1)))
            assert (await agent.expect(wire.FactAck)).fact_id == count, "acknowledged, so that it is not repeated for ever"
        sample = wire.ContainerStats(container_id=moved)
        await agent.send(wire.StatsReport(sampled_at_unix=1, node=wire.NodeUsage(), containers=[sample]))
        await agent.send(wire.Snapshot(snapshot_id="x", complete=True, containers=[old]))
        await agent.send(wire.StateFact(fact_id=9, report=report(uuid.uuid4())))
        assert (await agent.expect(wire.FactAck)).fact_id == 9
    assert await in_thread(everything) == before


def rubbish(chance: random.Random, golden: list[bytes]) -> str | bytes:
    """One malformed frame: a golden one that was bent, or noise."""
    kind = chance.randrange(10)
    data = bytearray(chance.choice(golden))
    if kind == 0:
        return chance.randbytes(chance.randrange(1, 200))
    if kind == 1:
        return "[" * chance.randrange(1, 20_000)
    if kind == 2:
        return '{"type": ' + json.dumps(chance.choice(["", "hello", "command", "welcome", "x" * 5000, None, 5, ["hello"]])) + "}"
    if kind == 3:
        del data[chance.randrange(len(data)) :]
        return data.decode("utf-8", "replace")
    if kind == 4:
        for _ in range(chance.randrange(1, 8)):
            data[chance.randrange(len(data))] = chance.randrange(32, 127)
        return data.decode("utf-8", "replace")
    value = json.loads(bytes(data))
    keys = [key for key in value if key != "type"] or ["x"]
    lone = "\ud800".encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    bent = [None, -1, 2**70, 1e308, "x" * 10_000, "\x00", [], {}, [[[]]], True, lone]
    for _ in range(chance.randrange(1, 4)):
        value[chance.choice(keys)] = chance.choice(bent)
    return json.dumps(value)


async def test_two_thousand_malformed_frames_change_nothing_and_kill_nothing(
    panel: Panel, registered: Any, theirs: Any, in_thread: Any, until: Any
) -> None:
    """F07. Frames that happen to be well-formed speak of ids that nobody has; violations may end the session, so it comes again."""
    node, token = registered
    golden = [file.read_bytes() for file in sorted(GOLDEN.glob("agent_*.json"))]
    assert len(golden) >= 12
    chance = random.Random(int(os.environ.get("LORMAS_FUZZ_SEED", "4")))
    before = await in_thread(everything)
    sent = 0
    while sent < 2000:
        async with joined(panel.url, token) as agent:
            reader = asyncio.create_task(_drain(agent))
            try:
                while sent < 2000:
                    await agent.socket.send(rubbish(chance, golden))
                    sent += 1
            except ConnectionClosed:
                pass
            finally:
                reader.cancel()
                await asyncio.gather(reader, return_exceptions=True)
    assert panel.process is not None and panel.process.poll() is None
    assert await in_thread(everything) == before
    async with joined(panel.url, token) as agent:
        made = await in_thread(lambda: commands.enqueue(node, "container.start", payload=StartPayload(), subject_id=uuid.uuid4()))
        assert (await agent.expect(wire.Command)).id == str(made.pk), "the panel works as before"
    assert "Traceback" not in panel.said()


async def _drain(agent: FakeAgent) -> None:
    async for _ in agent.socket:
        pass


async def test_a_bulk_socket_opens_for_the_node_that_was_asked_for_this_stream_once_and_for_nobody_else(
    panel: Panel, registered: Any, theirs: Any, in_thread: Any
) -> None:
    """F02, D04: without a token, with a wrong one, with another node's, for a stream that nobody asked for, and at addresses that are no route."""
    node, token = registered
    other = await in_thread(tokens.issue, theirs["node"])
    stream, base = str(uuid.uuid4()), panel.url.replace("http", "ws")

    async def opens(path: str, given: str) -> bool:
        try:
            async with connect(f"{base}{path}", additional_headers={"Authorization": f"Bearer {given}"} if given else {}, proxy=None):
                return True
        except InvalidStatus as refused:
            assert refused.response.status_code == 403
            return False

    at = f"/api/ws/nodes/streams/{stream}"
    for path, given in (
        (at, ""), (at, "nonsense"), (at, token), ("/api/ws/nodes/streams/nothing", token), ("/api/ws/nodes/streams/", token),
        ("/api/ws/other", token), ("/api/ws", token), ("/", token), ("/ws/more", token),
    ):  # fmt: skip
        assert not await opens(path, given), (path, given)
    await live.hub().expect(f"bulk:{stream}", str(node.pk), seconds=30)
    assert not await opens(at, other), "it was asked of another node"
    await live.hub().expect(f"bulk:{stream}", str(node.pk), seconds=30)
    assert await opens(at, token)
    assert not await opens(at, token), "once"
