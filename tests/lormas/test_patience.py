"""Who opens a connection and takes for ever to say what for; the clock is Twisted's own, wound by hand."""

from __future__ import annotations

from typing import Any

import pytest
from daphne.http_protocol import HTTPFactory
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.web.http import Request

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


def test_the_panel_takes_its_connections_so() -> None:
    import lormas.asgi  # noqa: F401 - as the server loads it

    assert HTTPFactory.protocol is PatientChannel
