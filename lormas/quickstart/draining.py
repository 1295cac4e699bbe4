"""A web program that is told to end takes nobody new in, answers those whom it let in, and then ends (SECURITY R02).

Agents' and browsers' sockets stay until then: an answer may have to come from a node. Who waits for the end of an operation is answered at once with
how far it is; it goes on without this process.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, Final

import structlog
from daphne.http_protocol import WebRequest
from daphne.server import Server
from twisted.internet import defer

from nodes import operations

log = structlog.get_logger(__name__)

DRAIN_SECONDS: Final = 6.0
"""What is not answered by then is hung up on: supervisors and container engines kill who does not end."""
LAST_SECONDS: Final = 0.05
"""For what the transport still holds of the last answer."""


class DrainingServer(Server):  # type: ignore[misc]  # daphne has no types
    """daphne's, with an end."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self._ports: list[Any] = []

    def listen_success(self, port: Any) -> None:
        """Called once for each address."""
        self._ports.append(port)
        super().listen_success(port)

    def kill_all_applications(self) -> Any:
        """Called by the reactor when it is to stop; it goes on until the result is there."""
        ended = defer.Deferred.fromFuture(asyncio.ensure_future(self._end()))
        ended.addErrback(lambda failure: log.error("web.end_failed", error=str(failure.value)))
        return ended

    def _in_work(self) -> list[Any]:
        """The work on requests whose answer is not out yet."""
        return [
            work
            for protocol, details in self.connections.items()
            if isinstance(protocol, WebRequest)
            and not details.get("disconnected")
            and (work := details.get("application_instance")) is not None
            and not work.done()
        ]

    async def _end(self) -> None:
        for port in self._ports:
            port.stopListening()
        operations.answer_waiting()
        began, waited = time.monotonic(), len(self._in_work())
        while (works := self._in_work()) and (left := began + DRAIN_SECONDS - time.monotonic()) > 0:
            await asyncio.wait(works, timeout=left)
        if waited:
            log.info("web.drained", requests=waited, left=len(self._in_work()), seconds=round(time.monotonic() - began, 2))
            await asyncio.sleep(LAST_SECONDS)
        works = [work for details in self.connections.values() if (work := details.get("application_instance")) is not None and not work.done()]
        for work in works:
            work.cancel()
        await asyncio.gather(*works, return_exceptions=True)
