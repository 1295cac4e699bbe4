"""Files and install scripts of pretended containers. A script's lines are steps, as in `agent.runtimes.fake`; without `exit` it ends well."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from agent.files import Content, clean_relative
from agent.protocol.messages import ContainerSpec
from agent.protocol.parts import InstallScript
from agent.runtimes.base import InstallState, RuntimeFailure
from agent.runtimes.fake.knobs import Knobs
from agent.runtimes.fake.script import Pipe, Script


class FakeData:
    """See `agent.runtimes.base.DataFolder`."""

    def __init__(self, knobs: Knobs) -> None:
        self._knobs = knobs
        self.files: dict[str, dict[str, bytes]] = {}
        self.owned: list[str] = []

    async def read(self, container_id: str, path: str, *, max_bytes: int) -> Content | None:
        await self._knobs.act("read_file")
        found = self.files.get(container_id, {}).get(clean_relative(path))
        return None if found is None else Content(found)

    async def write(self, container_id: str, path: str, data: bytes, *, owner: tuple[int, int] | None = None) -> None:
        await self._knobs.act("write_file")
        self.files.setdefault(container_id, {})[clean_relative(path)] = data

    async def own(self, container_id: str, *, image: str, always: bool = False) -> None:
        await self._knobs.act("own")
        self.owned.append(container_id)

    async def gateway(self) -> str:
        return "172.18.0.1"

    async def folder(self, container_id: str) -> Path | None:
        raise RuntimeFailure("unsupported", "The fake runtime keeps no folders.")

    async def make(self, container_id: str) -> Path:
        raise RuntimeFailure("unsupported", "The fake runtime keeps no folders.")


@dataclass(slots=True)
class _Installer:
    operation_id: str
    process: Script


class FakeInstalls:
    """See `agent.runtimes.base.Installs`."""

    def __init__(self, knobs: Knobs) -> None:
        self._knobs = knobs
        self._installers: dict[str, _Installer] = {}
        self.begun: list[str] = []

    async def begin(self, spec: ContainerSpec, install: InstallScript, *, operation_id: str) -> None:
        await self._knobs.act("install")
        if install.image in self._knobs.missing_images:
            raise RuntimeFailure("no_such_image", f"The image does not exist: {install.image}")
        there = self._installers.get(spec.container_id)
        if there is not None and there.operation_id == operation_id:
            return
        await self.end(spec.container_id)
        self.begun.append(spec.container_id)
        steps = [line.strip() for line in install.script.splitlines()]
        self._installers[spec.container_id] = _Installer(operation_id, Script([*steps, "exit 0"], Pipe(uuid.uuid4().hex)))

    async def output(self, container_id: str) -> AsyncIterator[bytes]:
        there = self._installers.get(container_id)
        if there is not None:
            async for item in there.process.pipe.read({"stdout": 0, "stderr": 0}):
                yield item.data

    async def state(self, container_id: str) -> InstallState | None:
        there = self._installers.get(container_id)
        if there is None:
            return None
        done = there.process.exit_code
        return InstallState(there.operation_id, done.result() if done.done() else None)

    async def end(self, container_id: str) -> None:
        there = self._installers.pop(container_id, None)
        if there is not None:
            there.process.signal("SIGKILL")

    async def all(self) -> dict[str, str]:
        return {container_id: there.operation_id for container_id, there in self._installers.items()}
