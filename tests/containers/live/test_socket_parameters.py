"""What a message names is looked at before anything is done with it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.containers.live.test_socket import signed_in

pytestmark = [pytest.mark.redis, pytest.mark.django_db(transaction=True)]
EVIL: list[Any] = [None, True, -2, 10**30, 1.5, "", "1; id", "$(id)", "--since", "../..", "' or 1=1 --", "\u0000", [], [1], {}, {"$gt": 0}]


async def test_parameters_are_typed_and_bounded_and_ids_are_looked_up(alice: Any, running: Any) -> None:
    """C03 (Dokploy CVE-2026-24841, CVE-2026-45629): each is answered with an error, and the socket lives."""
    browser = await signed_in(alice)
    mine = str(running.pk)
    messages = [{"type": "subscribe_logs", "container_id": value} for value in EVIL]
    messages += [{"type": "power", "container_id": mine, "action": value} for value in EVIL]
    messages += [{"type": "subscribe_logs", "container_id": mine, "tail": value} for value in EVIL if value is not None]
    messages += [{"type": "subscribe_logs", "container_id": mine, "after": value} for value in EVIL if value is not None and value != -2]
    for number, message in enumerate(messages):
        await browser.say(**message, id=number)
        answer = await browser.hear("error")
        assert answer["reply_to"] == number, message
        if number % 10 == 9:  # the limit of messages a second is another test's
            browser = await _anew(browser, alice)
    await browser.say(type="ping", id="x")
    assert (await browser.hear("pong"))["reply_to"] == "x"
    await browser.leave()


async def _anew(browser: Any, user: Any) -> Any:
    await browser.leave()
    return await signed_in(user)
