"""Open sockets end at once when their person is signed out, deactivated or deleted."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import Client

from accounts import people
from accounts.services import sign_in
from containers.live import socket as sockets
from tests.containers.live.test_socket import Browser, signed_in

pytestmark = [pytest.mark.redis, pytest.mark.django_db(transaction=True)]

ENDS: dict[str, Callable[[Any, Any], Any]] = {
    "deactivated": lambda root, user: people.update_person(root, user.pk, changes={"is_active": False}, actor=root.as_actor()),
    "deleted": lambda root, user: people.delete_person(root, user.pk, actor=root.as_actor()),
    "deactivated in bulk": lambda root, user: people.bulk(root, ids=[user.pk], action="deactivate", actor=root.as_actor()),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
async def test_an_account_that_ends_takes_its_sockets_along(alice: Any, root: Any, end: Callable[[Any, Any], Any], monkeypatch: Any) -> None:
    """D10: told, not found by the clock."""
    monkeypatch.setattr(sockets, "RECHECK_SECONDS", 60.0)
    pair = await sync_to_async(sign_in)(alice, address=None, user_agent="")
    script = Browser(None, authorization=f"Bearer {pair.access}")
    await script.open()
    assert (await script.hear())["type"] == "authenticated"
    browser = await signed_in(alice)
    for each in (script, browser):  # an answer means that the socket reads; the tap is opened at the same time
        await each.say(type="ping")
        assert (await each.hear())["type"] == "pong"
    began = time.monotonic()
    await sync_to_async(end)(root, alice)
    for each in (script, browser):
        assert (await each.hear(kind="nothing"))["code"] == 4401
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("door", ["/logout", "/api/auth/sign-out"])
async def test_a_signed_out_browser_loses_its_sockets(alice: Any, door: str, monkeypatch: Any) -> None:
    """D10"""
    monkeypatch.setattr(sockets, "RECHECK_SECONDS", 60.0)
    person = Client()
    await sync_to_async(person.force_login)(alice, backend="accounts.backends.EmailOrUsernameBackend")
    browser = Browser(alice)
    browser.scope["session"] = await sync_to_async(lambda: person.session)()
    await browser.open()
    assert (await browser.hear())["type"] == "authenticated"
    await browser.say(type="ping")
    assert (await browser.hear())["type"] == "pong"
    began = time.monotonic()
    answer = await sync_to_async(person.post)(door, content_type="application/json")
    assert answer.status_code in (204, 302)
    assert (await browser.hear(kind="nothing"))["code"] == 4401
    assert time.monotonic() - began < 5
