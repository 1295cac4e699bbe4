"""`/ws` through a real daphne: cookie, bearer, first message; HTTP logs and the route that is not there."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import Client
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from accounts.services import sign_in
from tests.nodes.rig import Panel

pytestmark = [pytest.mark.redis, pytest.mark.django_db(transaction=True)]


async def hear(socket: Any) -> dict[str, Any]:
    return json.loads(await socket.recv())  # type: ignore[no-any-return]


def token_for(user: Any) -> str:
    return sign_in(user, address=None, user_agent="test").access


async def test_three_ways_to_sign_in(panel: Panel, alice: Any) -> None:
    """F03, M9: and none of them leaves a token in a log."""
    address = panel.url.replace("http", "ws") + "/ws"
    token = await sync_to_async(token_for)(alice)
    async with connect(address, additional_headers={"Authorization": f"Bearer {token}"}, proxy=None) as socket:
        assert (await hear(socket))["user"]["email"] == alice.email
    async with connect(f"{address}/?token={token}", proxy=None) as socket:
        assert (await hear(socket))["type"] == "authenticated"
    async with connect(address, proxy=None) as socket:
        await socket.send(json.dumps({"type": "authenticate", "token": token}))
        assert (await hear(socket))["type"] == "authenticated"
    browser = Client()
    await sync_to_async(browser.force_login)(alice, backend="accounts.backends.EmailOrUsernameBackend")
    cookie = "; ".join(f"{k}={v.value}" for k, v in browser.cookies.items())
    async with connect(address, additional_headers={"Cookie": cookie}, origin=panel.url, proxy=None) as socket:
        assert (await hear(socket))["type"] == "authenticated"
    assert token not in panel.said(), "F03, M9: tokens reach no log"


async def test_a_bad_token_another_origin_and_an_unknown_route_get_nothing(panel: Panel, alice: Any) -> None:
    address = panel.url.replace("http", "ws")
    async with connect(address + "/ws?token=garbage", proxy=None) as socket:
        with pytest.raises(ConnectionClosed) as end:
            await socket.recv()
        assert end.value.rcvd is not None and end.value.rcvd.code == 4401
    with pytest.raises(InvalidStatus):
        async with connect(address + "/ws", origin="http://evil.example", proxy=None):
            pass
    with pytest.raises(InvalidStatus):
        async with connect(address + "/ws/nothing", proxy=None):
            pass


def answer_to(port: int, head: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 10) as raw:
        raw.settimeout(20)
        raw.sendall(head)
        return raw.recv(64)


def test_headers_that_smuggle_or_flood_open_no_socket(panel: Panel) -> None:
    """F06, J04, CVE-2026-44546"""
    upgrade = (
        b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: YWFhYWFhYWFhYWFhYWFhYQ==\r\n"
    )
    assert b" 101 " in answer_to(panel.port, upgrade + b"\r\n")
    for bad in (b"\x0b", b"\x0c", b"\x1c", b"\x85"):
        assert b" 400 " in answer_to(panel.port, upgrade + b"X-Evil: a" + bad + b"b\r\n\r\n"), bad
    for lengths in (b"Content-Length: 4\r\nContent-Length: 5\r\n", b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n"):
        assert b" 400 " in answer_to(panel.port, b"POST /api/auth/sign-in HTTP/1.1\r\nHost: 127.0.0.1\r\n" + lengths + b"\r\n0\r\n\r\n"), lengths
    flood = b"".join(b"X-%d: y\r\n" % number for number in range(10_000))
    for many in (flood, b"X-Long: " + b"y" * 1_000_000 + b"\r\n"):
        try:
            told = answer_to(panel.port, upgrade + many + b"\r\n")
        except ConnectionError:  # hung up amid them: as good
            told = b""
        assert not told or b" 400 " in told or b" 431 " in told, told
    assert b" 101 " in answer_to(panel.port, upgrade + b"\r\n"), "and goes on"


def test_a_body_that_would_fill_the_disk_is_refused_before_it_comes(panel: Panel) -> None:
    """J03: by its length, without an account; the panel has not taken a byte of it."""
    for path in (b"/api/auth/sign-in", b"/api/containers/0190aaaa-bbbb-7ccc-8ddd-eeeeffff0000/files/content?path=x"):
        head = b"PUT " + path + b" HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000000000000000\r\n\r\n"
        assert b" 413 " in answer_to(panel.port, head), path
