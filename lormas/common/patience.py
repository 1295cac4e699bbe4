"""How long a client may take to say what it wants (SECURITY J05).

Twisted hangs up on who says nothing for a minute, and begins to count anew with each byte: one byte a minute holds a connection for days.
Here the head of a request (its first line and headers) has its time as a whole, from its first byte on. Its body has the minute between two
pieces, since large uploads over slow lines are what people do.
"""

from __future__ import annotations

from typing import Any, Final

from daphne.http_protocol import HTTPFactory
from twisted.internet.protocol import connectionDone
from twisted.web.http import HTTPChannel

HEAD_SECONDS: Final = 30.0
_Untyped: Any = HTTPChannel


class PatientChannel(_Untyped):  # type: ignore[misc]  # Twisted gives no types here
    """A connection whose requests must begin in good time."""

    _head_timer: Any = None

    def dataReceived(self, data: bytes) -> None:
        if self._head_timer is None and self.line_mode and not self._handlingRequest:
            self._head_timer = self.callLater(HEAD_SECONDS, self._too_late)
        super().dataReceived(data)

    def allHeadersReceived(self) -> None:
        self._end_timer()
        super().allHeadersReceived()

    def connectionLost(self, reason: Any = connectionDone) -> None:
        self._end_timer()
        super().connectionLost(reason)

    def _end_timer(self) -> None:
        if self._head_timer is not None and self._head_timer.active():
            self._head_timer.cancel()
        self._head_timer = None

    def _too_late(self) -> None:
        self._head_timer = None
        self.timeoutConnection()


def install() -> None:
    """Once, before the server starts."""
    HTTPFactory.protocol = PatientChannel
