"""Agents of another version than the panel's: understood as far as they go, or refused in words that the node's page shows (SECURITY R41).

`older/*.jsonl` is what an agent of an earlier commit said to a panel (the file's name has the commit), recorded between the two while it made,
stopped and removed a container and read its log: CI may have no history to build that agent from. Where there is one, `test_upgrade.py` runs it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import uuid
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.protocol import commands as kinds
from agent.protocol import messages as wire
from lormas.common import live
from nodes import commands
from nodes.gateway import store
from nodes.models import Command, Node, NodeEvent
from tests.nodes.rig import FakeAgent, Panel, fake_agent, hello, joined

TRANSCRIPTS = sorted((Path(__file__).parent / "older").glob("*.jsonl"))
CONTAINER = str(uuid.uuid4())


class Transcript:
    """Says what an agent said, when it is asked the same."""

    def __init__(self, file: Path) -> None:
        self.lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]

    def said(self, on: str, asked: str = "") -> list[str]:
        return [
            json.dumps(line["say"]).replace('"ID"', f'"{asked}"').replace('"CONTAINER"', f'"{CONTAINER}"') for line in self.lines if line["on"] == on
        ]

    async def play(self, agent: FakeAgent) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            while True:
                message = await agent.receive(600)
                assert not isinstance(message, wire.Oops), message
                if isinstance(message, wire.Command | wire.Rpc):
                    for frame in self.said(message.kind, message.id if isinstance(message, wire.Command) else message.request_id):
                        await agent.socket.send(frame)


@pytest.mark.django_db(transaction=True)
@pytest.mark.redis
@pytest.mark.parametrize("file", TRANSCRIPTS, ids=lambda file: file.stem)
async def test_an_older_agent_makes_tells_and_stops_as_ever(panel: Panel, registered: Any, in_thread: Any, until: Any, file: Path) -> None:
    """R41: what it doesn't say has defaults; what it can't do it is not asked."""
    node, token = registered
    old = Transcript(file)
    first, *more = old.said("connect")
    async with fake_agent(panel.url, token, say=first) as agent:
        await agent.expect(wire.Welcome)
        for frame in more:
            await agent.socket.send(frame)
        playing = asyncio.create_task(old.play(agent))
        row = await until(lambda: Node.objects.filter(pk=node.pk, status="ACTIVE", usage__has_key="memory_used_bytes").first())
        assert row.protocol_version == 1 and row.total_memory_bytes > 0
        assert not {"move", "fence"} & set(row.capabilities)
        spec = wire.ContainerSpec(container_id=CONTAINER, name="old", image="busybox")
        for kind, payload in (
            ("container.create", kinds.CreatePayload(spec=spec)),
            ("container.stop", kinds.StopPayload(stop=wire.StopSpec())),
            ("container.remove", kinds.RemovePayload()),
        ):
            made = await in_thread(lambda kind=kind, payload=payload: commands.enqueue(node, kind, payload=payload, subject_id=CONTAINER, epoch=1))
            done = await until(lambda made=made: Command.objects.filter(pk=made.pk, state="done").first(), what=kind)
            assert done.error_code == ""
            if kind == "container.create":
                asked = msgspec.to_builtins(kinds.LogsQuery(tail=10))
                found = await in_thread(lambda asked=asked: live.ask_node(node.pk, "logs.read", container_id=CONTAINER, payload=asked))
                assert [line[3] for line in found["lines"]] == ["one", "two"]
        assert not playing.done(), "the panel did not understand it"
        playing.cancel()
        await playing


@pytest.mark.parametrize(
    ("speaks", "understands", "agreed"),
    [(3, 3, 3), (3, 2, 3), (2, 1, 2), (4, 3, 3), (9, 2, 3), (1, 1, "protocol_too_old"), (4, 4, "protocol_too_new")],
)
def test_both_speak_the_newest_that_both_know(monkeypatch: pytest.MonkeyPatch, speaks: int, understands: int, agreed: int | str) -> None:
    """R41: a panel of version 3 that still understands 2."""
    monkeypatch.setattr(wire, "PROTOCOL_VERSION", 3)
    monkeypatch.setattr(wire, "PROTOCOL_MINIMUM", 2)
    said = hello(protocol=speaks, protocol_minimum=understands)
    if isinstance(agreed, int):
        assert store.negotiate(said) == agreed
        return
    with pytest.raises(store.Refusal) as refused:
        store.negotiate(said)
    assert refused.value.code == agreed and "containers are left as they are" in refused.value.reason
    assert ("update the agent" if "old" in agreed else "update the panel") in refused.value.reason


def test_the_panel_understands_the_version_before_its_own() -> None:
    assert max(1, wire.PROTOCOL_VERSION - 1) >= wire.PROTOCOL_MINIMUM


@pytest.mark.django_db(transaction=True)
@pytest.mark.redis
async def test_a_node_whose_agent_is_refused_for_its_version_says_so_until_it_comes_with_another(
    panel: Panel, registered: Any, in_thread: Any, until: Any
) -> None:
    """R41: a refused agent asks again each minute; the timeline tells it once."""
    node, token = registered
    for _ in range(2):
        async with fake_agent(panel.url, token, say=hello(protocol=0, agent_version="0.0.1")) as agent:
            refused = await agent.expect(wire.Refused)
            assert (refused.code, refused.retry_after_seconds) == ("protocol_too_old", 60)
    row = await in_thread(Node.objects.get, pk=node.pk)
    assert (row.signals["version"]["level"], row.signals["version"]["cause"]) == ("bad", refused.reason)
    assert await in_thread(NodeEvent.objects.filter(node=node, kind="signal", message__contains="update the agent").count) == 1
    async with joined(panel.url, token):
        pass
    row = await until(lambda: Node.objects.filter(pk=node.pk, session_epoch=1).first())
    assert row.signals["version"]["level"] != "bad"
