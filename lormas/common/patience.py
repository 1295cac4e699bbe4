"""How long a client may take to say what it wants, and how much it may send before anybody has asked who it is (SECURITY J03, J05).

Twisted hangs up on who says nothing for a minute, and begins to count anew with each byte: one byte a minute holds a connection for days.
Here the head of a request (its first line and headers) has its time as a whole, from its first byte on. Its body has the minute between two
pieces, since large uploads over slow lines are what people do.

And daphne takes all of a body onto the disk before the application sees the request: whoever sends without end would fill it, on any path and without
an account. Here a body has a bound: that of `OTHER_BYTES`, and where files are uploaded the room that there is, but for a floor that stays free.
Others fill the disk meanwhile, though: while a body comes the room is looked at again, and one that finds none is refused (507) and not kept.
"""

from __future__ import annotations

import contextlib
import errno
import json
import re
import shutil
import tempfile
from typing import Any, Final

from daphne.http_protocol import HTTPFactory
from twisted.internet.protocol import connectionDone
from twisted.web.http import HTTPChannel

HEAD_SECONDS: Final = 30.0
OTHER_BYTES: Final = 64 * 1024 * 1024
"""Far above what any view takes (1 to 3 MiB, or some eggs at once): those refuse with words of their own."""
FLOOR: Final = 0.1
"""Part of the disk that bodies leave free."""
LEAST_BYTES: Final = 64 * 1024 * 1024
"""Or a twentieth of a small disk: so much stays free of bodies within `OTHER_BYTES`, too. The panel's own data may lie on the same disk."""
LOOK_BYTES: Final = 4 * 1024 * 1024
"""The room is looked at each time that so much has come."""
LINGER_SECONDS: Final = 5.0
"""Who is refused in the middle of a body still sends: hung up on at once, they would hear of a broken connection and not of the refusal."""
UPLOADS: Final = re.compile(rb"/(?:api/files/|(?:api/)?containers/[0-9a-fA-F-]{36}/files(?:[/?]|$))")
_Untyped: Any = HTTPChannel


def bound_of(path: bytes) -> int:
    """Bytes that the body of a request to this path may have."""
    if not UPLOADS.match(path):
        return OTHER_BYTES
    disk = shutil.disk_usage(tempfile.gettempdir())
    return max(OTHER_BYTES, disk.free - int(disk.total * FLOOR))


def has_room(come: int) -> bool:
    """May a body of which `come` bytes have come grow on?"""
    disk = shutil.disk_usage(tempfile.gettempdir())
    least = disk.total * FLOOR if come > OTHER_BYTES else min(LEAST_BYTES, disk.total / 20)
    return disk.free >= least


def _refusal(status: int, phrase: str, *, title: str, code: str, detail: str) -> bytes:
    body = json.dumps({"type": "about:blank", "title": title, "status": status, "code": code, "detail": detail}).encode()
    head = f"HTTP/1.1 {status} {phrase}\r\nContent-Type: application/problem+json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


def _too_large(most: int) -> bytes:
    return _refusal(413, "Content Too Large", title="Too large", code="too_large", detail=f"At most {most} bytes can be taken here.")


NO_ROOM: Final = _refusal(
    507,
    "Insufficient Storage",
    title="Storage is full",
    code="storage_full",
    detail="There is no room left on the panel's disk for what is sent. Nothing of it was kept; free some space and send it again.",
)


class PatientChannel(_Untyped):  # type: ignore[misc]  # Twisted gives no types here
    """A connection whose requests must begin in good time, and have an end."""

    _head_timer: Any = None
    _most = _body_bytes = _looked_at_bytes = 0
    _refused = False

    def dataReceived(self, data: bytes) -> None:
        if self._refused:
            return
        if self._head_timer is None and self.line_mode and not self._handlingRequest:
            self._head_timer = self.callLater(HEAD_SECONDS, self._too_late)
        super().dataReceived(data)

    def allHeadersReceived(self) -> None:
        self._end_timer()
        self._most, self._body_bytes, self._looked_at_bytes = bound_of(self._path), 0, 0
        if self.length is not None and self.length > self._most:
            self._refuse()
            return
        try:
            super().allHeadersReceived()
        except OSError as error:  # not even the file for the body could be made
            self._stop_if_full(error)

    def rawDataReceived(self, data: bytes) -> None:
        if self._refused:
            return
        if not self._handlingRequest:
            self._body_bytes += len(data)
            if self.length is None and self._body_bytes > self._most:  # in chunks: nobody said how much will come
                self._refuse()
                return
            if self._body_bytes - self._looked_at_bytes >= LOOK_BYTES:
                self._looked_at_bytes = self._body_bytes
                if not has_room(self._body_bytes):
                    self._no_room()
                    return
        try:
            super().rawDataReceived(data)
        except OSError as error:
            self._stop_if_full(error)

    def _stop_if_full(self, error: OSError) -> None:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise error
        self._no_room()

    def _no_room(self) -> None:
        self._refused = True
        for request in self.requests:
            if request.content is not None:
                with contextlib.suppress(OSError):  # what it still held in memory finds no room either; the file goes all the same
                    request.content.close()
        self.transport.write(NO_ROOM)
        self.setTimeout(None)
        self._end_timer()
        self._head_timer = self.callLater(LINGER_SECONDS, self.loseConnection)

    def _refuse(self) -> None:
        self._refused = True
        self.transport.write(_too_large(self._most))
        self.loseConnection()

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
