"""Questions about what happens inside a container: its processes, its terminals, their recordings. See `agent.protocol.commands.RPCS`."""

from __future__ import annotations

from agent.protocol.parts import Part


class ProcessInfo(Part, frozen=True):
    """One process. `pid` is the one it has inside the container, where there is an inside."""

    pid: int
    parent: int = 0
    user: str = ""
    state: str = ""
    """The kernel's letter: R, S, D, T, Z..."""
    cpu_seconds: float = 0
    memory_bytes: int = 0
    started_at_unix: float = 0
    command: str = ""
    """The command line, at most 512 characters."""
    is_exec: bool = False
    """Started by an exec or a terminal, not by the container itself."""


class ProcessList(Part, frozen=True):
    """`process.list` -> {"processes": [ProcessInfo]}, at most 500, by pid."""


class ProcessSignal(Part, frozen=True):
    """`process.signal` -> {}: a signal to one process of the container. Errors `no_such_process`, `not_running`, `unsupported`."""

    pid: int
    signal: str


class TerminalList(Part, frozen=True):
    """`terminal.list` -> {"terminals": [{"name", "columns", "rows", "viewers", "recorded", "opened_by", "opened_at_unix", "idle_seconds"}]}."""


class TerminalKill(Part, frozen=True):
    """`terminal.kill` -> {}: end it for everybody. Error `no_such_terminal`."""

    name: str


class RecordingList(Part, frozen=True):
    """`recording.list` -> {"recordings": [{"id", "name", "opened_by", "started_at_unix", "seconds", "bytes"}]}, newest first."""


class RecordingDelete(Part, frozen=True):
    """`recording.delete` -> {}. Error `no_such_recording`."""

    id: str


INSIDE_RPCS: dict[str, type[Part]] = {
    "process.list": ProcessList,
    "process.signal": ProcessSignal,
    "terminal.list": TerminalList,
    "terminal.kill": TerminalKill,
    "recording.list": RecordingList,
    "recording.delete": RecordingDelete,
}
