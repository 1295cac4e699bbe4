"""Who opens a connection and takes for ever to say what for, or sends without end; the clock is Twisted's own, wound by hand."""

from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import Any

import pytest
from daphne.http_protocol import HTTPFactory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.http import Request

from lormas.common import patience
from lormas.common.patience import HEAD_SECONDS, PatientChannel

HEAD = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"


class Connection:
    """A client's end of one."""

    def __init__(self) -> None:
        self.clock, self.transport, self.served = Clock(), StringTransport(), []
        served: list[bytes] = self.served

        class Served(Request):  # type: ignore[misc]
            def process(self) -> None:
                served.append(self.content.read())
                self.setHeader(b"content-length", b"0")
                self.finish()

        channel: Any = PatientChannel()
        channel.callLater, channel.timeOut, channel.requestFactory = self.clock.callLater, 60, Served
        channel.factory = channel.site = None
        channel.makeConnection(self.transport)
        self.channel = channel

    def drip(self, data: bytes, *, each_seconds: float) -> float:
        """Seconds until it was hung up on, or until all was said."""
        for number in range(len(data)):
            self.channel.dataReceived(data[number : number + 1])
            self.clock.advance(each_seconds)
            if self.over:
                break
        return float(self.clock.seconds())

    @property
    def over(self) -> bool:
        return bool(self.transport.disconnecting)


@pytest.mark.parametrize("before", [b"", HEAD + b"0123456789"])
def test_a_head_that_drips_in_is_hung_up_on_in_its_time_also_on_a_connection_that_was_good_before(before: bytes) -> None:
    """J05: though a byte comes each second, as Twisted's own clock wants it."""
    client = Connection()
    if before:
        client.channel.dataReceived(before)
        assert client.served == [b"0123456789"]
    took = client.drip(b"GET /" + b"a" * 500, each_seconds=1)
    assert client.over and took == HEAD_SECONDS
    assert len(client.served) == bool(before)


def test_a_head_in_good_time_and_a_slow_body_are_served(caplog: pytest.LogCaptureFixture) -> None:
    """Large uploads over slow lines: the body has a minute between two pieces, and an idle connection has one between two requests."""
    client = Connection()
    client.drip(HEAD, each_seconds=HEAD_SECONDS / len(HEAD) / 2)
    assert client.drip(b"0123456789", each_seconds=40) > 300
    assert (client.served, client.over) == ([b"0123456789"], False)
    client.clock.advance(19)
    assert not client.over
    client.clock.advance(2)
    assert client.over, "nothing more came for a minute"


def test_who_opens_one_and_says_nothing_is_shown_out() -> None:
    """J05"""
    client = Connection()
    client.clock.advance(59)
    assert not client.over
    client.clock.advance(2)
    assert client.over


FILES = b"/api/containers/0190aaaa-bbbb-7ccc-8ddd-eeeeffff0000/files/content?path=x"
HOSTS = b" HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize(
    ("path", "most"), [(b"/api/auth/sign-in", 1000), (b"/containers/new/files", 1000), (FILES, 5000), (b"/api/files/x/upload", 5000)]
)
def test_a_body_has_a_bound_before_anybody_is_asked_who_they_are(path: bytes, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """J03: told beforehand or in chunks; where files come in, it is the room on the disk but for a tenth."""
    monkeypatch.setattr(patience, "OTHER_BYTES", 1000)
    monkeypatch.setattr(patience.shutil, "disk_usage", lambda _folder: SimpleNamespace(total=20_000, free=7_000))

    fits = Connection()
    fits.channel.dataReceived(b"PUT " + path + HOSTS + b"Content-Length: %d\r\n\r\n" % most + b"x" * most)
    assert (fits.served, fits.over) == ([b"x" * most], False)
    fits.channel.dataReceived(b"PUT " + path + HOSTS + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
    assert fits.served[1] == b"abc"

    told = Connection()
    told.channel.dataReceived(b"PUT " + path + HOSTS + b"Content-Length: %d\r\nExpect: 100-continue\r\n\r\n" % (most + 1) + b"x" * 50)
    assert told.over and told.served == []
    assert told.transport.value().startswith(b"HTTP/1.1 413 ") and b'"code": "too_large"' in told.transport.value()

    chunked = Connection()
    chunked.channel.dataReceived(b"PUT " + path + HOSTS + b"Transfer-Encoding: chunked\r\n\r\n")
    sent = 0
    while not chunked.over:
        assert sent <= most, "it takes more than its bound"
        chunked.channel.dataReceived(b"64\r\n" + b"x" * 100 + b"\r\n")
        sent += 100
    assert chunked.served == [] and chunked.transport.value().startswith(b"HTTP/1.1 413 ")
    chunked.channel.dataReceived(b"0\r\n\r\n")
    assert chunked.served == [], "what comes after the refusal is not read"


class Full:
    """A disk without room, as a file meets it: with the piece that it can't write, or with what it still held in memory."""

    def __init__(self, after: int) -> None:
        self.left, self.closed = after, False

    def write(self, data: bytes) -> None:
        self.left -= len(data)
        if self.left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")

    def close(self) -> None:
        self.closed = True
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("coded", [False, True])
def test_a_disk_that_fills_while_a_body_comes_refuses_it_and_keeps_nothing(coded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """J03: each of many bodies had room when it began. The client hears why though it still sends."""
    file = Full(after=1000)
    monkeypatch.setattr("twisted.web.http._getContentFile", lambda _length: file)
    client = Connection()
    told = b"Transfer-Encoding: chunked\r\n\r\n" if coded else b"Content-Length: 5000\r\n\r\n"
    client.channel.dataReceived(b"PUT " + FILES + HOSTS + told)
    for _ in range(20):
        client.channel.dataReceived(b"64\r\n" + b"x" * 100 + b"\r\n" if coded else b"x" * 100)
    answer = client.transport.value()
    assert answer.startswith(b"HTTP/1.1 507 ") and answer.count(b"HTTP/1.1") == 1 and b'"code": "storage_full"' in answer
    assert file.closed and client.served == []
    assert not client.over
    client.clock.advance(patience.LINGER_SECONDS)
    assert client.over


def test_not_even_a_file_for_the_body_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """J03"""

    def full(_length: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("twisted.web.http._getContentFile", full)
    client = Connection()
    client.channel.dataReceived(b"PUT " + FILES + HOSTS + b"Content-Length: 500000\r\n\r\n" + b"x" * 100)
    assert client.transport.value().startswith(b"HTTP/1.1 507 ") and client.served == []


@pytest.mark.parametrize(("path", "least"), [(b"/api/auth/sign-in", 500), (FILES, 1000)])
def test_the_room_is_looked_at_again_while_a_body_comes(path: bytes, least: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """J03: bodies of a usual size leave a twentieth of a small disk, large ones a tenth, whoever else fills it meanwhile."""
    disk = SimpleNamespace(total=10_000, free=9_000)
    monkeypatch.setattr(patience.shutil, "disk_usage", lambda _folder: disk)
    monkeypatch.setattr(patience, "OTHER_BYTES", 3000 if path != FILES else 100)
    monkeypatch.setattr(patience, "LOOK_BYTES", 200)
    client = Connection()
    client.channel.dataReceived(b"PUT " + path + HOSTS + b"Content-Length: 2000\r\n\r\n" + b"x" * 300)
    disk.free = least
    client.channel.dataReceived(b"x" * 300)
    assert client.transport.value() == b"", "there is enough still"
    disk.free = least - 1
    client.channel.dataReceived(b"x" * 300)
    assert client.transport.value().startswith(b"HTTP/1.1 507 ")
    client.channel.dataReceived(b"x" * 1100)
    assert client.served == []
    client.channel.connectionLost()
    client.clock.advance(patience.LINGER_SECONDS)  # nothing is left to be called


def test_the_panel_takes_its_connections_so() -> None:
    import lormas.asgi  # noqa: F401 - as the server loads it

    assert HTTPFactory.protocol is PatientChannel
