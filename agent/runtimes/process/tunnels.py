"""A tunnel's program as a plain process of this machine, in a session of its own: it outlives the agent, and the next one takes it over.

Its token is in its environment only, which the same user and root can read; without an engine everything runs as that user (docs: runtimes).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path

import msgspec

from agent.runtimes import procfs
from agent.runtimes.base import RuntimeFailure, TunnelRun
from agent.runtimes.policy import LocalPolicy, denied
from agent.runtimes.process import hands, place, shim
from agent.runtimes.process.folders import Folders
from agent.tunnels.words import ARGUMENTS, PROGRAM, TOKEN_VARIABLE

OUT_BYTES = 4 << 20
CHUNK = 256 * 1024
TERM_SECONDS = 5.0


class _Told(msgspec.Struct):
    """`state.json`: which process it is, so that a pid which has changed hands is not taken for it."""

    bound_to: str
    pid: int
    start: int
    boot_id: str


class ProcessTunnels:
    """See `agent.runtimes.base.TunnelDesk`."""

    def __init__(self, folders: Folders, policy: LocalPolicy) -> None:
        self._root = folders.root / "tunnels"
        self._policy = policy
        self._children: dict[int, subprocess.Popen[bytes]] = {}

    async def check(self) -> None:
        if not self._policy.tunnels:
            raise denied("tunnels")
        if shutil.which(PROGRAM) is None:
            raise RuntimeFailure(
                "unsupported", f"This node has no {PROGRAM}: install it there, so that the agent's PATH has it, then start the tunnel."
            )

    def _told(self, container_id: str) -> _Told | None:
        try:
            return msgspec.json.decode((self._root / container_id / "state.json").read_bytes(), type=_Told)
        except (OSError, msgspec.DecodeError):
            return None

    def _exit_code(self, told: _Told) -> int | None:
        """None while it runs. Of one that an earlier agent began only its absence is known."""
        child = self._children.get(told.pid)
        if child is not None:
            code = child.poll()
            return None if code is None else (128 - code if code < 0 else code)
        same = told.boot_id == shim.boot_id() and shim.start_time(told.pid) == told.start
        return None if same and procfs.state(told.pid) not in (b"", b"Z") else 1

    def _all(self) -> dict[str, TunnelRun]:
        if not self._root.exists():
            return {}
        found: dict[str, TunnelRun] = {}
        for entry in os.scandir(self._root):
            told = self._told(entry.name)
            # A folder without a state: its agent died before the program was written down. What it began carries the mark.
            found[entry.name] = TunnelRun(told.bound_to, self._exit_code(told)) if told is not None else TunnelRun("")
        return found

    async def all(self) -> dict[str, TunnelRun]:
        try:
            return await asyncio.to_thread(self._all)
        except OSError as error:
            raise RuntimeFailure("engine_error", f"The folder of tunnels can't be read: {error}", retryable=True) from error

    async def begin(self, container_id: str, *, token: str, runtime_ref: str, bound_to: str) -> None:
        await self.check()
        await self.end(container_id)
        await asyncio.to_thread(self._begin, container_id, token, bound_to)

    def _begin(self, container_id: str, token: str, bound_to: str) -> None:
        folder = self._root / container_id
        folder.mkdir(parents=True, mode=0o700)
        program = shutil.which(PROGRAM) or PROGRAM
        environment = {name: os.environ[name] for name in ("PATH", "LANG", "SSL_CERT_FILE", "SSL_CERT_DIR") if name in os.environ}
        environment |= {"HOME": str(folder), TOKEN_VARIABLE: token, place.MARK: _mark(container_id)}
        with (folder / "out").open("ab") as out:
            child = subprocess.Popen(
                [program, *ARGUMENTS], stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=folder, env=environment, start_new_session=True
            )
        self._children[child.pid] = child
        draft = folder / "state.tmp"
        draft.write_bytes(msgspec.json.encode(_Told(bound_to, child.pid, shim.start_time(child.pid) or 0, shim.boot_id())))
        draft.replace(folder / "state.json")

    async def output(self, container_id: str, *, after: int) -> tuple[list[str], int]:
        return await asyncio.to_thread(self._output, container_id, after)

    def _output(self, container_id: str, after: int) -> tuple[list[str], int]:
        file = self._root / container_id / "out"
        try:
            with file.open("r+b") as stream:
                size = stream.seek(0, os.SEEK_END)
                if size < after:
                    after = 0
                stream.seek(after)
                data = stream.read(CHUNK)
                whole = data[: data.rfind(b"\n") + 1] or (data if len(data) == CHUNK else b"")
                after += len(whole)
                if after == size > OUT_BYTES:
                    stream.truncate(0)  # it appends, so it goes on at the beginning
                    after = 0
        except FileNotFoundError:
            return [], 0
        return whole.decode("utf-8", "replace").splitlines(), after

    async def end(self, container_id: str) -> None:
        folder = self._root / container_id
        if folder.exists():
            await asyncio.to_thread(self._end, container_id)

    def _end(self, container_id: str) -> None:
        told = self._told(container_id)
        if told is not None and self._exit_code(told) is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(told.pid, signal.SIGTERM)
            child = self._children.get(told.pid)
            if child is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(TERM_SECONDS)
        hands.end_orphans(_mark(container_id))
        if told is not None and (child := self._children.pop(told.pid, None)) is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(TERM_SECONDS)
        shutil.rmtree(self._root / container_id, ignore_errors=True)


def _mark(container_id: str) -> str:
    return f"{Path(container_id).name}-tunnel"
