"""Every message of the client socket, to everybody; a type that is neither in tests/matrix/sockets.txt nor among the mute ones fails the build."""

from __future__ import annotations

import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from accounts.models import User
from audit.models import Entry
from containers.live.handlers import HANDLERS
from tests.containers.live.test_socket import Browser
from tests.matrix.routes import COLUMNS, FOLDER
from tests.matrix.world import World

pytestmark = [pytest.mark.redis, pytest.mark.django_db(transaction=True)]
MUTE = {"subscribe_stats": "asked by test_granted_sockets: it answers with a sample or not at all", "unsubscribe_stats": "", "unsubscribe": ""}
"""What answers nothing where it works; ending a subscription is nobody's secret."""


def table() -> dict[str, tuple[list[str], dict[str, Any]]]:
    found = {}
    for text in (FOLDER / "sockets.txt").read_text().splitlines():
        if text.strip() and not text.startswith("#"):
            head, _, body = text.partition("|")
            kind, *answers = head.split()
            assert len(answers) == len(COLUMNS), text
            found[kind] = (answers, json.loads(body) if body.strip() else {})
    return found


async def opened(world: World, who: str) -> Browser:
    if who in world.people:
        person = await sync_to_async(User.objects.select_related("role").get)(pk=world.people[who].pk)
        return Browser(person)
    return Browser(None, **({"authorization": f"Bearer {world.bearer[who]}"} if who != "anonymous" else {}))


async def answers(browser: Browser, who: str, table: dict[str, Any], container_id: str) -> list[str]:
    """To all messages of the table, in its order."""
    first = await browser.open()
    if first["type"] == "websocket.close":
        return [str(first["code"])] * len(table)
    if who == "anonymous":
        await browser.say(type="ping")  # nobody is heard before saying who they are
    told = await browser.hear(seconds=60)
    if told["type"] == "websocket.close":
        return [str(told["code"])] * len(table)
    found = []
    for number, (kind, (_, body)) in enumerate(table.items(), 1):
        await browser.say(type=kind, id=number, container_id=container_id, **body)
        while (answer := await browser.hear(seconds=60)).get("reply_to") != number:
            assert answer["type"] != "websocket.close", (kind, answer)
        found.append(answer["code"] if answer["type"] == "error" else answer["type"])
    return found


async def test_the_table_of_messages_holds(roles: Any) -> None:
    """D03, D10, D11, I04: the door of every message asks anew; an act that was refused is a row of the journal."""
    expected = table()
    assert set(HANDLERS) == set(expected) | set(MUTE), "a message type is not in tests/matrix/sockets.txt"
    world = await sync_to_async(World)(roles)
    wrong = []
    for position, who in enumerate(COLUMNS):
        before = await sync_to_async(Entry.objects.filter(action="ws.denied").count)()
        browser = await opened(world, who)
        got = await answers(browser, who, expected, str(world.web.pk))
        await browser.leave()
        for (kind, (wanted, _)), seen in zip(expected.items(), got, strict=True):
            if wanted[position] != seen:
                wrong.append(f"{kind}, {who}: {wanted[position]} was expected, {seen} came")
        acts = sum(
            seen in ("not_found", "forbidden") and kind != "use" and not kind.startswith("subscribe")
            for kind, seen in zip(expected, got, strict=True)
        )
        rows = await sync_to_async(Entry.objects.filter(action="ws.denied").count)() - before
        if got[0] != "4401" and rows != acts:
            wrong.append(f"{who}: {acts} acts were refused, {rows} rows say so")
    assert wrong == []
