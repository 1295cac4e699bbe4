"""Token rotation in-band, under load: no command is lost or done twice, and the old token is dead afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from pathlib import Path
from typing import Any

import pytest

from agent import config as agent_config
from agent.config import Config
from agent.program import Agent
from agent.protocol.commands import StartPayload
from audit.services import SYSTEM
from nodes import commands, services, tokens
from nodes.models import Command, Node
from tests.agent.tiny import TinyLogs, TinyRuntime
from tests.nodes.rig import Panel

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(240)]
ROUNDS = 20


async def test_twenty_rotations_in_a_stream_of_commands_lose_and_double_nothing(
    panel: Panel, registered: Any, tmp_path: Path, in_thread: Any, until: Any
) -> None:
    """R43: rotate under load x 20."""
    node, first = registered
    runtime = TinyRuntime()
    agent = Agent(Config(data_dir=tmp_path / "agent", panel_url=panel.url, token=first, instance_id="tiny"), runtime=runtime, logs=TinyLogs())
    work = asyncio.create_task(agent.run())
    try:
        await until(lambda: Node.objects.filter(pk=node.pk, status="ACTIVE").exists())
        made: list[uuid.UUID] = []

        def round_() -> None:
            made.extend(commands.enqueue(node, "container.start", payload=StartPayload(), subject_id=uuid.uuid4(), epoch=1).pk for _ in range(3))
            services.rotate_token(Node.objects.get(pk=node.pk), actor=SYSTEM, grace_seconds=30)

        for _ in range(ROUNDS):
            await in_thread(round_)
        open_states = ("queued", "sent", "acked")
        await until(lambda: not Command.objects.filter(pk__in=made, state__in=open_states).exists(), seconds=60)
        newest = await in_thread(lambda: Node.objects.get(pk=node.pk).token_id)  # a token issued here would have another second in it
        await until(lambda: tokens.claims_of(agent.config.token) == (node.pk, newest), what="the newest token")
        assert await in_thread(lambda: Command.objects.filter(pk__in=made).count()) == 3 * ROUNDS
        assert runtime.calls.count("start") == 3 * ROUNDS
        stored = agent_config.load(tmp_path / "agent", {})
        assert stored.token == agent.config.token, "it comes back with it after a restart"
        with pytest.raises(tokens.BadToken):
            await in_thread(tokens.node_of, first)
    finally:
        work.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await work
