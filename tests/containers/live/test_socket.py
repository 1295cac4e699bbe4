"""The client socket: who may open it, what it answers, and when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from channels.testing import ApplicationCommunicator

from containers.live import outbox, shells, socket
from containers.live.socket import client_socket
from lormas.common import live

pytestmark = [pytest.mark.redis, pytest.mark.django_db(transaction=True)]


class StoredSession:
    """Stands for a session row that exists until `there` is taken away."""

    def __init__(self, key: str = "k") -> None:
        self.session_key = key
        self.there = True

    def exists(self, key: str) -> bool:
        return self.there

    def get(self, key: str) -> None:
        return None


class Browser(ApplicationCommunicator):
    """A browser socket signed in by cookie."""

    def __init__(self, user: Any = None, **headers: str) -> None:
        self.session = StoredSession()
        given = {"host": "testserver", **headers}
        if user is not None:
            given.setdefault("cookie", "lormas_session=x")
            given.setdefault("origin", "http://testserver")
        super().__init__(
            client_socket,
            {
                "type": "websocket",
                "path": "/ws",
                "query_string": b"",
                "headers": [(k.encode(), v.encode()) for k, v in given.items()],
                "user": user,
                "session": self.session,
            },
        )

    async def open(self) -> dict[str, Any]:
        await self.send_input({"type": "websocket.connect"})
        return await self.receive_output(30)  # type: ignore[no-any-return]

    async def say(self, **message: Any) -> None:
        await self.send_input({"type": "websocket.receive", "text": json.dumps(message)})

    async def hear(self, kind: str | None = None, seconds: float = 60) -> dict[str, Any]:
        while True:
            event = await self.receive_output(seconds)
            if event["type"] == "websocket.close":
                return event  # type: ignore[no-any-return]
            message = json.loads(event["text"])
            if kind is None or message["type"] == kind:
                return message  # type: ignore[no-any-return]

    async def leave(self) -> None:
        with contextlib.suppress(Exception):
            await self.send_input({"type": "websocket.disconnect", "code": 1000})
            await self.wait(5)


async def signed_in(user: Any, **headers: str) -> Browser:
    browser = Browser(user, **headers)
    assert (await browser.open())["type"] == "websocket.accept"
    assert (await browser.hear())["type"] == "authenticated"
    return browser


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://testserver:9999",
        "http://testserver.evil.example",
        "http://a.testserver",
        "http://testserver@testserver",
        "file://",
        "http://",
    ],
)
async def test_a_page_of_another_origin_opens_nothing(alice: Any, origin: str) -> None:
    """F01, M2: host and port count."""
    browser = Browser(alice, origin=origin)
    assert (await browser.open()) == {"type": "websocket.close", "code": 4403}


async def test_without_signing_in_nothing_is_answered_but_the_close(alice: Any) -> None:
    """F02"""
    browser = Browser(None)
    assert (await browser.open())["type"] == "websocket.accept"
    await browser.say(type="subscribe", topics=["containers"])
    assert (await browser.hear())["code"] == 4401


async def test_one_hears_of_ones_own_containers_only(alice: Any, bob: Any, running: Any) -> None:
    """D03, F04"""
    browser = await signed_in(alice)
    stranger = await signed_in(bob)
    for who in (browser, stranger):
        await who.say(type="subscribe", topics=["containers"], id=1)
        assert (await who.hear("subscribed"))["reply_to"] == 1
    await sync_to_async(live.publish)("ui:containers", {"type": "container", "id": str(running.pk), "owner": str(alice.pk), "status": "stopped"})
    assert (await browser.hear("container"))["status"] == "stopped"
    assert await stranger.receive_nothing(0.3)
    await stranger.say(type="subscribe_logs", container_id=str(running.pk), id=7)
    refusal = await stranger.hear("error")
    assert (refusal["code"], refusal["reply_to"]) == ("not_found", 7)
    for who in (browser, stranger):
        await who.leave()


async def test_power_is_an_operation_and_a_viewer_may_not(alice: Any, charlie: Any, running: Any) -> None:
    browser = await signed_in(alice)
    await browser.say(type="power", container_id=str(running.pk), action="stop", id="a")
    answer = await browser.hear("operation")
    assert (answer["kind"], answer["reply_to"]) == ("container.stop", "a")
    await browser.say(type="power", container_id=str(running.pk), action="explode")
    assert (await browser.hear("error"))["code"] == "invalid"
    await browser.leave()
    viewer = await signed_in(charlie)
    await viewer.say(type="power", container_id=str(running.pk), action="stop")
    assert (await viewer.hear("error"))["code"] == "not_found"
    await viewer.leave()


@pytest.mark.parametrize("text", ["", "x", "[]", "{}", '{"type": 5}', '{"type": "nope"}', "[" * 5000, '{"type":"' + "x" * 70_000 + '"}', '"\\ud800"'])
async def test_a_bad_frame_is_an_error_and_the_socket_lives(alice: Any, text: str) -> None:
    """F07"""
    browser = await signed_in(alice)
    await browser.send_input({"type": "websocket.receive", "text": text})
    assert (await browser.hear("error"))["code"] in ("bad_frame", "unknown_type")
    await browser.say(type="ping", id=3)
    assert (await browser.hear("pong"))["reply_to"] == 3
    await browser.leave()


async def test_too_many_messages_end_it(alice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """F05"""
    monkeypatch.setattr(socket, "MESSAGES_PER_SECOND", 0.0)  # however slowly they are said here
    browser = await signed_in(alice)
    for _ in range(socket.BURST_MESSAGES + 20):
        await browser.say(type="pong")
    assert (await browser.hear("close"))["code"] == 4429


async def test_a_person_has_so_many_sockets_and_one_that_ends_makes_room(alice: Any, bob: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """F05: nobody else is shut out."""
    monkeypatch.setattr(socket, "MAX_SOCKETS_PER_USER", 2)
    first, second = await signed_in(alice), await signed_in(alice)
    third = Browser(alice)
    assert (await third.open())["type"] == "websocket.accept"
    assert (await third.hear("close"))["code"] == 4429
    others = await signed_in(bob)
    await first.leave()
    again = await signed_in(alice)
    for browser in (second, others, again):
        await browser.leave()
    assert socket._sockets == {}


async def test_who_opens_one_and_says_nothing_is_shown_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """J05"""
    monkeypatch.setattr(socket, "AUTHENTICATE_SECONDS", 0.05)
    browser = Browser(None)
    assert (await browser.open())["type"] == "websocket.accept"
    assert (await browser.hear("close"))["code"] == 4401


async def test_of_ones_commands_five_run_at_a_time(alice: Any, running: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """F12: by whatever message they are asked for; each that ends makes room for the next one."""
    monkeypatch.setattr(shells, "_running", {str(alice.pk): shells.MOST_EXECS})
    browser = await signed_in(alice)
    ways: list[dict[str, Any]] = [{"type": "execute_command", "command": "ls"}, {"type": "exec_command", "command": "ls", "args": []}]
    for number, asked in enumerate(ways):
        await browser.say(**asked, container_id=str(running.pk), id=number)
        refused = await browser.hear("error")
        assert (refused["code"], refused["reply_to"]) == ("too_many", number)
    shells._count(alice, -1)
    await browser.say(type="execute_command", command="ls", container_id=str(running.pk), id=9)
    assert (await browser.hear("error"))["code"] == "node_offline", "it was tried: the node is away"
    async with asyncio.timeout(60):
        while shells._running[str(alice.pk)] != shells.MOST_EXECS - 1:
            await asyncio.sleep(0.01)
    await browser.leave()


async def test_signing_out_elsewhere_ends_open_sockets(alice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """D10"""
    monkeypatch.setattr(socket, "RECHECK_SECONDS", 0.05)
    browser = await signed_in(alice)
    browser.session.there = False
    assert (await browser.hear("close"))["code"] == 4401


async def test_a_deactivated_account_loses_its_sockets(alice: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """D10"""
    monkeypatch.setattr(socket, "RECHECK_SECONDS", 0.05)
    browser = await signed_in(alice)
    alice.is_active = False
    await sync_to_async(alice.save)()
    assert (await browser.hear("close"))["code"] == 4401


async def test_a_client_that_never_confirms_is_stopped_at_a_megabyte_and_then_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """M3, F11: what is sent but not confirmed stays bounded."""
    monkeypatch.setattr(outbox, "PATIENCE_SECONDS", 0.1)
    sent: list[int] = []

    async def sink(event: dict[str, Any]) -> None:
        sent.append(len(event["text"]))

    box = outbox.Outbox(sink)
    with pytest.raises(outbox.TooSlow):
        for _ in range(1000):
            await box.send("x" * 10_000)
    assert sum(sent) <= outbox.WINDOW_BYTES + outbox.MARK_BYTES
    box.confirm(None)
    await asyncio.wait_for(box.send("y"), 1)
