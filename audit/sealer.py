"""Seals behind the acts. A program that serves has one thread that seals for all: no act waits for it, nor for the write lock that sealing takes."""

from __future__ import annotations

import threading
from typing import Final

import structlog
from django.db import DatabaseError

from audit import chain
from lormas.common.database import give_back

log = structlog.get_logger(__name__)

BEHIND_SECONDS: Final = 0.2
"""So long rows gather before they are sealed together. What a death leaves unsealed is the sweep's."""


class Sealer:
    """From `start` to `stop` the seals of this process are its work."""

    def __init__(self, *, behind_seconds: float = BEHIND_SECONDS) -> None:
        self._behind_seconds = behind_seconds
        self._asked = threading.Event()
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._work, name="sealer", daemon=True)

    def start(self) -> None:
        self._thread.start()
        chain.hand_over(self._asked.set)

    def stop(self) -> None:
        """What was asked for is sealed when this returns; acts seal for themselves again."""
        chain.hand_over(None)
        self._ending.set()
        self._asked.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._ending.is_set():
            self._asked.wait()
            self._ending.wait(self._behind_seconds)
            self._asked.clear()  # before the look: a row that comes meanwhile asks again
            try:
                chain.seal_pending(wait=False)
            except DatabaseError as error:
                log.warning("audit.seal_failed", error=str(error))
            finally:
                give_back()
