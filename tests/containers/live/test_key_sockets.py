"""`/ws` with an API key: it does what its scopes say, and ends with its key."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from accounts import keys
from accounts.models import User
from containers.live import socket as sockets
from lormas.common import clock
from tests.containers.live.test_socket import Browser

pytestmark = [pytest.mark.redis, pytest.mark.django_db(transaction=True)]


async def opened(user: Any, *scopes: str, **fields: Any) -> tuple[Browser, Any]:
    create = sync_to_async(keys.create_key)
    key, secret = await create(user, name="ci", scopes=scopes, actor=user.as_actor(), **fields)
    script = Browser(None, authorization=f"Bearer {secret}")
    assert (await script.open())["type"] == "websocket.accept"
    assert (await script.hear())["type"] == "authenticated"
    return script, key


async def test_scopes_hold_for_every_message(alice: Any, running: Any) -> None:
    """D03, D11, F04"""
    script, _ = await opened(alice, "containers.view")
    await script.say(type="use", container_id=str(running.pk))
    assert (await script.hear())["type"] == "using"
    await script.say(type="subscribe_logs", container_id=str(running.pk), id=1)
    assert (await script.hear("error"))["code"] == "forbidden"
    await script.leave()


async def test_a_key_is_taken_as_a_message_and_never_in_the_address(alice: Any) -> None:
    """F03"""
    _, secret = await sync_to_async(keys.create_key)(alice, name="ci", scopes=["containers.view"], actor=alice.as_actor())
    script = Browser(None)
    await script.open()
    await script.say(type="authenticate", token=secret)
    assert (await script.hear())["type"] == "authenticated"
    await script.leave()
    script = Browser(None)
    script.scope["query_string"] = f"token={secret}".encode()
    await script.open()
    assert (await script.hear())["code"] == 4401


ENDS: dict[str, Callable[[Any, Any], Any]] = {
    "deleted": lambda user, key: keys.delete_key(user, key.pk, actor=user.as_actor()),
    "deleted behind our back": lambda user, key: key.delete(),
    "account deactivated": lambda user, key: User.objects.filter(pk=user.pk).update(is_active=False),
}


@pytest.mark.parametrize("how", ENDS)
async def test_a_socket_ends_with_its_key(alice: Any, how: str, monkeypatch: Any) -> None:
    """D10: told, or found by the next look (which is due within five seconds: test_ended_sockets)."""
    monkeypatch.setattr(sockets, "RECHECK_SECONDS", 600.0 if how == "deleted" else 0.05)
    script, key = await opened(alice, "containers.view")
    await script.say(type="ping")
    assert (await script.hear())["type"] == "pong"
    await sync_to_async(ENDS[how])(alice, key)
    assert (await script.hear(kind="nothing"))["code"] == 4401


async def test_a_socket_ends_when_its_key_expires(alice: Any, monkeypatch: Any) -> None:
    """D10, E19: by the key's own end, with no look due before."""
    monkeypatch.setattr(sockets, "RECHECK_SECONDS", 600.0)
    script, _ = await opened(alice, "containers.view", expires_at=clock.now() + timedelta(seconds=4))  # time to open it on a busy machine
    assert (await script.hear(kind="nothing"))["code"] == 4401
