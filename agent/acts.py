"""What each kind of command does to the runtime. Safe to run again after a death half-way: each first asks what is there (SECURITY R04)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from agent import crash
from agent.console import ConsoleWatch
from agent.foreign import adopt
from agent.installer import Installer
from agent.migrate.fences import Fences
from agent.migrate.moves import Moves
from agent.outbox import Entry
from agent.prepare import Preparation
from agent.protocol import commands as kinds
from agent.protocol.messages import ContainerReport, ContainerSpec
from agent.protocol.moving import ReceivePayload
from agent.protocol.parts import ConfigEdit
from agent.runtimes.base import PullProgress, Runtime, RuntimeFailure
from agent.services import Logs
from agent.startscripts import StartScripts
from agent.tunnels.keeper import Tunnels

Progress = Callable[[int, str], None]
Settle = Callable[[Awaitable[Any]], Awaitable[Any]]
Begin = Callable[[ContainerReport | None], Awaitable[None]]

NO_INSTALLS = (
    "Its egg has an install script, and this node has no engine to run it in. The node's owner can allow it as a plain program of the machine: "
    '{"install_scripts": true} in policy.json in the agent\'s folder.'
)


class Interrupted(Exception):
    """A recovered command that can't be told from one that was done."""


def _was_started(entry: Entry, there: ContainerReport | None) -> bool:
    """Did an earlier try of this command, that died, get as far as the start? (The engine's own stamps are compared, no clocks.)"""
    return bool(entry.recovered and entry.running_at_unix and there is not None and there.started_at and there.started_at != entry.started_before)


class Acts:
    """One method a kind. `hold` runs an engine verb that must not be torn in two by a cancellation (see `agent.dispatcher`).

    `begin` is awaited once, with what was there, before the engine is touched: the journal then knows that a retry must look first.
    """

    def __init__(
        self,
        runtime: Runtime,
        logs: Logs,
        *,
        installer: Installer | None = None,
        console: ConsoleWatch | None = None,
        scripts: StartScripts | None = None,
        tunnels: Tunnels | None = None,
        moves: Moves | None = None,
        fences: Fences | None = None,
    ) -> None:
        self._moves = moves
        self._fences = fences
        self.runtime = self._runtime = runtime
        self._logs = logs
        self._installer = installer
        self._console = console
        self._scripts = scripts
        self._tunnels = tunnels
        self._preparation = Preparation(runtime, logs)

    async def run(self, entry: Entry, payload: Any, *, progress: Progress, hold: Settle, begin: Begin) -> dict[str, Any]:
        """Carry it out; returns the result's data. Raises RuntimeFailure, Interrupted."""
        container_id = entry.command.container_id
        there = await self._runtime.inspect(container_id)
        if not entry.running_at_unix:
            await begin(there)
        match entry.command.kind:
            case "container.create":
                return await self._create(entry, payload, there, progress=progress, hold=hold)
            case "container.install":
                return await self._install(entry, payload, there, progress=progress, hold=hold)
            case "container.adopt":
                spec: ContainerSpec = payload.spec
                return await adopt(
                    payload,
                    there,
                    runtime=self._runtime,
                    logs=self._logs,
                    make=lambda: hold(self._runtime.create(spec, epoch=entry.command.epoch, operation_id=entry.command.id)),
                    launch=lambda: self._launch(container_id, spec, (), hold=hold),
                    hold=hold,
                )
            case "container.start":
                await self._start(entry, there, payload, hold=hold)
            case "container.restart":
                await self._restart(entry, there, payload, hold=hold)
            case "container.stop":
                await hold(self._runtime.stop(container_id, payload.stop))
            case "container.kill":
                if entry.recovered and entry.running_at_unix and payload.signal not in ("SIGKILL", "SIGTERM"):
                    raise Interrupted
                await hold(self._runtime.kill(container_id, payload.signal))
                if self._installer is not None:
                    await hold(self._installer.end(container_id))
            case "container.pause":
                await hold(self._runtime.pause(container_id))
            case "container.unpause":
                await hold(self._runtime.unpause(container_id))
            case "container.update":
                await hold(self._runtime.update(payload.spec))
                return {"limits": msgspec.to_builtins(payload.spec.limits)}
            case "container.remove":
                await self._remove(container_id, payload, hold=hold)
            case "container.receive" if self._moves is not None:

                async def ready_image() -> None:
                    await self._ready_image(payload.spec.image, payload, progress=progress)

                return await self._moves.receive(container_id, payload, ready_image=ready_image)
            case "container.digest" if self._moves is not None:
                return await self._moves.digest(container_id, payload, progress=progress)
            case "container.fence" if self._fences is not None:
                await hold(self._fences.raise_([container_id], epoch=entry.command.epoch))
            case kind:
                raise RuntimeFailure("unknown_command", f"This agent does not know {kind}.")
        return {}

    async def _ready_image(
        self, image: str, payload: kinds.CreatePayload | kinds.InstallPayload | ReceivePayload, *, progress: Progress, pull_when: str = "missing"
    ) -> None:
        there = pull_when != "always" and await self._runtime.has_image(image)
        if there:
            return
        if pull_when == "never":
            raise RuntimeFailure("no_such_image", f"{image} is not on this node, and pulling was not asked for.")

        def tell(pull: PullProgress) -> None:
            progress(int(90 * pull.done_bytes / pull.total_bytes) if pull.total_bytes else 0, pull.message)

        progress(0, f"Pulling {image}")
        await self._runtime.pull(image, auth=payload.registry_auth, progress=tell, timeout_seconds=payload.pull_timeout_seconds)

    async def _create(
        self, entry: Entry, payload: kinds.CreatePayload, there: ContainerReport | None, *, progress: Progress, hold: Settle
    ) -> dict[str, Any]:
        spec, command = payload.spec, entry.command
        if there is not None and payload.replace and there.operation_id != command.id:
            await self._ready_image(
                spec.image, payload, progress=progress, pull_when=payload.pull
            )  # the old one goes only when the new one can come (R57)
            if payload.stop is not None and there.state in ("running", "paused"):
                await hold(self._runtime.stop(spec.container_id, payload.stop))
            await hold(self._runtime.remove(spec.container_id, keep_data=True))
            there = None
        if there is None:
            await self._ready_image(spec.image, payload, progress=progress, pull_when=payload.pull)
            crash.point("before_engine")
            there = await hold(self._runtime.create(spec, epoch=command.epoch, operation_id=command.id))
            if self._moves is not None:
                await self._moves.forget(spec.container_id)  # from now on its folder is its own, no copy on its way
            crash.point("after_engine")
            for note in payload.notes:
                await self._logs.append(spec.container_id, note)
        elif there.operation_id == command.id and there.started_at:
            return {"runtime_ref": there.runtime_ref, "warnings": []}  # an earlier try got as far as the start
        if payload.start:
            progress(95, "Starting")
            try:
                there = await self._launch(spec.container_id, spec, payload.edits, hold=hold)
            except RuntimeFailure as failure:
                if failure.code == "port_taken" and not payload.replace:
                    # Nobody can start it with these ports: a first create leaves nothing behind.
                    await hold(self._runtime.remove(spec.container_id))
                    await self._logs.detach(spec.container_id)
                    await self._logs.delete(spec.container_id)
                raise
        return {"runtime_ref": there.runtime_ref, "warnings": []}

    async def _launch(self, container_id: str, spec: ContainerSpec | None, edits: Sequence[ConfigEdit], *, hold: Settle) -> ContainerReport:
        """Everything between 'start it' and its start, then the start."""
        if spec is not None:
            await self._preparation.before_start(spec, edits)
            if self._console is not None:
                await self._console.begin(spec)
        await self._logs.attach(container_id, before_start=True)
        started: ContainerReport = await hold(self._runtime.start(container_id))
        if self._scripts is not None:
            self._scripts.begin(container_id, spec.startup_script if spec is not None else "")
        return started

    async def _start(self, entry: Entry, there: ContainerReport | None, payload: kinds.StartPayload, *, hold: Settle) -> None:
        spec = payload.spec
        if there is None and spec is not None:
            made = kinds.CreatePayload(spec=spec, edits=payload.edits)
            await self._create(entry, made, there, progress=lambda percent, message: None, hold=hold)
            return
        if _was_started(entry, there) or (there is not None and there.state in ("running", "paused")):
            return
        crash.point("before_engine")
        await self._launch(entry.command.container_id, spec, payload.edits, hold=hold)
        crash.point("after_engine")

    async def _restart(self, entry: Entry, there: ContainerReport | None, payload: kinds.RestartPayload, *, hold: Settle) -> None:
        if there is None and payload.spec is not None:
            made = kinds.CreatePayload(spec=payload.spec, edits=payload.edits)
            await self._create(entry, made, there, progress=lambda percent, message: None, hold=hold)
            return
        if _was_started(entry, there):
            return
        crash.point("before_engine")
        await hold(self._runtime.stop(entry.command.container_id, payload.stop))
        crash.point("after_engine")
        await self._launch(entry.command.container_id, payload.spec, payload.edits, hold=hold)

    async def _install(
        self, entry: Entry, payload: kinds.InstallPayload, there: ContainerReport | None, *, progress: Progress, hold: Settle
    ) -> dict[str, Any]:
        """A container that carries this operation's id was made after its script had ended well: then only the start may be missing."""
        spec, command = payload.spec, entry.command
        installer = self._installer
        if installer is None or "install" not in self._runtime.capabilities:
            raise RuntimeFailure("policy_denied", NO_INSTALLS)
        if there is None or there.operation_id != command.id:
            for image in (spec.image, payload.install.image):  # the old one goes only when the new one can come (R57)
                await self._ready_image(image, payload, progress=progress)
            if there is not None and there.state in ("running", "paused"):
                await hold(self._runtime.stop(spec.container_id, payload.stop))
            if there is not None:
                await hold(self._runtime.remove(spec.container_id, keep_data=True))
            await installer.run(spec, payload.install, operation_id=command.id, progress=progress, hold=hold)
            crash.point("after_install")
            try:
                there = await hold(self._runtime.create(spec, epoch=command.epoch, operation_id=command.id))
            except RuntimeFailure:
                await hold(installer.end(spec.container_id))
                raise
            crash.point("after_engine")
        await hold(installer.end(spec.container_id))
        if there.started_at:
            return {"runtime_ref": there.runtime_ref, "warnings": []}
        await self._preparation.own(spec, always=True)
        if payload.start:
            progress(95, "Starting")
            there = await self._launch(spec.container_id, spec, (), hold=hold)
        return {"runtime_ref": there.runtime_ref, "warnings": []}

    async def _remove(self, container_id: str, payload: kinds.RemovePayload, *, hold: Settle) -> None:
        crash.point("before_engine")
        if self._installer is not None:
            await hold(self._installer.end(container_id))
        if self._console is not None:
            await self._console.forget(container_id)
        if self._tunnels is not None:
            await self._tunnels.forget(container_id)
        await hold(self._runtime.remove(container_id, keep_data=payload.keep_data))
        crash.point("after_engine")
        if self._moves is not None and not payload.keep_data:
            await self._moves.forget(container_id)
        if self._fences is not None:
            await self._fences.forget(container_id)
        await self._logs.detach(container_id)
        if self._scripts is not None:
            self._scripts.end(container_id)
        if not payload.keep_logs:
            await self._logs.delete(container_id)
