"""What a runtime can say of the inside of a container: its processes, and where its files are on this machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from agent.protocol.inside import ProcessInfo
from agent.runtimes.base import RuntimeFailure


@dataclass(frozen=True, slots=True)
class Place:
    """A folder of this machine that is the root of all that a person may reach of a container.

    `prefix`: what that folder is called inside (`/home/container`; `/` for a whole file system). `owner`: who new files belong to there.
    """

    folder: Path
    prefix: str
    owner: tuple[int, int] | None = None
    is_whole: bool = False
    """The container's whole file system, not only a data folder of its own: no trash and no quota there."""
    still_good: Callable[[], bool] | None = None
    """Asked once the folder is open: is it still the one that was meant? (A pid may have changed hands.)"""


class Inside(Protocol):
    """Raises RuntimeFailure: `no_such_container`, `not_running`, `unsupported`."""

    async def processes(self, container_id: str) -> list[ProcessInfo]: ...

    async def signal(self, container_id: str, pid: int, signal: str) -> None:
        """`pid` as `processes` gave it. Also `no_such_process`, `bad_payload`."""

    async def place(self, container_id: str) -> Place:
        """Also of a stopped container, where it has a data folder."""

    async def end_orphans(self) -> int:
        """Kill what execs of an earlier life of this agent left behind in containers of ours; returns how many processes."""


class NoInside:
    """For runtimes that have none."""

    async def processes(self, container_id: str) -> list[ProcessInfo]:
        return []

    async def signal(self, container_id: str, pid: int, signal: str) -> None:
        raise RuntimeFailure("unsupported", "This runtime has no processes.")

    async def place(self, container_id: str) -> Place:
        raise RuntimeFailure("unsupported", "This runtime keeps no files.")

    async def end_orphans(self) -> int:
        return 0
