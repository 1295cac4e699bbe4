"""Open sockets end at once when their person is signed out, deactivated or deleted, or has another password."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import Client

from accounts import people
from accounts.services import change_password, end_session, reset_password, sign_in, sign_out
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
    monkeypatch.setattr(sockets, "RECHECK_SECONDS", 600.0)  # longer than anybody here listens
    pair = await sync_to_async(sign_in)(alice, address=None, user_agent="")
    script = Browser(None, authorization=f"Bearer {pair.access}")
    await script.open()
    assert (await script.hear())["type"] == "authenticated"
    browser = await signed_in(alice)
    for each in (script, browser):  # an answer means that the socket reads; the tap is opened at the same time
        await each.say(type="ping")
        assert (await each.hear())["type"] == "pong"
    await sync_to_async(end)(root, alice)
    for each in (script, browser):
        assert (await each.hear(kind="nothing"))["code"] == 4401


TAKEN: dict[str, Callable[[Any, Any], Any]] = {
    "the password was changed elsewhere": lambda user, session: change_password(
        user, old=None, new="another horse, another battery", keep=None, actor=user.as_actor()
    ),
    "the password was reset": lambda user, session: reset_password(user, actor=user.as_actor()),
    "the session was ended elsewhere": lambda user, session: end_session(user, session.pk, actor=user.as_actor()),
    "its program signed out": lambda user, session: sign_out(session, actor=user.as_actor()),
}


@pytest.mark.parametrize("take", TAKEN.values(), ids=TAKEN.keys())
async def test_a_token_that_ends_takes_its_socket_along(alice: Any, take: Callable[[Any, Any], Any], monkeypatch: Any) -> None:
    """D10: told, not found by the clock."""
    monkeypatch.setattr(sockets, "RECHECK_SECONDS", 600.0)  # longer than anybody here listens
    pair = await sync_to_async(sign_in)(alice, address=None, user_agent="")
    script = Browser(None, authorization=f"Bearer {pair.access}")
    await script.open()
    assert (await script.hear())["type"] == "authenticated"
    await script.say(type="ping")
    assert (await script.hear())["type"] == "pong"
    await sync_to_async(take)(alice, pair.session)
    assert (await script.hear(kind="nothing"))["code"] == 4401


def test_what_nobody_told_is_found_within_the_five_seconds_that_are_promised() -> None:
    assert sockets.RECHECK_SECONDS < 5


@pytest.mark.parametrize("door", ["/logout", "/api/auth/sign-out"])
async def test_a_signed_out_browser_loses_its_sockets(alice: Any, door: str, monkeypatch: Any) -> None:
    """D10"""
    monkeypatch.setattr(sockets, "RECHECK_SECONDS", 600.0)  # longer than anybody here listens
    person = Client()
    await sync_to_async(person.force_login)(alice, backend="accounts.backends.EmailOrUsernameBackend")
    browser = Browser(alice)
    browser.scope["session"] = await sync_to_async(lambda: person.session)()
    await browser.open()
    assert (await browser.hear())["type"] == "authenticated"
    await browser.say(type="ping")
    assert (await browser.hear())["type"] == "pong"
    answer = await sync_to_async(person.post)(door, content_type="application/json")
    assert answer.status_code in (204, 302)
    assert (await browser.hear(kind="nothing"))["code"] == 4401
