"""What happens between 'start it' and its start: its data gets its owner, its configuration files are rewritten.

Nothing here keeps a container from starting: what does not work is told in its log (stream `events`), and the file stays as it was.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from agent.configfiles import ConfigProblem, limit_of
from agent.configfiles.worker import rewrite_bounded
from agent.files import FileRefused
from agent.protocol.messages import ContainerSpec
from agent.protocol.parts import ConfigEdit
from agent.runtimes.base import CONTAINER_GID, CONTAINER_UID, Runtime, RuntimeFailure
from agent.services import Logs

log = logging.getLogger(__name__)

ALL_SECONDS = 90.0
AT_ONCE = 4
GATEWAY_NAMES = ("{{config.docker.interface}}", "{{config.docker.network.interface}}")


class Preparation:
    """One for the whole agent."""

    def __init__(self, runtime: Runtime, logs: Logs) -> None:
        self._runtime = runtime
        self._logs = logs

    async def own(self, spec: ContainerSpec, *, always: bool = False) -> None:
        """The data belongs to whom the container runs as. `always` looks at each file, as an install script leaves them to root."""
        if not spec.confined:
            return
        try:
            await self._runtime.data.own(spec.container_id, image=spec.image, always=always)
        except (FileRefused, RuntimeFailure) as problem:
            await self._tell(spec, f"Its files could not be given to its user: {_why(problem)}")

    async def before_start(self, spec: ContainerSpec, edits: Sequence[ConfigEdit] = ()) -> None:
        """Never raises but for cancellation."""
        try:
            async with asyncio.timeout(ALL_SECONDS):
                await self.own(spec)
                turns = asyncio.Semaphore(AT_ONCE)
                files: dict[str, list[ConfigEdit]] = {}
                for edit in (*edits, *spec.config_files):
                    files.setdefault(edit.path, []).append(edit)
                await asyncio.gather(*(self._file(spec, of_one, turns) for of_one in files.values()))
        except TimeoutError:
            await self._tell(spec, f"Its configuration files took longer than {ALL_SECONDS:g} s; it is started without the rest of them.")

    async def _file(self, spec: ContainerSpec, edits: list[ConfigEdit], turns: asyncio.Semaphore) -> None:
        """Those of one file follow each other."""
        async with turns:
            for edit in edits:
                try:
                    await self._apply(spec, edit)
                except (ConfigProblem, FileRefused, RuntimeFailure) as problem:
                    await self._tell(spec, f"Configuration file {edit.path} was left as it is: {_why(problem)}.")
                except Exception as fault:  # a parser's surprise must not keep the container from starting
                    log.exception("configuration file failed", extra={"container": spec.container_id, "path": edit.path})
                    await self._tell(spec, f"Configuration file {edit.path} was left as it is: {type(fault).__name__}.")

    async def _apply(self, spec: ContainerSpec, edit: ConfigEdit) -> None:
        data = self._runtime.data
        there = await data.read(spec.container_id, edit.path, max_bytes=limit_of(edit.parser))
        if there is None and not edit.create:
            return
        before = there.data if there is not None else b""
        finds = [(key, await self._filled(value)) for key, value in edit.finds]
        after = await rewrite_bounded(edit.parser, before, finds)
        if there is None or after != before:
            owner = (CONTAINER_UID, CONTAINER_GID) if spec.confined else None
            await data.write(spec.container_id, edit.path, after, owner=owner)

    async def _filled(self, value: Any) -> Any:
        """The node's own placeholder: the address at which a container reaches the node."""
        if isinstance(value, dict):
            return {key: await self._filled(child) for key, child in value.items()}
        if isinstance(value, str) and any(name in value for name in GATEWAY_NAMES):
            gateway = await self._runtime.data.gateway()
            for name in GATEWAY_NAMES:
                value = value.replace(name, gateway)
        return value

    async def _tell(self, spec: ContainerSpec, text: str) -> None:
        await self._logs.append(spec.container_id, text[:1000], stream="events")


def _why(problem: Exception) -> str:
    return (problem.detail if isinstance(problem, FileRefused | RuntimeFailure) else str(problem)).rstrip(".")
