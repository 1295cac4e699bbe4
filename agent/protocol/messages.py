"""Wire messages between panel and agent: one tagged struct a kind, JSON text frames.

Adding an optional field is free; changing the meaning of one needs a new kind. Unknown fields are ignored, unknown kinds are
answered with an `Oops` and change nothing. Each kind has a golden file in `tests/agent/golden/`.

Log batches and exec output do not travel as these structs but as binary frames: see `agent.protocol.frames`.

Units: bytes, seconds, cores; times are RFC 3339 UTC strings with `Z`, or Unix seconds as float where the name ends in `_at_unix`.
"""

from __future__ import annotations

from typing import Any, Literal, TypeVar

import msgspec

from agent.protocol.parts import (
    ContainerReport,
    ContainerSpec,
    ContainerStats,
    ErrorInfo,
    Frame,
    Limits,
    LogEntry,
    LogStream,
    Mount,
    NodeFacts,
    NodeUsage,
    ObservedState,
    Part,
    PortBinding,
    RegistryAuth,
    StopSpec,
)
from agent.protocol.streaming import BulkOpen, StreamNote, TerminalOpen

__all__ = [
    "MAX_FRAME_BYTES",
    "PROTOCOL_MINIMUM",
    "PROTOCOL_VERSION",
    "Ack",
    "AgentMessage",
    "BulkOpen",
    "Command",
    "ContainerReport",
    "ContainerSpec",
    "ContainerStats",
    "Credit",
    "ErrorInfo",
    "ExecResize",
    "ExecStart",
    "FactAck",
    "Frame",
    "FrameError",
    "Heartbeat",
    "Hello",
    "Limits",
    "LogEntry",
    "LogStream",
    "Mount",
    "NodeFacts",
    "NodeUsage",
    "ObservedState",
    "Oops",
    "PanelMessage",
    "Part",
    "Ping",
    "Pong",
    "PortBinding",
    "Progress",
    "Refused",
    "RegistryAuth",
    "Result",
    "ResultAck",
    "Rpc",
    "RpcReply",
    "Snapshot",
    "StateFact",
    "StatsReport",
    "StopSpec",
    "StreamEnd",
    "StreamNote",
    "TerminalOpen",
    "TokenRotated",
    "Unwatch",
    "Watch",
    "Welcome",
    "decode_from_agent",
    "decode_from_panel",
    "encode",
]

PROTOCOL_VERSION = 1
"""The version this code speaks best."""
PROTOCOL_MINIMUM = 1
"""The oldest version this code still understands (N-1 once there is a 2)."""

MAX_FRAME_BYTES = 1024 * 1024
"""Daphne closes a socket whose frame is larger; both ends stay below."""


# ------------------------------------------------------------------------------------------------------- agent -> panel


class Hello(Frame, tag="hello", frozen=True):
    """First frame of the agent. The panel answers `Welcome` or `Refused`."""

    protocol: int
    protocol_minimum: int
    agent_version: str
    instance_id: str
    """Identity of this agent installation (kept on disk); two agents with one token are told apart by it."""
    facts: NodeFacts
    capabilities: list[str] = []
    containers: list[ContainerReport] = []
    containers_complete: bool = False
    """True only if the runtime's listing succeeded; otherwise `containers` says nothing about what is missing."""
    known_commands: list[str] = []
    """Ids of commands that the agent has accepted and whose results are not yet acknowledged."""
    engine_error: str = ""


class Heartbeat(Frame, tag="heartbeat", frozen=True):
    """Every `Welcome.heartbeat_seconds`."""

    seq: int
    sent_at_unix: float
    usage: NodeUsage = NodeUsage()
    engine_ok: bool = True
    engine_error: str = ""


class Ack(Frame, tag="ack", frozen=True):
    """The agent has written the command down and will carry it out, whatever happens to the link."""

    command_id: str


class Progress(Frame, tag="progress", frozen=True):
    """Hint while a command runs; may be lost."""

    command_id: str
    percent: int
    message: str = ""


class Result(Frame, tag="result", frozen=True):
    """How a command ended; repeated after each hello until `ResultAck`."""

    command_id: str
    ok: bool
    error: ErrorInfo | None = None
    data: dict[str, Any] = {}
    report: ContainerReport | None = None


class StateFact(Frame, tag="state", frozen=True):
    """One container changed; repeated until `FactAck`. `fact_id` grows by one per agent installation."""

    fact_id: int
    report: ContainerReport


class Snapshot(Frame, tag="snapshot", frozen=True):
    """All containers of ours that the runtime sees. Only `complete` snapshots may make something missing."""

    snapshot_id: str
    complete: bool
    containers: list[ContainerReport] = []
    error: str = ""


class StatsReport(Frame, tag="stats", frozen=True):
    """Samples of all running containers and of the node; lossy."""

    sampled_at_unix: float
    node: NodeUsage
    containers: list[ContainerStats] = []


class RpcReply(Frame, tag="rpc_reply", frozen=True):
    """Answer to an `Rpc`."""

    request_id: str
    ok: bool
    data: dict[str, Any] = {}
    error: ErrorInfo | None = None


class StreamEnd(Frame, tag="stream_end", frozen=True):
    """A stream (log watch or exec) is over on the agent's side."""

    stream_id: str
    exit_code: int | None = None
    error: ErrorInfo | None = None


class Oops(Frame, tag="oops", frozen=True):
    """Either side got a frame it could not use; says what and goes on."""

    code: str
    detail: str
    about: str = ""


class Pong(Frame, tag="pong", frozen=True):
    """Answer to `Ping`."""

    nonce: str


# ------------------------------------------------------------------------------------------------------- panel -> agent


class Welcome(Frame, tag="welcome", frozen=True):
    """The agent is taken in. It first stops what `fenced` names, then goes on."""

    node_id: str
    node_name: str
    protocol: int
    panel_version: str
    panel_instance: str
    """Value for the ownership label: a container without it is never touched."""
    session_epoch: int
    """Grows with each accepted hello of this node; of two sockets the higher one is the true one."""
    heartbeat_seconds: float = 10
    stats_seconds: float = 5
    server_time_unix: float = 0
    fenced: list[str] = []
    """Containers that now live elsewhere: stop them before anything else."""
    fence_after_seconds: float = 0
    """When nothing was heard of the panel for so long, stop what runs: it may be started elsewhere by then. 0 = never."""
    capabilities: list[str] = []


class Refused(Frame, tag="refused", frozen=True):
    """The agent is not taken in, and why; the panel then closes with 4401/4403/4426/4429."""

    code: Literal["bad_token", "unknown_node", "protocol_too_old", "protocol_too_new", "replaced", "too_many", "bad_hello"]
    reason: str
    retry_after_seconds: float = 5


class Command(Frame, tag="command", frozen=True):
    """One durable act. `id` is the idempotency key: the agent runs it once and answers any repeat from its outbox.

    `kind` and `payload` are described by `agent.protocol.commands`.
    """

    id: str
    kind: str
    epoch: int = 0
    container_id: str = ""
    deadline_unix: float = 0
    """After this time it must not be started any more; the agent answers `expired`."""
    payload: dict[str, Any] = {}
    request_id: str = ""


class ResultAck(Frame, tag="result_ack", frozen=True):
    """The panel has stored the result; the agent may forget the command."""

    command_id: str


class FactAck(Frame, tag="fact_ack", frozen=True):
    """All facts up to and including `fact_id` are stored."""

    fact_id: int


class Rpc(Frame, tag="rpc", frozen=True):
    """A question that changes nothing durable (or whose loss is shown to the asker); answered once or never.

    `kind` and `payload` are described by `agent.protocol.commands`.
    """

    request_id: str
    kind: str
    container_id: str = ""
    payload: dict[str, Any] = {}
    timeout_seconds: float = 10


class Watch(Frame, tag="watch", frozen=True):
    """Ship the log of a container while the lease lasts; the same `stream_id` again renews the lease.

    The agent sends `frames.LOG` batches (all streams of the container, in seq order) that begin behind `after`
    (-1: from now on) under a window of `credit_bytes`.
    """

    stream_id: str
    container_id: str
    after: int = -1
    lease_seconds: float = 60
    credit_bytes: int = 1024 * 1024


class Credit(Frame, tag="credit", frozen=True):
    """More bytes may be sent on this stream."""

    stream_id: str
    bytes: int


class Unwatch(Frame, tag="unwatch", frozen=True):
    """Nobody watches any more; or: kill this exec."""

    stream_id: str


class ExecStart(Frame, tag="exec_start", frozen=True):
    """Open an exec; output comes as `frames.EXEC_*`, its end as `StreamEnd`."""

    stream_id: str
    container_id: str
    argv: list[str]
    env: dict[str, str] = {}
    working_dir: str = ""
    user: str = ""
    tty: bool = False
    columns: int = 80
    rows: int = 24
    timeout_seconds: float = 0
    credit_bytes: int = 256 * 1024


class ExecResize(Frame, tag="exec_resize", frozen=True):
    """New terminal size."""

    stream_id: str
    columns: int
    rows: int


class TokenRotated(Frame, tag="token_rotated", frozen=True):
    """The node's new token, in-band; the agent stores it (0600) before it answers with `Ack(command_id=rotation_id)`."""

    rotation_id: str
    token: str


class Ping(Frame, tag="ping", frozen=True):
    """Are you there? (application level: half-open links answer no TCP keep-alive for minutes)."""

    nonce: str


AgentMessage = Hello | Heartbeat | Ack | Progress | Result | StateFact | Snapshot | StatsReport | RpcReply | StreamEnd | StreamNote | Oops | Pong
PanelMessage = (
    Welcome
    | Refused
    | Command
    | ResultAck
    | FactAck
    | Rpc
    | Watch
    | Credit
    | Unwatch
    | ExecStart
    | ExecResize
    | TerminalOpen
    | BulkOpen
    | TokenRotated
    | Ping
    | Oops
)

_encoder = msgspec.json.Encoder()
_from_agent: msgspec.json.Decoder[AgentMessage] = msgspec.json.Decoder(AgentMessage)
_from_panel: msgspec.json.Decoder[PanelMessage] = msgspec.json.Decoder(PanelMessage)


class FrameError(ValueError):
    """A frame could not be decoded. `code` is `too_large`, `not_json`, `unknown_type` or `bad_shape`."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail


def encode(message: Frame) -> bytes:
    """One message as UTF-8 JSON.

    Raises:
        FrameError: `too_large`, when it would not fit into one frame.
    """
    data = _encoder.encode(message)
    if len(data) > MAX_FRAME_BYTES:
        raise FrameError("too_large", f"{type(message).__name__} of {len(data)} bytes is over the limit of {MAX_FRAME_BYTES}")
    return data


_T = TypeVar("_T")


def _decode(decoder: msgspec.json.Decoder[_T], data: bytes | str) -> _T:
    if len(data) > MAX_FRAME_BYTES:
        raise FrameError("too_large", f"frame of {len(data)} bytes is over the limit of {MAX_FRAME_BYTES}")
    try:
        return decoder.decode(data)
    except msgspec.ValidationError as error:
        text = str(error)
        raise FrameError("unknown_type" if "Invalid value" in text and "$.type" in text else "bad_shape", text) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FrameError("not_json", str(error)) from error


def decode_from_agent(data: bytes | str) -> AgentMessage:
    """Decode what an agent sent; raises `FrameError`."""
    return _decode(_from_agent, data)


def decode_from_panel(data: bytes | str) -> PanelMessage:
    """Decode what the panel sent; raises `FrameError`."""
    return _decode(_from_panel, data)
