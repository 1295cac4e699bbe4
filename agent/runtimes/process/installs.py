"""Install scripts as plain programs of this machine, where its owner has allowed that (`install_scripts` in policy.json).

Nothing is isolated: no image, no limits, the agent's own user. The script's `/mnt/server` is the container's data folder. It dies with the
agent; after a restart it is begun anew, and what the first try had started is killed before (no twins, nothing left behind).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec

from agent.protocol.messages import ContainerSpec
from agent.protocol.parts import InstallScript
from agent.runtimes.base import InstallState, RuntimeFailure
from agent.runtimes.policy import LocalPolicy
from agent.runtimes.process import enter, hands, place
from agent.runtimes.process.folders import Folders

POLL_SECONDS = 0.05
CHUNK = 64 * 1024
OUTPUT_BYTES = 50 << 20
ENTER = Path(enter.__file__)


class _Told(msgspec.Struct):
    """`state.json`. Without a code it was running when this was written."""

    operation_id: str
    exit_code: int | None = None


class ProcessInstalls:
    """See `agent.runtimes.base.Installs`."""

    def __init__(self, folders: Folders, policy: LocalPolicy) -> None:
        self._folders = folders
        self._policy = policy
        self._root = folders.root / "installs"
        self._running: dict[str, asyncio.Task[None]] = {}

    def _folder(self, container_id: str) -> Path:
        return self._root / self._folders.of(container_id).name

    def _told(self, container_id: str) -> _Told | None:
        try:
            return msgspec.json.decode((self._folder(container_id) / "state.json").read_bytes(), type=_Told)
        except (OSError, msgspec.DecodeError):
            return None

    def _tell(self, container_id: str, told: _Told) -> None:
        folder = self._folder(container_id)
        draft = folder / "state.tmp"
        draft.write_bytes(msgspec.json.encode(told))
        draft.replace(folder / "state.json")

    async def begin(self, spec: ContainerSpec, install: InstallScript, *, operation_id: str) -> None:
        if not self._policy.install_scripts:
            raise RuntimeFailure("policy_denied", "The node's own policy forbids install scripts without an engine.")
        container_id = spec.container_id
        told = await asyncio.to_thread(self._told, container_id)
        if told is not None and told.operation_id == operation_id and (told.exit_code is not None or container_id in self._running):
            return
        await self.end(container_id)
        argv = [*(install.entrypoint.split() or ["sh"])]
        if shutil.which(argv[0]) is None:
            fallback = shutil.which("bash") or shutil.which("sh")
            if fallback is None:
                raise RuntimeFailure("start_failed", f"This machine has no {argv[0]} to run the install script with.")
            argv = [fallback]

        def prepare() -> tuple[Path, Path]:
            folder, data = self._folder(container_id), self._folders.data_of(container_id)
            folder.mkdir(parents=True, mode=0o700)
            data.mkdir(parents=True, exist_ok=True, mode=0o700)
            text = install.script.replace("\r\n", "\n").replace("\r", "\n").replace("/mnt/server", str(data))
            (folder / "install.sh").write_text(text)
            (folder / "out").write_text(
                f"Without an engine: this script runs as a plain program of the node, as user {os.geteuid()}. Nothing of {install.image} is there, "
                f"no limit holds, and its /mnt/server is {data}.\n"
            )
            self._tell(container_id, _Told(operation_id))
            return folder, data

        folder, data = await asyncio.to_thread(prepare)
        environment = place.environment_of(spec, data, folder) | install.env
        environment |= {"HOME": str(data), "TMPDIR": str(folder), place.MARK: f"{container_id}-installer", "TERM": "dumb"}
        with (folder / "out").open("ab") as out:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-S",
                str(ENTER),
                "0",
                *argv,
                str(folder / "install.sh"),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                cwd=data,
                env=environment,
                start_new_session=True,
            )
        self._running[container_id] = asyncio.create_task(self._mind(container_id, operation_id, process), name=f"installer {container_id}")

    async def _mind(self, container_id: str, operation_id: str, process: asyncio.subprocess.Process) -> None:
        try:
            code = await process.wait()
            await asyncio.to_thread(hands.end_orphans, f"{container_id}-installer")
            await asyncio.to_thread(self._tell, container_id, _Told(operation_id, 128 - code if code < 0 else code))
        except asyncio.CancelledError:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
            raise
        finally:
            self._running.pop(container_id, None)

    async def output(self, container_id: str) -> AsyncIterator[bytes]:
        try:
            file = await asyncio.to_thread((self._folder(container_id) / "out").open, "rb")
        except FileNotFoundError:
            return
        given = 0
        with file:
            while True:
                over = container_id not in self._running  # asked before reading: what is there now is all there will be
                while chunk := await asyncio.to_thread(file.read, CHUNK):
                    given += len(chunk)
                    if given <= OUTPUT_BYTES:
                        yield chunk
                if over:
                    return
                await asyncio.sleep(POLL_SECONDS)

    async def state(self, container_id: str) -> InstallState | None:
        told = await asyncio.to_thread(self._told, container_id)
        if told is None:
            return None
        if told.exit_code is None and container_id not in self._running:
            return InstallState(told.operation_id, 137)  # it died with an earlier agent
        return InstallState(told.operation_id, told.exit_code)

    async def end(self, container_id: str) -> None:
        task = self._running.get(container_id)
        if task is not None:
            task.cancel()
            await asyncio.wait([task])
        folder = self._folder(container_id)
        if not folder.exists():
            return
        await asyncio.to_thread(hands.end_orphans, f"{container_id}-installer")
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)

    async def all(self) -> dict[str, str]:
        def work() -> dict[str, str]:
            if not self._root.exists():
                return {}
            found = ((entry.name, self._told(entry.name)) for entry in os.scandir(self._root))
            return {name: told.operation_id if told else "" for name, told in found}

        try:
            return await asyncio.to_thread(work)
        except OSError as error:
            raise RuntimeFailure("engine_error", f"The folder of installers can't be read: {error}", retryable=True) from error

    async def close(self) -> None:
        """With the agent."""
        for task in list(self._running.values()):
            task.cancel()
            await asyncio.wait([task])
