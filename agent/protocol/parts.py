"""The structs inside wire messages. Units: bytes, seconds, cores; times are RFC 3339 UTC strings with `Z`."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

ObservedState = Literal["creating", "created", "running", "paused", "restarting", "exited", "removed", "unknown"]
"""What a runtime sees of one container."""

LogStream = Literal["application", "error", "startup", "events"]
"""application = stdout (and a TTY), error = stderr, startup = install and start scripts, events = what Lormas itself says of the container."""


class Part(msgspec.Struct, omit_defaults=True, forbid_unknown_fields=False, frozen=True, kw_only=True):
    """Base (no tag)."""


class Frame(msgspec.Struct, tag_field="type", omit_defaults=True, forbid_unknown_fields=False, frozen=True, kw_only=True):
    """Base of all messages: `{"type": <tag>, ...}`."""


class NodeFacts(Part, frozen=True):
    """What the agent found out about its machine; the panel copies it to the node's row."""

    hostname: str = ""
    ip_address: str = ""
    cpu_cores: float = 0
    cpu_architecture: str = ""
    total_memory_bytes: int = 0
    total_storage_bytes: int = 0
    operating_system: str = ""
    os_image: str = ""
    kernel_version: str = ""
    container_runtime: str = ""
    """e.g. `docker://20.10.24`, `process://1`, `fake://1`."""
    boot_id: str = ""
    runtime_kind: Literal["docker", "process", "fake"] = "docker"
    isolates: bool = True
    """False under the process runtime: nothing keeps containers apart from the machine."""


class Limits(Part, frozen=True):
    """Resource limits of one container; 0 means the runtime's default, never 'unlimited by accident'."""

    cpus: float = 0
    memory_bytes: int = 0
    swap_bytes: int = 0
    disk_bytes: int = 0
    io_weight: int = 0
    pids: int = 512


class PortBinding(Part, frozen=True):
    """One published port. `host_port` is always chosen by the panel from the node's range."""

    container_port: int
    host_port: int
    protocol: Literal["tcp", "udp"] = "tcp"
    host_ip: str = "0.0.0.0"  # noqa: S104 - published ports are meant to be reached


class Mount(Part, frozen=True):
    """`data`: the container's own folder/volume kept over recreates. `tmpfs`: memory. `bind`: a host path (needs a capability).
    `volume`: a volume that was there before, of a container that was taken over; its name is never a person's to choose (SECURITY A02)."""

    kind: Literal["data", "tmpfs", "bind", "volume"]
    target: str
    source: str = ""
    read_only: bool = False
    size_bytes: int = 0


class StopSpec(Part, frozen=True):
    """How to ask the process to end: a signal, or a line on its console; then wait, then kill."""

    signal: str = "SIGTERM"
    command: str = ""
    grace_seconds: float = 10


class RegistryAuth(Part, frozen=True):
    """Credentials for one pull. Never logged, never stored by the agent."""

    server: str
    username: str
    password: str


class ConfigEdit(Part, frozen=True):
    """One file in the container's data folder, changed before each start. A file that can't be read is told and left as it is."""

    path: str
    """Relative to the data folder."""
    parser: Literal["properties", "file", "json", "yaml", "ini", "xml", "toml"]
    finds: list[tuple[str, Any]] = []
    """(where, what) in order. `what` is text, a number, a boolean, or a map of old -> new (old may begin with `regex:`)."""
    create: bool = True
    """Make the file if it is missing."""


class Readiness(Part, frozen=True):
    """When a container that runs counts as ready. Without `done` its health check tells, and where there is none it is ready at once."""

    done: list[str] = []
    """Texts of which one must be in a line of its console; `regex:` begins a pattern."""
    strip_ansi: bool = False
    timeout_seconds: float = 900
    """After so long it counts as ready although nothing was seen, and the log says so."""


class HealthCheck(Part, frozen=True):
    """How the engine asks a container whether it is well."""

    test: list[str]
    """`CMD` and argv, `CMD-SHELL` and a line for the container's own shell, or `NONE`."""
    interval_seconds: float = 30
    timeout_seconds: float = 30
    retries: int = 3
    start_seconds: float = 0


class InstallScript(Part, frozen=True):
    """A script that fills the data folder, run in a container of its own before the first start (and at each reinstall)."""

    image: str
    script: str
    """Line ends are LF."""
    entrypoint: str = "bash"
    env: dict[str, str] = {}
    timeout_seconds: float = 3600
    memory_bytes: int = 0
    cpus: float = 0


class ContainerSpec(Part, frozen=True):
    """All that a runtime needs to create one container; pure result of rendering, never built from raw user input."""

    container_id: str
    name: str
    image: str
    command: list[str] = []
    """argv; empty = the image's own command."""
    entrypoint: list[str] | None = None
    """None = the image's own."""
    env: dict[str, str] = {}
    working_dir: str = ""
    user: str = ""
    tty: bool = False
    stdin_open: bool = True
    hostname: str = ""
    labels: dict[str, str] = {}
    limits: Limits = Limits()
    ports: list[PortBinding] = []
    mounts: list[Mount] = []
    stop: StopSpec = StopSpec()
    process_command: list[str] = []
    """argv to use under the process runtime, where it differs from the image's (an egg says so); empty = `command`."""
    privileged: bool = False
    network_mode: Literal["bridge", "none", "host"] = "bridge"
    cap_add: list[str] = []
    devices: list[str] = []
    shell: list[str] = []
    """argv that evaluates the start line, for images whose own entrypoint does not. Empty = `entrypoint` and `command` are all there is."""
    shell_when: Literal["auto", "always", "never"] = "auto"
    """When to use `shell`: `auto` = the node looks at the image and decides."""
    config_files: list[ConfigEdit] = []
    readiness: Readiness | None = None
    features: list[str] = []
    """What to look for on the console, see `agent.console.FEATURES`; unknown names are ignored."""
    startup_script: str = ""
    """Run by `/bin/sh` inside of the container after each start, with its output in the log's stream `startup`."""
    health: HealthCheck | None = None
    """None = the image's own check, if it has one. The process runtime has none."""
    confined: bool = False
    """Run as the user `container` (see `agent.runtimes.confinement`) on a read-only root with its own /tmp, as images made for eggs expect."""


class ContainerReport(Part, frozen=True):
    """What the runtime sees of one container of ours.

    `seq` grows by one with each report the agent makes of this container and never goes back (kept on the node's disk);
    `epoch` is the placement epoch under which the agent holds it.
    """

    container_id: str
    state: ObservedState
    seq: int = 0
    epoch: int = 0
    runtime_ref: str = ""
    """The engine's own id, or the pid of the process runtime's shim."""
    exit_code: int | None = None
    oom_killed: bool = False
    error: str = ""
    started_at: str = ""
    finished_at: str = ""
    health: Literal["", "starting", "healthy", "unhealthy"] = ""
    health_text: str = ""
    """What the last failed check printed; empty where the report is from a listing."""
    cause: Literal["", "command", "exit", "external", "engine"] = ""
    """Why it got there: our command, by itself, somebody's hand on the engine, the engine's own restart or reboot."""
    last_log_seq: int = 0
    operation_id: str = ""
    """The command that made it, from its label: lets a retry find what an earlier try left."""
    image: str = ""
    ports: list[PortBinding] = []
    readiness: Literal["", "waiting", "ready", "late"] = ""
    """Of a container with a `Readiness.done`: has its line been seen since it was started? `late` = it was waited for in vain."""
    features: list[str] = []
    """Features whose text was seen on the console since it was last started."""


class ContainerStats(Part, frozen=True):
    """One sample. Counters are totals since the container started."""

    container_id: str
    cpu_percent: float = 0
    """100 = one core busy."""
    memory_bytes: int = 0
    memory_limit_bytes: int = 0
    network_rx_bytes: int = 0
    network_tx_bytes: int = 0
    block_read_bytes: int = 0
    block_write_bytes: int = 0
    pids: int = 0
    disk_bytes: int | None = None
    """None: not known (yet), which is not 0. Older agents say 0 in both cases, and a 0 of theirs is left out of the message: it is not known, too."""
    cpu_seconds_total: float | None = None
    """Core-seconds used since the container started. None: not known (older agents), which is not 0."""
    started_at: str = ""
    """When this run began, RFC 3339; empty: not known. The counters are this run's."""


class NodeUsage(Part, frozen=True):
    """The machine's own load at a heartbeat."""

    cpu_percent: float = 0
    memory_used_bytes: int = 0
    storage_used_bytes: int = 0
    load_1m: float = 0
    containers_running: int = 0


class ErrorInfo(Part, frozen=True):
    """Why something failed, in words for a person, with a stable code for programs."""

    code: str
    detail: str
    retryable: bool = False


class LogEntry(Part, array_like=True, frozen=True):
    """One line: `[seq, time, stream, text]`. `time` is RFC 3339 UTC with microseconds; `text` has no line end."""

    seq: int
    time: str
    stream: LogStream
    text: str
