"""Who opens a connection and takes for ever to say what for, or sends without end; the clock is Twisted's own, wound by hand."""

from __future__ import annotations

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


def test_the_panel_takes_its_connections_so() -> None:
    import lormas.asgi  # noqa: F401 - as the server loads it

    assert HTTPFactory.protocol is PatientChannel
