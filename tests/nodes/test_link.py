"""A real agent (with a tiny runtime) on a real panel process: the whole link, end to end."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.config import Config
from agent.program import Agent
from agent.protocol import frames
from agent.protocol.commands import CreatePayload, StartPayload
from agent.protocol.messages import ContainerSpec
from lormas.common import live
from nodes import commands
from nodes.models import Command, Node
from tests.agent.tiny import TinyLogs, TinyRuntime
from tests.nodes.rig import Panel

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.redis]


@contextlib.asynccontextmanager
async def running(config: Config, runtime: TinyRuntime, logs: TinyLogs) -> AsyncIterator[Agent]:
    agent = Agent(config, runtime=runtime, logs=logs)
    task = asyncio.create_task(agent.run())
    try:
        yield agent
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def config(panel: Panel, registered: Any, tmp_path: Path) -> Config:
    return Config(data_dir=tmp_path / "agent", panel_url=panel.url, token=registered[1], instance_id="tiny")


async def test_an_agent_joins_and_runs_a_command(config: Config, registered: Any, in_thread: Any, until: Any) -> None:
    node, _ = registered
    runtime, logs = TinyRuntime(), TinyLogs()
    async with running(config, runtime, logs):
        await until(lambda: Node.objects.filter(pk=node.pk, status="ACTIVE").exists())
        container_id = str(uuid.uuid4())
        spec = ContainerSpec(container_id=container_id, name="x", image="busybox")
        made = await in_thread(lambda: commands.enqueue(node, "container.create", payload=CreatePayload(spec=spec), subject_id=container_id, epoch=1))
        done = await until(lambda: Command.objects.filter(pk=made.pk, state="done").first())
        assert done.result == {"runtime_ref": "ref-1", "warnings": []}
        assert runtime.calls == ["create", "start"]
        assert logs.calls.index(("attach", container_id)) >= 0
        assert runtime.instance == str(node.pk)


async def test_commands_survive_the_panel_and_the_link(panel: Panel, config: Config, registered: Any, in_thread: Any, until: Any) -> None:
    """R01: kill -9 of the panel while the agent works; the result arrives at the next panel, once."""
    node, _ = registered
    runtime = TinyRuntime()
    runtime.gates["start"] = asyncio.Event()
    async with running(config, runtime, TinyLogs()):
        await until(lambda: Node.objects.filter(pk=node.pk, status="ACTIVE").exists())
        container_id = str(uuid.uuid4())
        spec = ContainerSpec(container_id=container_id, name="x", image="busybox")
        made = await in_thread(lambda: commands.enqueue(node, "container.start", payload=StartPayload(spec=spec), subject_id=container_id))
        await until(lambda: "start" in runtime.calls)
        panel.kill()
        runtime.gates["start"].set()
        while runtime.reports[container_id].state != "running":
            await asyncio.sleep(0.02)
        panel.start()
        done = await until(lambda: Command.objects.filter(pk=made.pk, state="done").first(), seconds=45)
        assert done.error_code == ""
        assert runtime.calls == ["create", "start"]


async def test_questions_streams_and_execs(config: Config, registered: Any, in_thread: Any, until: Any) -> None:
    node, _ = registered
    runtime, logs = TinyRuntime(), TinyLogs()
    container_id = str(uuid.uuid4())
    spec = ContainerSpec(container_id=container_id, name="x", image="busybox")
    async with running(config, runtime, logs):
        await until(lambda: Node.objects.filter(pk=node.pk, status="ACTIVE").exists())
        made = await in_thread(lambda: commands.enqueue(node, "container.create", payload=CreatePayload(spec=spec), subject_id=container_id))
        await until(lambda: Command.objects.filter(pk=made.pk, state="done").exists())

        hub = live.hub()
        answer = await hub.ask_node(node.pk, "logs.read", container_id=container_id, payload={"tail": 3})
        assert answer["lines"][0][3] == "tail=3"
        assert (await hub.ask_node(node.pk, "container.inspect", container_id=container_id))["report"]["state"] == "running"
        with pytest.raises(live.NodeRefused) as refused:
            await hub.ask_node(node.pk, "no.such.question")
        assert refused.value.code == "unknown_command"
        with pytest.raises(live.NodeRefused) as refused:
            await hub.ask_node(node.pk, "exec.run", container_id=container_id, payload={"argv": "not a list"})
        assert refused.value.code == "bad_payload"

        tap = await hub.tap(f"log:{container_id}")
        await hub.tell_node(node.pk, live.Question(op="watch", container_id=container_id, after=-1))
        logs.feed(container_id, first=1, last=2, payload=b"[[1],[2]]")
        frame = frames.unpack((await tap.get(10)) or b"")
        assert isinstance(frame, frames.LogFrame)
        assert (frame.container_id, frame.first_seq, frame.last_seq, frame.payload) == (container_id, 1, 2, b"[[1],[2]]")
        await tap.close()

        stream_id = str(uuid.uuid4())
        output = await hub.tap(f"stream:{stream_id}")
        await hub.tell_node(node.pk, live.Question(op="exec", stream_id=stream_id, container_id=container_id, payload={"argv": ["cat"], "tty": True}))
        for text in (b"hello", b""):
            await hub.tell_node(node.pk, live.Question(op="input", stream_id=stream_id, data=base64.b64encode(text).decode()))
        got, end = b"", b""
        while not end:
            data = await output.get(10)
            assert data is not None
            if data.startswith(b"{"):
                end = data
            else:
                unpacked = frames.unpack(data)
                assert isinstance(unpacked, frames.ExecFrame)
                got += unpacked.data
        assert (got, json.loads(end)["exit_code"]) == (b"hello", 0)
        await output.close()


@pytest.mark.waits
async def test_an_exec_that_nobody_reads_is_killed(config: Config, registered: Any, in_thread: Any, until: Any) -> None:
    """F12."""
    node, _ = registered
    runtime = TinyRuntime()
    container_id, stream_id = str(uuid.uuid4()), str(uuid.uuid4())
    spec = ContainerSpec(container_id=container_id, name="x", image="busybox")
    async with running(config, runtime, TinyLogs()):
        await until(lambda: Node.objects.filter(pk=node.pk, status="ACTIVE").exists())
        made = await in_thread(lambda: commands.enqueue(node, "container.create", payload=CreatePayload(spec=spec), subject_id=container_id))
        await until(lambda: Command.objects.filter(pk=made.pk, state="done").exists())
        await live.hub().tell_node(node.pk, live.Question(op="exec", stream_id=stream_id, container_id=container_id, payload={"argv": ["sleep"]}))
        await until(lambda: bool(runtime.execs) and runtime.execs[0].killed)
