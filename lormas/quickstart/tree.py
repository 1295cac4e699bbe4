"""Talking to our own supervisord, over its socket in the data folder."""

from __future__ import annotations

import os
import time
import xmlrpc.client
from pathlib import Path
from typing import Any

from lormas.quickstart.say import Trouble


class Tree:
    """The process tree. All calls are bounded by supervisord answering at once."""

    def __init__(self, socket: str) -> None:
        from supervisor.xmlrpc import SupervisorTransport

        self._proxy = xmlrpc.client.ServerProxy("http://127.0.0.1", transport=SupervisorTransport(None, None, serverurl=f"unix://{socket}"))

    @classmethod
    def mine(cls) -> Tree:
        return cls(os.environ["LORMAS_RUN_SOCKET"])

    def _call(self, name: str, *arguments: Any) -> Any:
        return getattr(self._proxy.supervisor, name)(*arguments)

    def start(self, name: str) -> None:
        """Without waiting; one that already runs is left alone."""
        try:
            self._call("startProcess", f"lormas:{name}", False)
        except xmlrpc.client.Fault as fault:
            if "ALREADY_STARTED" not in fault.faultString:
                raise Trouble(f"{name} could not be started ({fault.faultString}).") from fault

    def state(self, name: str) -> str:
        """RUNNING, STARTING, BACKOFF, FATAL, EXITED, STOPPED..."""
        return str(self._call("getProcessInfo", f"lormas:{name}")["statename"])

    def shutdown(self) -> None:
        self._call("shutdown")

    def ensure_alive(self, name: str, logs: Path) -> None:
        """Raises Trouble with the last words of a program that keeps dying."""
        if self.state(name) not in ("FATAL", "BACKOFF", "EXITED"):
            return
        file = logs / f"{name}.log"
        words = file.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:] if file.exists() else []
        raise Trouble(f"{name} does not stay up ({words[0][:300] if words else 'it said nothing'}): see {file}.")


def wait(check: Any, *, seconds: float, pause: float = 0.05) -> Any:
    """Poll until `check()` gives something true, or None after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        found = check()
        if found or time.monotonic() > deadline:
            return found or None
        time.sleep(pause)
