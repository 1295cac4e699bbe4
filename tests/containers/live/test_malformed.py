"""Whatever a client says: an answer, or an end with a reason; the panel lives, and nothing is changed (SECURITY F07)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import uuid
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core import serializers
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from accounts.models import User
from accounts.services import sign_in
from containers.live.handlers import HANDLERS
from containers.models import Container
from nodes.models import Command, Operation
from tests.nodes.rig import Panel
from tests.rights.test_socket_matrix import BODY

pytestmark = [pytest.mark.redis, pytest.mark.django_db(transaction=True), pytest.mark.timeout(0 if "LORMAS_FUZZ_FRAMES" in os.environ else 240)]
FRAMES = int(os.environ.get("LORMAS_FUZZ_FRAMES", "1500"))
"""100,000 take some ten minutes."""
FIELDS = ("id", "container_id", "payload", "topics", "action", "after", "tail", "streams", "path", "cols", "rows", "reply_to")
LONE = '"\\ud800"'
"""Half of a pair: text in JSON, and nowhere else."""


def bent(chance: random.Random) -> str:
    """A value, as JSON."""
    depth = chance.randrange(1, 900)
    texts = [
        "null",
        "-1",
        "0",
        str(2**70),
        "1e308",
        "1e999",
        "NaN",
        "-Infinity",
        "true",
        "{}",
        "[]",
        "[[[]]]",
        LONE,
        '"\\u0000"',
        '"\\u202e\\u001b[2J"',
    ]
    texts += [
        json.dumps("x" * chance.randrange(0, 20_000)),
        "9" * chance.randrange(1, 6000),
        "[" * depth + "]" * depth,
        '{"a":' * depth + "1" + "}" * depth,
    ]
    texts += [json.dumps(str(uuid.uuid4())), '"../../etc/passwd"', '["containers", 5, null]', '{"type": "use"}']
    return chance.choice(texts)


def malformed(chance: random.Random) -> str | bytes:
    """Noise, a frame that was cut or bent, or one whose fields hold what no field does."""
    kind = chance.randrange(10)
    word = chance.choice(sorted(HANDLERS))
    good = json.dumps({"type": word, "id": 1, "container_id": str(uuid.uuid4()), **BODY.get(word, {})})
    if kind == 0:
        return chance.randbytes(chance.randrange(0, 300))
    if kind == 1:
        return chance.choice(["", " ", "[" * 60_000, "{" * 60_000, '"', "x" * 66_000, "\ufeff{}", "{} {}", '{"type": "ping"}' * 2])
    if kind == 2:
        return f'{{"type": {bent(chance)}, "id": {bent(chance)}}}'
    if kind == 3:
        return good[: chance.randrange(len(good))]
    if kind == 4:
        letters = list(good)
        for _ in range(chance.randrange(1, 6)):
            letters[chance.randrange(len(letters))] = chr(chance.randrange(32, 0x3000))
        return "".join(letters)
    fields = {name: bent(chance) for name in chance.sample([*FIELDS, *BODY.get(word, {})], chance.randrange(1, 4))}
    return "{" + ", ".join([f'"type": "{word}"', *(f'"{name}": {value}' for name, value in fields.items())]) + "}"


def everything() -> dict[str, Any]:
    """Row -> its fields, but for how a container seems to be: a node that says nothing for as long as 100,000 frames take is missed."""
    rows = (*Container.objects.order_by("pk"), *Command.objects.order_by("pk"), *Operation.objects.order_by("pk"), *User.objects.order_by("pk"))
    return {
        f"{row['model']} {row['pk']}": {name: value for name, value in row["fields"].items() if not name.startswith("status")}
        for row in json.loads(serializers.serialize("json", rows))
    }


async def answers(socket: ClientConnection) -> None:
    """Each is JSON as all the world reads it."""

    def no(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    with contextlib.suppress(ConnectionClosed):  # why, is looked at by the caller
        async for text in socket:
            assert isinstance(text, str)
            json.loads(text, parse_constant=no)


async def test_malformed_frames_are_answered_or_end_the_socket_with_a_reason_and_change_nothing(panel: Panel, alice: Any, running: Any) -> None:
    """F07"""
    container = running
    token = (await sync_to_async(sign_in)(alice, address=None, user_agent="test")).access
    address = panel.url.replace("http", "ws") + f"/ws?token={token}"
    seed = int(os.environ.get("LORMAS_FUZZ_SEED", "7"))
    chance = random.Random(seed)
    before = await sync_to_async(everything)()
    sent = 0
    last: list[str] = []
    while sent < FRAMES:
        async with connect(address, proxy=None) as socket:
            reader = asyncio.create_task(answers(socket))
            try:
                await socket.send(json.dumps({"type": "use", "container_id": str(container.pk)}))
                for _ in range(24):  # so many mistakes end a socket: what comes behind them is not read
                    frame = malformed(chance)
                    last = [*last[-24:], repr(frame[:200])]
                    await socket.send(frame)
                    sent += 1
                await socket.send('{"type": "ping", "id": "the last"}')
            except ConnectionClosed:
                pass
            await asyncio.wait({reader}, timeout=0.01)
            await socket.close()
            await reader
            code = socket.protocol.close_rcvd.code if socket.protocol.close_rcvd else None
            # None: what we still said as the panel hung up has overtaken its reason
            assert code in (1000, 1003, 1007, 1009, 4429, None), (seed, code, socket.close_reason, last)
    assert panel.process is not None and panel.process.poll() is None
    assert await sync_to_async(everything)() == before
    async with connect(address, proxy=None) as socket:
        await socket.send('{"type": "ping", "id": 5}')
        async for text in socket:
            if json.loads(text).get("reply_to") == 5:
                break
    assert "Traceback" not in panel.said(), panel.said()[:900000]
