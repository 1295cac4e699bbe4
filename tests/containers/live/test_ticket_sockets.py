"""`/ws?token=<ticket>`: opened once, for one container where the ticket says so, and not longer than what it came from."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from accounts import services, tickets, tokens
from tests.containers.live.test_socket import Browser

pytestmark = [pytest.mark.redis, pytest.mark.django_db(transaction=True)]


async def by_ticket(text: str) -> Browser:
    browser = Browser(None)
    browser.scope["query_string"] = f"token={text}".encode()
    await browser.open()
    return browser


async def ticket_of(user: Any, about: Any = None) -> tuple[str, Any]:
    pair = await sync_to_async(services.sign_in)(user, address=None, user_agent="")
    return tickets.issue(user, pair.session, action="socket", about=str(about) if about else None), pair.session


async def test_it_opens_one_socket(alice: Any) -> None:
    """F03, D12."""
    ticket, session = await ticket_of(alice)
    browser = await by_ticket(ticket)
    assert (await browser.hear())["type"] == "authenticated"
    again = await by_ticket(ticket)
    assert (await again.hear())["code"] == 4401
    await browser.say(type="ping")
    assert (await browser.hear())["type"] == "pong"
    await sync_to_async(tokens.revoke)(session, why="test")
    assert (await browser.hear(kind="nothing"))["code"] == 4401, "D10: ended with its session"


async def test_one_for_a_container_is_about_nothing_else(alice: Any, running: Any) -> None:
    """D12: `use` is said already, and another one can't be."""
    browser = await by_ticket((await ticket_of(alice, running.pk))[0])
    assert (await browser.hear())["type"] == "authenticated"
    await browser.say(type="use", id=1)
    assert await browser.hear() == {"type": "using", "container_id": str(running.pk), "reply_to": 1}
    for other in (str(uuid.uuid4()), [str(running.pk)], {"a": 1}):
        await browser.say(type="use", container_id=other, id=2)
        refusal = await browser.hear("error")
        assert (refusal["code"], refusal["reply_to"]) == ("not_found", 2)
    await browser.say(type="subscribe", topics=["containers"], id=3)
    assert (await browser.hear("error"))["code"] == "bound_to_container"
    await browser.leave()


async def test_it_gives_nobody_more_than_they_may(bob: Any, running: Any) -> None:
    """D01: a ticket for a stranger's container opens a socket that sees nothing."""
    browser = await by_ticket((await ticket_of(bob, running.pk))[0])
    assert (await browser.hear())["type"] == "authenticated"
    await browser.say(type="subscribe_stats", id=1)
    assert (await browser.hear("error"))["code"] == "not_found"
    await browser.leave()
