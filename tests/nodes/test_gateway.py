"""The agents' socket: who comes in, who is refused and why, what becomes of what they say (SECURITY D04, D05, J12, R06, R41, R43)."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from agent.protocol import messages as wire
from agent.protocol.commands import StartPayload
from nodes import commands, services
from nodes.models import Command, Node
from tests.nodes.rig import Panel, fake_agent, hello, joined, report

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.redis]


async def test_joins_reports_facts_and_becomes_active(panel: Panel, registered: Any, until: Any) -> None:
    node, token = registered
    async with joined(panel.url, token) as agent:
        assert agent.welcome is not None
        assert (agent.welcome.node_id, agent.welcome.session_epoch, agent.welcome.heartbeat_seconds) == (str(node.pk), 1, 10)
        row = await until(lambda: Node.objects.filter(pk=node.pk, status="ACTIVE").first())
        assert (row.hostname, row.cpu_cores, row.agent_version, row.runtime_kind, bool(row.gateway)) == ("fake", 4, "9.9.9", "fake", True)
    row = await until(lambda: Node.objects.filter(pk=node.pk, gateway="").first())
    assert row.status == "ACTIVE", "silence decides, not the end of a socket"


async def test_token_in_the_query_and_trailing_slash_work(panel: Panel, registered: Any) -> None:
    async with joined(panel.url, registered[1], in_query=True):
        pass
    async with joined(panel.url, registered[1], path="/api/ws/nodes/"):
        pass
    assert registered[1] not in panel.said()


async def test_refusals_say_why_before_the_socket_closes(panel: Panel, registered: Any, in_thread: Any) -> None:
    node, token = registered
    newest = await in_thread(services.rotate_token, node, actor=_actor())
    gone, gone_token = await in_thread(lambda: services.register_node(name="gone", actor=_actor()))
    await in_thread(lambda: services.delete_node(gone, actor=_actor()))
    cases = [
        ("nonsense", hello(), "bad_token", 4401),
        (token, hello(), "bad_token", 4401),
        (gone_token, hello(), "unknown_node", 4401),
        (newest, hello(protocol=0), "protocol_too_old", 4426),
        (newest, hello(protocol=99, protocol_minimum=98), "protocol_too_new", 4426),
        (newest, wire.Heartbeat(seq=1, sent_at_unix=0), "bad_hello", 4403),
    ]
    for given, first, code, close in cases:
        async with fake_agent(panel.url, given, say=first) as agent:
            refused = await agent.expect(wire.Refused)
            assert (refused.code, len(refused.reason) > 20) == (code, True)
            with pytest.raises(ConnectionClosed) as closed:
                await agent.receive()
            assert closed.value.rcvd is not None and closed.value.rcvd.code == close
    with pytest.raises(InvalidStatus):
        async with fake_agent(panel.url, ""):
            pass
    assert (await in_thread(Node.objects.get, pk=node.pk)).status == "PENDING"


def _actor() -> Any:
    from audit.services import SYSTEM

    return SYSTEM


async def test_many_bad_tokens_are_told_to_wait_and_good_ones_still_get_in(panel: Panel, registered: Any) -> None:
    codes = []
    for _ in range(22):
        async with fake_agent(panel.url, "nonsense") as agent:
            refused = await agent.expect(wire.Refused)
            codes.append((refused.code, refused.retry_after_seconds))
    assert codes[0][0] == "bad_token"
    assert codes[-1] == ("too_many", 60)
    async with joined(panel.url, registered[1]):
        pass


async def test_a_newer_connection_replaces_the_older_at_once_and_another_installation_is_refused(panel: Panel, registered: Any, until: Any) -> None:
    """R06."""
    node, token = registered
    async with joined(panel.url, token) as old:
        async with joined(panel.url, token) as new:
            assert new.welcome is not None and new.welcome.session_epoch == 2
            assert (await old.expect(wire.Refused)).code == "replaced"
            with pytest.raises(ConnectionClosed):
                await old.receive()
            async with fake_agent(panel.url, token, say=hello(instance_id="other")) as other:
                assert (await other.expect(wire.Refused)).code == "too_many"
            await new.beat()
            assert await until(lambda: Node.objects.filter(pk=node.pk, session_epoch=2).exclude(gateway="").exists())


async def test_a_command_goes_out_is_acknowledged_and_settles_once(panel: Panel, registered: Any, in_thread: Any, until: Any) -> None:
    node, token = registered
    async with joined(panel.url, token) as agent:
        made = await in_thread(lambda: commands.enqueue(node, "container.start", payload=StartPayload(), subject_id=uuid.uuid4()))
        command = await agent.expect(wire.Command)
        assert (command.id, command.kind, command.container_id) == (str(made.pk), "container.start", str(made.subject_id))
        await agent.send(wire.Ack(command_id=command.id))
        await until(lambda: Command.objects.filter(pk=made.pk, state="acked").exists())
        for detail in ("first", "second"):
            await agent.send(wire.Result(command_id=command.id, ok=True, data={"said": detail}))
            assert (await agent.expect(wire.ResultAck)).command_id == command.id
        done = await in_thread(Command.objects.get, pk=made.pk)
        assert (done.state, done.result) == ("done", {"said": "first"})


async def test_commands_made_while_away_come_after_the_welcome_and_known_ones_do_not(panel: Panel, registered: Any, in_thread: Any) -> None:
    node, token = registered

    def make() -> list[Any]:
        return [commands.enqueue(node, "container.start", payload=StartPayload(), subject_id=uuid.uuid4()) for _ in range(3)]

    made = await in_thread(make)
    async with joined(panel.url, token, say=hello(known_commands=[str(made[1].pk)])) as agent:
        assert [(await agent.expect(wire.Command)).id for _ in range(2)] == [str(made[0].pk), str(made[2].pk)]


async def test_an_unknown_frame_is_answered_with_oops_and_the_session_goes_on(panel: Panel, registered: Any) -> None:
    """R41, F07."""
    async with joined(panel.url, registered[1]) as agent:
        for text in ("{", '{"type": "no such thing"}', '{"type": "heartbeat", "seq": "x"}', "[]", "null", '"hello"'):
            await agent.socket.send(text)
            assert isinstance(await agent.receive(), wire.Oops)
        await agent.send(wire.StateFact(fact_id=7, report=report(uuid.uuid4())))
        assert (await agent.expect(wire.FactAck)).fact_id == 7


async def test_rotation_gives_the_connected_agent_the_new_token(panel: Panel, registered: Any, in_thread: Any) -> None:
    """R43."""
    node, token = registered
    async with joined(panel.url, token) as agent:
        newest = await in_thread(services.rotate_token, node, actor=_actor(), grace_seconds=60)
        rotated = await agent.expect(wire.TokenRotated)
        await agent.send(wire.Ack(command_id=rotated.rotation_id))
    for good in (token, rotated.token, newest):
        async with joined(panel.url, good):
            pass
    await in_thread(services.rotate_token, node, actor=_actor())
    async with fake_agent(panel.url, token) as agent:
        assert (await agent.expect(wire.Refused)).code == "bad_token"


@pytest.mark.waits
@pytest.mark.timeout(120)
async def test_who_says_nothing_is_hung_up_on(panel: Panel, registered: Any) -> None:
    """R05: an agent that only slept would else talk on to nobody, until it missed our answers, too."""
    _, token = registered
    async with joined(panel.url, token) as agent:
        with pytest.raises(ConnectionClosed) as end:
            async with asyncio.timeout(90):
                while True:
                    await agent.socket.recv()
        assert end.value.rcvd is not None and end.value.rcvd.code == 4408


@pytest.mark.waits
async def test_other_frames_are_life_too(panel: Panel, registered: Any, in_thread: Any, until: Any) -> None:
    """R08: a node whose heartbeats are lost but whose pongs come is alive."""
    node, token = registered
    async with joined(panel.url, token) as agent:
        before = (await in_thread(Node.objects.get, pk=node.pk)).last_heartbeat
        while (await in_thread(Node.objects.get, pk=node.pk)).last_heartbeat == before:
            with contextlib.suppress(TimeoutError):
                await agent.receive(1)  # answers pings
