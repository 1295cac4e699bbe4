"""A panel that is told to end answers what it has begun, takes nobody new in, and ends (SECURITY R02). The real web program, as it is deployed."""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from accounts.services import sign_in
from agent.protocol import messages as wire
from lormas.quickstart.config import WEB_STOP_SECONDS
from lormas.quickstart.draining import DRAIN_SECONDS
from nodes import operations
from nodes.models import Node
from tests.nodes.rig import Web, joined

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.redis]


@pytest.fixture
def web(transactional_db: None, tmp_path: Path) -> Iterator[Web]:
    made = Web(log=tmp_path / "web.log").start()
    yield made
    made.stop()


@pytest.fixture
async def headers(in_thread: Any, root: Any) -> dict[str, str]:
    pair = await in_thread(lambda: sign_in(root, address=None, user_agent="test"))
    return {"Authorization": f"Bearer {pair.access}"}


async def gone(web: Web) -> int:
    assert web.process is not None
    return await asyncio.to_thread(web.process.wait, WEB_STOP_SECONDS)


def listens(web: Web) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", web.port)) == 0


async def ask(web: Web, headers: dict[str, str], path: str) -> tuple[int, Any]:
    async with aiohttp.ClientSession(headers=headers) as client, client.get(web.url + path) as answer:
        return answer.status, await answer.json()


async def test_who_waits_for_an_operation_is_told_how_far_it_is_and_it_ends_at_once(web: Web, headers: Any, in_thread: Any, root: Any) -> None:
    """R02: sixty seconds were asked for; the operation goes on without this process."""
    operation = await in_thread(lambda: operations.open_operation("node.drain", user=root))
    reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
    lines = [f"GET /api/operations/{operation.pk}?wait=60 HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in headers.items())]
    writer.write("\r\n".join([*lines, "Connection: close", "", ""]).encode())
    await writer.drain()
    assert (await ask(web, {}, "/healthz"))[0] == 200, "what came before this was taken up before this was answered"
    began = time.monotonic()
    web.signal(signal.SIGTERM)
    head, _, body = (await asyncio.wait_for(reader.read(), DRAIN_SECONDS)).partition(b"\r\n\r\n")
    writer.close()
    assert head.startswith(b"HTTP/1.1 200 ") and b'"status":"queued"' in body.replace(b" ", b""), (head, body)
    assert await gone(web) == 0 and time.monotonic() - began < DRAIN_SECONDS


async def test_an_answer_that_a_node_owes_still_comes_and_nobody_new_gets_in(web: Web, headers: Any, registered: Any, until: Any) -> None:
    """R02: the node's socket stays as long as somebody waits for what it says."""
    node, token = registered
    async with joined(web.url, token) as agent:
        await until(lambda: Node.objects.filter(pk=node.pk, status="ACTIVE").exists())
        asked = asyncio.create_task(ask(web, headers, f"/api/nodes/{node.pk}/images"))
        question = await agent.expect(wire.Rpc)
        web.signal(signal.SIGTERM)
        await until(lambda: not listens(web), seconds=DRAIN_SECONDS, what="takes nobody new in")
        assert not asked.done() and web.alive
        await agent.send(wire.RpcReply(request_id=question.request_id, ok=True, data={"images": []}))
        status, told = await asked
        assert status == 200, told
        assert await gone(web) == 0


async def test_a_node_that_never_answers_does_not_keep_it(web: Web, headers: Any, registered: Any, until: Any) -> None:
    """It ends before it is killed."""
    node, token = registered
    async with joined(web.url, token) as agent:
        await until(lambda: Node.objects.filter(pk=node.pk, status="ACTIVE").exists())
        asked = asyncio.create_task(ask(web, headers, f"/api/nodes/{node.pk}/images"))
        await agent.expect(wire.Rpc)
        web.signal(signal.SIGTERM)
        await gone(web)
        await asyncio.wait([asked])
        told = asked.exception()
        assert told is None or isinstance(told, aiohttp.ClientError), "a refusal in words or a hang-up, and no end of waiting"
