"""Messages of streams that are more than one exec: shared terminals, and bulk transfers on a socket of their own. See `agent.protocol.messages`."""

from __future__ import annotations

from typing import Any

from agent.protocol.parts import Frame


class TerminalOpen(Frame, tag="terminal_open", frozen=True):
    """View the terminal `name` of a container; made if there is none (else `argv`, `env`, `user`, `working_dir` say nothing).

    Its last bytes come first (replay), then what it writes, as `frames.EXEC_STDOUT`; a `StreamNote` tells sizes, its `StreamEnd` the end.
    Input and resizing are those of an exec. `Unwatch` ends only this view: the terminal lives on.
    """

    stream_id: str
    container_id: str
    name: str
    argv: list[str] = []
    env: dict[str, str] = {}
    working_dir: str = ""
    user: str = ""
    columns: int = 80
    rows: int = 24
    credit_bytes: int = 256 * 1024
    record: bool = False
    """Keep what it writes (never what is typed) as an asciicast; counts only for the one who makes it."""
    opened_by: str = ""


class StreamNote(Frame, tag="stream_note", frozen=True):
    """A word about a stream, passed on to its viewer as it is: `{"opened": bool, "columns", "rows", "viewers", "recorded", "skipped"}`."""

    stream_id: str
    note: dict[str, Any]


class BulkOpen(Frame, tag="bulk_open", frozen=True):
    """Dial `WS /api/ws/nodes/streams/{stream_id}` with the node's token and carry out `kind` there (see `agent.protocol.bulk`).

    If it can't be dialled there is nobody to tell: the panel gives up after its own time.
    """

    stream_id: str
    container_id: str
    kind: str
    payload: dict[str, Any] = {}
