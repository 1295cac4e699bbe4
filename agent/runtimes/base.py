"""The driver interface: few verbs, frozen data, declared capabilities. One contract suite runs on every runtime.

Rules for all verbs:
- `container_id` is Lormas' id (a UUID), never the engine's.
- 'Already so' is success: starting what runs, stopping what does not, removing what is gone.
- Every call is bounded in time; `RuntimeFailure("timeout")` says so. Nothing blocks the event loop.
- Only containers that carry our label with this panel's instance id are seen or touched.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from agent.files import Content
from agent.protocol.foreign import Foreign, ForeignSummary
from agent.protocol.messages import ContainerReport, ContainerSpec, ContainerStats, ErrorInfo, NodeUsage, PortBinding, RegistryAuth, StopSpec
from agent.protocol.parts import InstallScript

if TYPE_CHECKING:
    from agent.runtimes.inside import Inside

LABEL_PREFIX = "lormas."
LABEL_INSTANCE = "lormas.instance"
LABEL_CONTAINER = "lormas.container"
LABEL_OPERATION = "lormas.operation"
LABEL_EPOCH = "lormas.epoch"
LABEL_INSTALLER = "lormas.installer"
"""On a container that runs an install script: the id of the container it is for. It has no `LABEL_CONTAINER`, so no listing shows it."""
LABEL_TUNNEL = "lormas.tunnel"
"""On a container that runs a tunnel's program: the id of the container it is for. No listing shows it either."""
LABEL_BOUND = "lormas.bound"
"""Which run of that container it belongs to."""

CONTAINER_UID = CONTAINER_GID = 988
"""Whom a confined container runs as, and whom its data belongs to. One number for all images, so that a change of image needs no change of
owner; high enough to be nobody's on the node and nobody's in an image."""


class RuntimeFailure(Exception):
    """A verb did not work. `code` is one of `agent.protocol.commands.ERROR_CODES`; `detail` is for a person."""

    def __init__(self, code: str, detail: str, *, retryable: bool = False) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.retryable = retryable

    def info(self) -> ErrorInfo:
        return ErrorInfo(code=self.code, detail=self.detail, retryable=self.retryable)


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What the engine says of itself."""

    kind: Literal["docker", "process", "fake"]
    version: str
    api_version: str = ""
    cgroup_version: str = ""
    storage_root: str = ""
    isolates: bool = True
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PullProgress:
    """Sum over all layers. `total_bytes` grows while layers are discovered; 0 = not known yet."""

    done_bytes: int
    total_bytes: int
    message: str


@dataclass(frozen=True, slots=True)
class RuntimeEvent:
    """Something happened to a container of ours. `action`: create, start, die, oom, pause, unpause, rename, destroy, health, kill, stop,
    lost, resync.

    Without a container: `lost` = the engine went away at that time; `resync` = it is back, events may have been missed, list everything again.
    """

    action: str
    container_id: str = ""
    exit_code: int | None = None
    time_unix: float = 0
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Output:
    """Bytes that the container wrote, cut anywhere (the reader finds the lines). `time_unix` 0 = now.

    `line_end`: the line is over here although no newline was written (a process ended in the middle of it).
    """

    stream: Literal["stdout", "stderr"]
    data: bytes
    time_unix: float = 0
    line_end: bool = False


@dataclass(frozen=True, slots=True)
class OutputGap:
    """Output is lost for ever at this place. `lines` None = unknown how many."""

    reason: str
    lines: int | None = None


@dataclass(frozen=True, slots=True)
class ResumePoint:
    """How far the log store is with a container's output, so that a runtime can go on without loss or repeat.

    `run_id` names what the counters count: one unbroken sequence of bytes a stream (docker: the engine's container over all its
    starts, process: one run). Another `run_id` than the runtime's own means that all counters begin at 0.
    `*_bytes` and `*_lines` (newline bytes) were taken over since its beginning, `*_open_bytes` of them since the last newline.
    `*_tail` are the last lines stored of each stream, oldest first (up to 200): for engines that can only be aligned by content.
    """

    run_id: str = ""
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    stdout_lines: int = 0
    stderr_lines: int = 0
    stdout_open_bytes: int = 0
    stderr_open_bytes: int = 0
    stdout_tail: tuple[str, ...] = ()
    stderr_tail: tuple[str, ...] = ()
    last_time_unix: float = 0


class OutputReader(Protocol):
    """A container's output from a resume point on. Iterate until it ends (the run is over and all of it was given)."""

    @property
    def run_id(self) -> str: ...

    def __aiter__(self) -> AsyncIterator[Output | OutputGap]: ...

    async def close(self) -> None: ...


class ExecSession(Protocol):
    """One command inside a container. Iterate its output; `wait` gives the exit code (None: it was lost)."""

    def __aiter__(self) -> AsyncIterator[Output]: ...

    async def write(self, data: bytes) -> None: ...

    async def close_stdin(self) -> None: ...

    async def resize(self, *, columns: int, rows: int) -> None: ...

    async def wait(self) -> int | None: ...

    async def kill(self) -> None: ...


ProgressCallback = Callable[[PullProgress], None]


class DataFolder(Protocol):
    """The `data` mounts of containers, from outside; works whether they run or not. Paths are relative to the mount.

    All raise `agent.files.FileRefused` for what is wrong with a path or a file, and `RuntimeFailure` for what is wrong with the engine.
    """

    async def read(self, container_id: str, path: str, *, max_bytes: int) -> Content | None:
        """A plain file; None if there is none."""

    async def write(self, container_id: str, path: str, data: bytes, *, owner: tuple[int, int] | None = None) -> None:
        """All of it or nothing; what is there keeps owner and mode, `owner` is for what is new."""

    async def own(self, container_id: str, *, image: str, always: bool = False) -> None:
        """Give all of it to `CONTAINER_UID`; unless `always`, only where the folder itself is somebody else's. No-op where there are no users.
        `image` is one that is there: where the folder can't be reached from here, a helper made of it does the work."""

    async def gateway(self) -> str:
        """The address at which a container reaches the node."""

    async def folder(self, container_id: str) -> Path | None:
        """Where all of it is on this machine, also without a container; None if there is none.

        RuntimeFailure `unsupported` if it can't be reached."""

    async def make(self, container_id: str) -> Path:
        """As `folder`, made if need be, before there is a container."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing of a container that is not as its spec makes it; `field` as `agent.protocol.commands.DriftQuery` names them."""

    field: str
    wanted: object
    running: object


def spec_differences(wanted: ContainerSpec, made: ContainerSpec) -> list[Difference]:
    """For runtimes that keep the spec a container was made of."""
    found: list[Difference] = []

    def put(field: str, one: object, other: object) -> None:
        if one != other:
            found.append(Difference(field, one, other))

    put("image", wanted.image, made.image)
    put("command", list(wanted.command), list(made.command))
    for name in ("cpus", "memory_bytes", "swap_bytes", "io_weight", "pids"):
        put(name, getattr(wanted.limits, name), getattr(made.limits, name))
    put("ports", sorted(map(port_word, wanted.ports)), sorted(map(port_word, made.ports)))
    for kind in ("env", "labels"):
        ours, theirs = getattr(wanted, kind), getattr(made, kind)
        for name in sorted({*ours, *theirs}):
            put(f"{kind}.{name}", ours.get(name), theirs.get(name))
    return found


def port_word(port: PortBinding) -> str:
    """`30000:8080/tcp`."""
    return f"{port.host_port}:{port.container_port}/{port.protocol}"


@dataclass(frozen=True, slots=True)
class InstallState:
    """Of the installer of one container. `exit_code` None while it runs."""

    operation_id: str
    exit_code: int | None = None
    oom_killed: bool = False


class Installs(Protocol):
    """Install scripts, each in a container of its own with its owner's `data` mount at /mnt/server. At most one for each container."""

    async def begin(self, spec: ContainerSpec, install: InstallScript, *, operation_id: str) -> None:
        """Make it and start it. One of the same operation that is there already is kept, one of another is removed first.

        Raises `no_such_image`, `start_failed`, `policy_denied` (this node runs no install scripts), `unsupported`.
        """

    def output(self, container_id: str) -> AsyncIterator[bytes]:
        """All it wrote from its beginning, until its end. Ends at once if there is none."""

    async def state(self, container_id: str) -> InstallState | None:
        """None: there is none."""

    async def end(self, container_id: str) -> None:
        """Kill and remove it; no-op if there is none. The data stays."""

    async def all(self) -> dict[str, str]:
        """Container id -> operation id of every installer there is. Raises rather than leave one out."""


@dataclass(frozen=True, slots=True)
class TunnelRun:
    """A tunnel's program. `bound_to`: the run of its container that it was begun for. `exit_code` None while it runs."""

    bound_to: str
    exit_code: int | None = None


class TunnelDesk(Protocol):
    """Programs of Cloudflare tunnels, at most one for each container. They outlive the agent. A runtime that can has them as `tunnels`."""

    async def check(self) -> None:
        """Raises `policy_denied`, `unsupported` where this node can have none."""

    async def all(self) -> dict[str, TunnelRun]:
        """By container id, ended ones too. Raises rather than leave one out. Cheap: one engine call."""

    async def begin(self, container_id: str, *, token: str, runtime_ref: str, bound_to: str) -> None:
        """Start it in the network of the container whose engine's id is `runtime_ref`. One that is there already is ended first.

        The token is in no argument. Raises as `check`, `no_such_image`, `pull_failed`, `start_failed`.
        """

    async def output(self, container_id: str, *, after: int) -> tuple[list[str], int]:
        """(lines it wrote behind a position, the position behind those). 0 is the beginning."""

    async def end(self, container_id: str) -> None:
        """Kill and remove it; no-op if there is none."""


class ForeignDesk(Protocol):
    """Containers of the engine that no Lormas made. A runtime that can has them as `foreign`."""

    @property
    def why_not(self) -> str:
        """Why none may be taken over here, as a sentence; empty if that is allowed."""

    async def listing(self) -> list[ForeignSummary]:
        """All that carry no label of any panel, running or not."""

    async def look(self, ref: str) -> Foreign:
        """One of them. Raises `policy_denied`, `not_found` (also for one that is somebody's)."""

    async def set_aside(self, ref: str, *, container_id: str, stop: StopSpec) -> None:
        """Stop it for good and give its name away; nothing of it is removed. No-op if that is done for this container; `in_use` if for another.
        Raises as `look`."""

    async def put_back(self, ref: str, *, container_id: str, restart: dict[str, Any], start: bool) -> None:
        """Undo `set_aside`. No-op if that is done, or was done for another container."""


class Runtime(Protocol):
    """One engine. Opened once, used by many tasks at a time, closed once."""

    kind: Literal["docker", "process", "fake"]
    capabilities: frozenset[str]
    """Of: pause, pull, limits, stats, exec, exec_tty, stdin, events, install, update, stock (then it has a `stock`: see `agent.stock.Stock`),
    tunnel (then it has `tunnels`: see `TunnelDesk`), adopt (then it has `foreign`: see `ForeignDesk`)."""

    @property
    def data(self) -> DataFolder:
        """Files of its containers."""

    @property
    def installs(self) -> Installs:
        """Install scripts."""

    inside: Inside
    """Processes and files of its containers."""

    async def open(self, *, instance: str) -> None:
        """Connect. `instance` is the panel's instance id for the ownership label. Raises `engine_down`."""

    async def close(self) -> None:
        """Let go of everything; containers stay as they are."""

    async def info(self) -> EngineInfo:
        """Ask the engine. Raises `engine_down` or `timeout` (5 s)."""

    async def pull(
        self, image: str, *, auth: RegistryAuth | None = None, progress: ProgressCallback | None = None, timeout_seconds: float = 900
    ) -> None:
        """Get the image. No-op where there are no images. Raises `no_such_image`, `pull_failed`, `disk_full`, `timeout`."""

    async def has_image(self, image: str) -> bool:
        """Is it there already? (Always true where there are no images.)"""

    async def create(self, spec: ContainerSpec, *, epoch: int, operation_id: str) -> ContainerReport:
        """Make it, not started. If one of this id is there it is returned as it is (its `operation_id` tells whose it is).

        Raises `no_such_image`, `port_taken`, `invalid_spec`, `name_taken`, `policy_denied`, `disk_full`.
        """

    async def start(self, container_id: str) -> ContainerReport:
        """Run it. The caller has attached its reader before (see `output`). Raises `no_such_container`, `start_failed`, `port_taken`."""

    async def stop(self, container_id: str, stop: StopSpec) -> ContainerReport:
        """Signal or console line, wait `grace_seconds`, then kill. Blocks until it has ended."""

    async def kill(self, container_id: str, signal: str = "SIGKILL") -> ContainerReport:
        """Send a signal; with SIGKILL wait until it has ended. Gone or not running: success."""

    async def pause(self, container_id: str) -> ContainerReport:
        """Freeze. Raises `unsupported`, `not_running`."""

    async def unpause(self, container_id: str) -> ContainerReport:
        """Thaw."""

    async def remove(self, container_id: str, *, keep_data: bool = False) -> None:
        """Kill and remove, with its data unless kept."""

    async def update(self, spec: ContainerSpec) -> ContainerReport:
        """Apply the limits of `spec` to the container that is there, running or not; nothing else of it. Raises `unsupported` where that
        needs a new container, `no_such_container`, `invalid_spec` if the engine refuses these limits now."""

    async def drift(self, spec: ContainerSpec) -> list[Difference]:
        """Where the container that is there is not what `spec` makes; empty if it is. Raises `no_such_container`."""

    async def inspect(self, container_id: str) -> ContainerReport | None:
        """What the engine sees now, or None if there is none."""

    async def list_owned(self) -> list[ContainerReport]:
        """All of ours, running or not. Raises rather than return a partial list. One engine call."""

    async def output(self, container_id: str, resume: ResumePoint) -> OutputReader:
        """Its output behind `resume`. May be called before `start` (then it waits for the first byte and loses none)."""

    async def write_stdin(self, container_id: str, data: bytes) -> None:
        """Bytes for the main process. Raises `not_running`, `unsupported`."""

    async def stats(self, container_ids: list[str]) -> list[ContainerStats]:
        """One sample of each that runs; missing ones are left out. Cheap enough for every 5 s with 50 containers."""

    async def node_usage(self) -> NodeUsage:
        """The machine's own load."""

    async def exec(
        self,
        container_id: str,
        argv: list[str],
        *,
        env: dict[str, str] | None = None,
        working_dir: str = "",
        user: str = "",
        tty: bool = False,
        columns: int = 80,
        rows: int = 24,
    ) -> ExecSession:
        """Run a second command inside. Raises `not_running`, `no_such_container`, `unsupported`."""

    def events(self, *, since_unix: float = 0) -> AsyncIterator[RuntimeEvent]:
        """Endless; reconnects by itself with its own watchdog and gives `resync` after each interruption."""
