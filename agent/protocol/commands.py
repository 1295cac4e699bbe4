"""The closed list of what a panel may ask of an agent. Anything else is answered with an error (SECURITY.md A04).

Commands are durable and idempotent by id; RPCs are questions. Payloads are decoded with `msgspec.convert(payload, Kind)`.
"""

from __future__ import annotations

from agent.protocol.files import FILE_RPCS
from agent.protocol.foreign import FOREIGN_COMMANDS, FOREIGN_RPCS
from agent.protocol.inside import INSIDE_RPCS
from agent.protocol.messages import ContainerSpec, LogStream, Part, RegistryAuth, StopSpec
from agent.protocol.moving import MOVING_COMMANDS
from agent.protocol.nodework import NODE_COMMANDS, NODE_RPCS
from agent.protocol.parts import ConfigEdit, InstallScript
from agent.protocol.swarm import SWARM_COMMANDS, SWARM_RPCS
from agent.protocol.tunnels import TUNNEL_RPCS


class CreatePayload(Part, frozen=True):
    """`container.create`: pull the image if need be, create, and start if asked. Data: {"runtime_ref", "warnings": [...]}.

    If a container of this id already exists (an earlier try died between engine and answer) it is taken over, not doubled.
    """

    spec: ContainerSpec
    start: bool = True
    pull: str = "missing"
    """always | missing | never"""
    registry_auth: RegistryAuth | None = None
    pull_timeout_seconds: float = 900
    replace: bool = False
    """Remove an existing container of this id first (recreate; its `data` mount stays)."""
    stop: StopSpec | None = None
    """With `replace`: how to end the old one, if it runs; None = kill."""
    edits: list[ConfigEdit] = []
    """Changes of files for this start alone, before those of the spec."""
    notes: list[str] = []
    """Lines for its log (stream `events`) once it is made."""


class StartPayload(Part, frozen=True):
    """`container.start`: no-op if it runs. Error `no_such_container` if there is none."""

    spec: ContainerSpec | None = None
    """If given and there is no container, it is created from this first. Its configuration files are written before the start."""
    edits: list[ConfigEdit] = []


class StopPayload(Part, frozen=True):
    """`container.stop`: ask, wait `grace_seconds`, then kill. No-op if it does not run; success if it is gone."""

    stop: StopSpec = StopSpec()


class RestartPayload(Part, frozen=True):
    """`container.restart`: stop as in `StopPayload`, then start."""

    stop: StopSpec = StopSpec()
    spec: ContainerSpec | None = None
    edits: list[ConfigEdit] = []


class InstallPayload(Part, frozen=True):
    """`container.install`: end and remove the container if there is one (its data stays), run the install script, create the container, and
    start it if asked. Data as `container.create`.

    Error `install_failed` if the script ends with another code than 0 or too late: there is no container then, but its data and log are kept.
    A kill aborts it. An installer that an agent's death left running is taken over, never doubled.
    """

    spec: ContainerSpec
    install: InstallScript
    start: bool = True
    stop: StopSpec = StopSpec()
    """How to end the old one, if it runs."""
    registry_auth: RegistryAuth | None = None
    pull_timeout_seconds: float = 900


class KillPayload(Part, frozen=True):
    """`container.kill`: at once, overtaking whatever runs on this container."""

    signal: str = "SIGKILL"


class RemovePayload(Part, frozen=True):
    """`container.remove`: kill and remove; 'already gone' is success. `keep_data` leaves the `data` mount, `keep_logs` the log store."""

    keep_data: bool = False
    keep_logs: bool = False


class UpdatePayload(Part, frozen=True):
    """`container.update`: other limits for the container that is there, running or not, without making it anew. Data: {"limits": as applied}.

    Error `unsupported` where the runtime or its engine can't; `invalid_spec` if the engine refuses (less memory than is in use, say).
    """

    spec: ContainerSpec
    """As it is wanted; only its limits are applied."""


class EmptyPayload(Part, frozen=True):
    """`container.pause`, `container.unpause`, `node.sync`."""


COMMANDS: dict[str, type[Part]] = {
    "container.create": CreatePayload,
    "container.install": InstallPayload,
    "container.start": StartPayload,
    "container.stop": StopPayload,
    "container.restart": RestartPayload,
    "container.kill": KillPayload,
    "container.pause": EmptyPayload,
    "container.unpause": EmptyPayload,
    "container.remove": RemovePayload,
    "container.update": UpdatePayload,
    **NODE_COMMANDS,
    **FOREIGN_COMMANDS,
    **MOVING_COMMANDS,
    **SWARM_COMMANDS,
}


class LogsQuery(Part, frozen=True):
    """`logs.read` -> {"lines": [[seq, time, stream, text], ...] (oldest first), "first_seq", "last_seq", "more": bool,
    "gaps": [[after_seq, lost_lines or null], ...]}.

    `first_seq`/`last_seq` are those of the whole store. With `after` or `since` reading goes forward and `more` says that lines
    follow; with `tail` alone the last ones are given.
    """

    streams: list[LogStream] = []
    tail: int = 0
    after: int = -1
    before: int = -1
    since: str = ""
    until: str = ""
    search: str = ""
    """Plain text, case-insensitive; prefix `regex:` for a pattern (run with a time limit)."""
    limit: int = 1000


class LogsAppend(Part, frozen=True):
    """`logs.append` -> {"seq"}: an entry somebody adds by hand, stream `application` or `events`."""

    text: str
    stream: LogStream = "events"


class LogsClear(Part, frozen=True):
    """`logs.clear` -> {"last_seq"}: numbers go on where they were."""


class LogsTidy(Part, frozen=True):
    """`logs.tidy` (of the whole node) -> {"rotated", "dropped", "forgotten"}: begin new segments, drop those whose last line is older, and whole
    logs of containers that are gone."""

    rotate: bool = False
    older_than_seconds: float = 0
    """0: nothing is too old."""
    forget: list[str] = []


class StdinWrite(Part, frozen=True):
    """`container.stdin` -> {}: a line for the main process's standard input (newline added)."""

    text: str


class ExecRun(Part, frozen=True):
    """`exec.run` -> {"exit_code", "stdout", "stderr", "duration_seconds", "truncated", "timed_out"}: one shot, output capped at 256 KiB a stream."""

    argv: list[str]
    env: dict[str, str] = {}
    working_dir: str = ""
    user: str = ""
    stdin: str = ""
    timeout_seconds: float = 30


class DriftQuery(Part, frozen=True):
    """`container.drift` -> {"differences": [[field, wanted, running], ...]}: what the engine's container is, where that is not what `spec` makes.

    Fields: `image`, `command`, `cpus`, `memory_bytes`, `swap_bytes`, `io_weight`, `pids`, `ports`, `env.NAME`, `labels.NAME`; null = it is not there.
    """

    spec: ContainerSpec


RPCS: dict[str, type[Part]] = {
    "logs.read": LogsQuery,
    "logs.append": LogsAppend,
    "logs.clear": LogsClear,
    "logs.tidy": LogsTidy,
    "container.stdin": StdinWrite,
    "container.inspect": EmptyPayload,
    "container.stats": EmptyPayload,
    "container.drift": DriftQuery,
    "exec.run": ExecRun,
    "node.sync": EmptyPayload,
    "node.facts": EmptyPayload,
    **NODE_RPCS,
    **INSIDE_RPCS,
    **FILE_RPCS,
    **TUNNEL_RPCS,
    **FOREIGN_RPCS,
    **SWARM_RPCS,
}
"""`container.inspect` -> {"report": ContainerReport}, `container.stats` -> {"stats": ContainerStats},
`node.sync` -> {} and the agent sends a `Snapshot`, `node.facts` -> {"facts": NodeFacts}."""

ERROR_CODES: dict[str, str] = {
    "no_such_container": "The container is not on this node.",
    "no_such_image": "The image does not exist, or the registry does not let us have it.",
    "pull_failed": "The image could not be pulled.",
    "port_taken": "A port that the container needs is in use on the node.",
    "name_taken": "The engine already has a container of this name that is not ours.",
    "invalid_spec": "The engine refuses the settings.",
    "unsupported": "This runtime can't do that.",
    "not_running": "The container does not run.",
    "engine_down": "The engine does not answer.",
    "engine_error": "The engine answered with an error.",
    "install_failed": "The install script did not end well.",
    "start_failed": "The container was created but could not be started.",
    "timeout": "The engine did not answer in time.",
    "expired": "The command was too old to be started.",
    "stale_epoch": "The container has been placed elsewhere since.",
    "cancelled": "A later action overtook this one.",
    "disk_full": "No space left on the node.",
    "no_such_process": "The container has no such process.",
    "no_such_terminal": "The terminal has ended.",
    "no_such_recording": "The recording is gone.",
    "too_many": "The node's limit of such things is reached.",
    "policy_denied": "The node's own policy forbids it.",
    "interrupted": "The agent died while it was doing this, and what it left could not be told.",
    "unknown_command": "This agent does not know this command.",
    "bad_payload": "The command's content is not valid.",
    "in_use": "Something on the node uses it.",
    "running": "The container runs; its files don't hold still.",
    "changed": "Something changed while it was read.",
    "not_found": "There is no such thing on the node.",
    "not_a_manager": "The engine manages no swarm.",
    "other_swarm": "The engine is in another swarm.",
    "no_quorum": "Too few managers of the swarm answer.",
    "foreign": "Somebody else made it: it is shown, and never changed.",
    "upgrade_failed": "The agent could not be upgraded and runs as before.",
    "internal": "The agent failed inside; see its log.",
}
