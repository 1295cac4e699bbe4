"""Open sockets see what was granted, and stop the second it ends."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from asgiref.sync import sync_to_async

from accounts import granting, grants
from containers.live import socket as sockets
from containers.models import ContainerUserGrant
from containers.services.publish import announce
from lormas.common import clock
from tests.containers.live.test_socket import signed_in
from tests.rights.conftest import give

pytestmark = [pytest.mark.redis, pytest.mark.django_db(transaction=True)]


async def subscribed(user: Any, container: Any) -> Any:
    browser = await signed_in(user)
    await browser.say(type="subscribe_stats", container_id=str(container.pk), id=1)
    await browser.say(type="subscribe", topics=["containers"], id=2)
    while (await browser.hear()).get("reply_to") != 2:
        pass
    return browser


async def test_a_subscription_ends_the_second_the_grant_does(alice: Any, bob: Any, web: Any, monkeypatch: Any) -> None:
    """D10: by the end that was told beforehand, not by the clock of the rounds."""
    monkeypatch.setattr(sockets, "RECHECK_SECONDS", 300.0)
    await sync_to_async(give)(alice, web, bob, "containers.view", "containers.logs")
    browser = await subscribed(bob, web)
    await sync_to_async(announce)(web)
    assert (await browser.hear(kind="container"))["id"] == str(web.pk)
    kind, end = grants.kind("container"), clock.now() + timedelta(seconds=1.5)
    (grant,) = await sync_to_async(granting.on)(kind, web)
    changes = {"expires_at": end}
    await sync_to_async(granting.change)(alice, kind, web, grant.id, changes=changes, actor=alice.as_actor())
    told = await browser.hear(kind="error", seconds=60)
    assert (told["code"], told["subscription"]) == ("lost_access", f"stats:{web.pk}")
    assert clock.now() >= end
    assert await sync_to_async(ContainerUserGrant.objects.count)() == 2, "no sweep took part"
    await sync_to_async(announce)(web)
    await browser.say(type="subscribe_stats", container_id=str(web.pk), id=3)
    answer = await browser.hear()
    assert (answer["type"], answer["code"], answer["reply_to"]) == ("error", "not_found", 3), "and no hint of it came in between"


async def test_a_grant_that_is_taken_ends_what_it_carried(alice: Any, bob: Any, web: Any, monkeypatch: Any) -> None:
    """D10: told at once; what is still held goes on."""
    monkeypatch.setattr(sockets, "RECHECK_SECONDS", 300.0)
    await sync_to_async(give)(alice, web, bob, "containers.view", "containers.logs")
    browser = await subscribed(bob, web)
    await browser.say(type="subscribe_logs", container_id=str(web.pk), id=4)
    assert (await browser.hear(kind="subscribed"))["reply_to"] == 4
    kind = grants.kind("container")
    (grant,) = await sync_to_async(granting.on)(kind, web)
    changes = {"permissions": ["containers.view"]}
    await sync_to_async(granting.change)(alice, kind, web, grant.id, changes=changes, actor=alice.as_actor())
    assert (await browser.hear(kind="error", seconds=60))["subscription"] == f"logs:{web.pk}"
    await sync_to_async(granting.take)(kind, web, grant.id, actor=alice.as_actor())
    assert (await browser.hear(kind="error", seconds=60))["subscription"] == f"stats:{web.pk}"


async def test_a_new_grant_opens_the_topic_without_a_new_socket(alice: Any, bob: Any, web: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(sockets, "RECHECK_SECONDS", 0.2)
    browser = await signed_in(bob)
    await browser.say(type="subscribe", topics=["containers"], id=2)
    assert (await browser.hear(kind="subscribed"))["reply_to"] == 2
    await sync_to_async(give)(alice, web, bob, "containers.view")

    async def hints() -> None:  # they are hints: until the look is over this one is not bob's
        while True:
            await sync_to_async(announce)(web)
            await asyncio.sleep(0.1)

    telling = asyncio.create_task(hints())
    try:
        assert (await browser.hear(kind="container", seconds=60))["id"] == str(web.pk)
    finally:
        telling.cancel()
