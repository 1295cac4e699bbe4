"""cloudflared's command line, and what its log says. Pure.

The token is never an argument: every user of a machine can read those. It goes by `TUNNEL_TOKEN`, as cloudflared's own documents say.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

PROGRAM = "cloudflared"
TOKEN_VARIABLE = "TUNNEL_TOKEN"  # noqa: S105 - a name
ARGUMENTS = ("tunnel", "--no-autoupdate", "--metrics", "127.0.0.1:0", "run")
"""The metrics server of cloudflared listens on all addresses inside of containers unless told otherwise; it shares the container's network."""
LINE = 500

_HOSTNAME = re.compile(r'\\?"hostname\\?":\s*\\?"([A-Za-z0-9*][A-Za-z0-9.*-]{0,252})\\?"')
_INDEX = re.compile(r"\bconnIndex=(\d+)")
_UP = ("Registered tunnel connection",)
_DOWN = ("Unregistered tunnel connection", "Connection terminated", "Serve tunnel error", "Lost connection", "Retrying connection")
_STAMP = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+Z\s+")


@dataclass(slots=True)
class Heard:
    """What one run of the program has said so far."""

    urls: list[str] = field(default_factory=list)
    up: set[str] = field(default_factory=set)
    error: str = ""
    last: str = ""

    def take(self, lines: Iterable[str]) -> None:
        for line in lines:
            self._take(line)

    def _take(self, line: str) -> None:
        if not line.strip():
            return
        if "Updated to new configuration" in line:
            names = dict.fromkeys(name.lower() for name in _HOSTNAME.findall(line))
            self.urls = [f"https://{name}" for name in names][:20]
            return
        index = found.group(1) if (found := _INDEX.search(line)) else "0"
        if any(words in line for words in _UP):
            self.up.add(index)
            self.error = ""
        elif any(words in line for words in _DOWN):
            self.up.discard(index)
        if " ERR " in line or " FTL " in line:
            self.error = _STAMP.sub("", line)[:LINE].strip()
        self.last = _STAMP.sub("", line)[:LINE].strip()

    @property
    def reason(self) -> str:
        """Why it ended, as far as it said."""
        return self.error or self.last
