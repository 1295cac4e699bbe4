"""What the process runtime keeps on disk, and what that says of a container. Synchronous: call it in a thread where it is more than one file.

`<root>/containers/<id>/`: `spec.json` (made atomically with the folder), `run.json` and `lock` (the shim's), `s` (the shim's socket),
`spool/<run number>/`, `tmp/`. `<root>/data/<id>/`: the container's `data` mount; it outlives a recreate.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import time
import uuid
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from agent.protocol.messages import ContainerReport, ContainerSpec
from agent.runtimes import procfs
from agent.runtimes.base import RuntimeFailure
from agent.runtimes.process import shim

_ID = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")
LEFT_SECONDS = 60.0


class Made(msgspec.Struct):
    """`spec.json`."""

    instance: str
    epoch: int
    operation_id: str
    birth: str
    """Random; with the run number it names a run for ever, over recreates."""
    spec: ContainerSpec


class Run(msgspec.Struct):
    """`run.json`. Without `exit_code` it was running when the shim wrote it."""

    run: str
    shim_pid: int
    shim_start: int | None
    pid: int
    pid_start: int | None
    boot_id: str
    started_at: float
    exit_code: int | None = None
    signal: int = 0
    """The one that ended it, if one did."""
    finished_at: float = 0
    killed_for: str = ""
    stdout_bytes: int = -1
    stderr_bytes: int = -1
    stdout_lines: int = 0
    stderr_lines: int = 0

    @property
    def number(self) -> int:
        return int(self.run.rpartition(":")[2])

    @property
    def is_alive(self) -> bool:
        """Its shim is there (the command can't outlive it)."""
        return self.exit_code is None and self.boot_id == shim.boot_id() and shim.start_time(self.shim_pid) == self.shim_start

    @property
    def main_is_alive(self) -> bool:
        return self.is_alive and shim.start_time(self.pid) == self.pid_start


_made = msgspec.json.Decoder(Made)
_run = msgspec.json.Decoder(Run)


class Folders:
    """All containers under one root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.containers = root / "containers"
        self.data = root / "data"

    def prepare(self) -> None:
        for folder in (self.root, self.containers, self.data):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for left in self.containers.glob(".*"):  # what a death half-way left; not what somebody is making right now
            if left.stat().st_mtime < time.time() - LEFT_SECONDS:
                shutil.rmtree(left, ignore_errors=True)

    def temporary_of(self, container_id: str) -> Path:
        """For temporary files; goes with the container."""
        return self.of(container_id) / "tmp"

    def of(self, container_id: str) -> Path:
        if not _ID.match(container_id):
            raise RuntimeFailure("bad_payload", "Not a container id.")
        return self.containers / container_id

    def data_of(self, container_id: str) -> Path:
        return self.data / self.of(container_id).name

    def made(self, container_id: str) -> Made | None:
        try:
            return _made.decode((self.of(container_id) / "spec.json").read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None

    def run(self, container_id: str) -> Run | None:
        try:
            return _run.decode((self.of(container_id) / "run.json").read_bytes())
        except FileNotFoundError:
            return None

    def make(self, spec: ContainerSpec, *, instance: str, epoch: int, operation_id: str) -> None:
        """All or nothing."""
        made = Made(instance=instance, epoch=epoch, operation_id=operation_id, birth=uuid.uuid4().hex, spec=spec)
        draft = self.containers / f".{spec.container_id}.{made.birth[:8]}"
        draft.mkdir(mode=0o700)
        try:
            file = draft / "spec.json"
            file.touch(mode=0o600)
            file.write_bytes(msgspec.json.encode(made))
            self.data_of(spec.container_id).mkdir(parents=True, exist_ok=True, mode=0o700)
            draft.rename(self.of(spec.container_id))
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise

    def remove(self, container_id: str, *, keep_data: bool) -> None:
        folder = self.of(container_id)
        with contextlib.suppress(FileNotFoundError):
            # Out of sight first, so that a death half-way leaves no half container.
            grave = self.containers / f".gone.{uuid.uuid4().hex}"
            folder.rename(grave)
            shutil.rmtree(grave, ignore_errors=True)
        if not keep_data:
            shutil.rmtree(self.data_of(container_id), ignore_errors=True)

    def ids(self) -> list[str]:
        """Raises OSError if the folder can't be listed."""
        return sorted(entry.name for entry in os.scandir(self.containers) if _ID.match(entry.name))

    def look(self, container_id: str, *, instance: str) -> tuple[ContainerReport, Run | None] | None:
        """None if there is none of this panel's."""
        made = self.made(container_id)
        if made is None or made.instance != instance:
            return None
        run = self.run(container_id)
        if run is not None and run.exit_code is None and not run.is_alive:
            run = self.run(container_id)  # it may have ended between our two looks
        return report_of(made, run), run

    def report(self, container_id: str, *, instance: str) -> ContainerReport | None:
        """As `look`."""
        found = self.look(container_id, instance=instance)
        return found[0] if found else None


def report_of(made: Made, run: Run | None) -> ContainerReport:
    """What the files and /proc say."""
    spec = made.spec
    base = ContainerReport(
        container_id=spec.container_id,
        state="created",
        epoch=made.epoch,
        operation_id=made.operation_id,
        image=spec.image,
        ports=spec.ports,
        runtime_ref=made.birth,
    )
    if run is None:
        return base
    base = msgspec.structs.replace(base, runtime_ref=str(run.shim_pid), started_at=moment_of(run.started_at))
    if run.exit_code is not None:
        return msgspec.structs.replace(
            base,
            state="exited",
            exit_code=run.exit_code,
            finished_at=moment_of(run.finished_at),
            oom_killed=run.killed_for == "memory",
            error={"memory": "Killed: over its memory limit.", "pids": "Killed: too many processes."}.get(run.killed_for, ""),
        )
    if run.is_alive:
        return msgspec.structs.replace(base, state="paused" if is_stopped(run.pid) else "running")
    rebooted = run.boot_id != shim.boot_id()
    why = "The machine was restarted." if rebooted else "Its supervisor was killed, and it with it."
    return msgspec.structs.replace(base, state="exited", error=why, cause="engine" if rebooted else "external")


def moment_of(unix: float) -> str:
    """As the protocol has times; empty for 0."""
    return datetime.fromtimestamp(unix, UTC).isoformat().replace("+00:00", "Z") if unix else ""


def is_stopped(pid: int) -> bool:
    """By a signal; or by a child that was, on its way to become another program: until that goes on, who made it (vfork) takes no signal either."""
    state = procfs.state(pid)
    if state != b"D":
        return state == b"T"
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return False
    return any(procfs.state(int(child)) == b"T" for child in children)
