"""The agent, assembled: outbox, runtime, logs, reconciler, dispatcher, questions, streams, and the link that carries all of it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Protocol

from agent import __version__, config, facts, upgrade
from agent.acts import Acts
from agent.backups.desk import Backups
from agent.bulk import Bulk
from agent.console import ConsoleWatch
from agent.dispatcher import Dispatcher
from agent.engine import EngineWatch
from agent.files.desk import FileDesk
from agent.files.transfers import Transfer, Transfers
from agent.foreign import foreign_answers
from agent.insides import inside_answers
from agent.installer import Installer
from agent.migrate.fences import Fences
from agent.migrate.lease import Lease
from agent.migrate.moves import Moves, Numbers
from agent.nodeacts import NodeActs
from agent.outbox import Outbox
from agent.protocol import frames
from agent.protocol import messages as wire
from agent.reconcile import Reconciler
from agent.recordings import Recordings
from agent.rpc import LogStore, Questions
from agent.runtimes.base import Runtime, RuntimeFailure
from agent.services import Logs
from agent.session import Link, Session
from agent.startscripts import StartScripts
from agent.stock import stock_answers
from agent.streams import Follows, Streams
from agent.swarm import swarm_answers
from agent.terminals import Terminals
from agent.tunnels.keeper import Tunnels, tunnel_answers

log = logging.getLogger(__name__)

RESEND_SECONDS = 10.0
RESEND_MOST = 500


class LogService(Logs, LogStore, Follows, Numbers, Protocol):
    """All that the program needs of `agent.logs.LogService`."""

    async def resume_all(self, container_ids: list[str]) -> None: ...

    async def close(self) -> None: ...


class Agent:
    """One node's program. `run` returns when it is cancelled."""

    def __init__(self, settings: config.Config, *, runtime: Runtime, logs: LogService) -> None:
        self.config = settings
        self._runtime = runtime
        self._logs = logs
        self._outbox = Outbox(settings.data_dir / "journal.sqlite3")
        self._engine = EngineWatch(runtime, on_change=self._engine_changed)
        self._reconciler = Reconciler(runtime=runtime, outbox=self._outbox, logs=logs, engine=self._engine, emit=self.emit)
        self._console = ConsoleWatch(logs, self._outbox, on_change=self._reconciler.look_soon)
        self._installer = Installer(runtime, logs, self._outbox)
        self._scripts = StartScripts(runtime, logs)
        self._tunnels = Tunnels(runtime, logs, settings.data_dir / "tunnels", seen=self._last_report)
        self._files = FileDesk(runtime)
        moves = Moves(runtime, logs, self._files, settings.data_dir / "moves")
        self._fences = Fences(runtime, self._outbox)
        self._lease = Lease(self._outbox, stop=self._stop_for_lease)
        acts = Acts(
            runtime,
            logs,
            installer=self._installer,
            console=self._console,
            scripts=self._scripts,
            tunnels=self._tunnels,
            moves=moves,
            fences=self._fences,
        )
        self.restart_wanted = False
        self._upgrader = upgrade.Upgrader(lambda: self.config, restart=self._restart)
        self._dispatcher = Dispatcher(
            outbox=self._outbox,
            acts=acts,
            reconciler=self._reconciler,
            emit=self.emit,
            node_acts=NodeActs(runtime, upgrade=self._upgrader.run),
            fences=self._fences,
        )
        self._reconciler.watcher = self._fences.seen
        self._reconciler.busy = self._dispatcher.busy
        self._reconciler.marked = self._console.marked
        recordings = Recordings(settings.data_dir / "recordings")
        self._terminals = Terminals(runtime, recordings)
        self._backups = Backups(self._files, runtime, settings.data_dir / "restores")
        bulk: dict[str, Transfer] = {"tree.read": moves.hand_over, "tree.write": moves.take}
        bulk |= {kind: functools.partial(self._backups.run, kind) for kind in ("backup.read", "backup.write")}
        self._bulk = Bulk(Transfers(self._files, recordings, more=bulk))
        more = {
            **inside_answers(runtime, self._terminals, recordings),
            **self._files.answers,
            **stock_answers(runtime, tidy=self._outbox.purge, cancel=self._dispatcher.cancel),
        }
        more |= tunnel_answers(self._tunnels) | foreign_answers(runtime) | swarm_answers(runtime)
        self._questions = Questions(runtime=runtime, logs=logs, reconciler=self._reconciler, facts=self._facts, emit=self.emit, more=more)
        self._main: asyncio.Task[Any] | None = None
        self._session: Session | None = None
        self._streams: Streams | None = None
        self._commands: asyncio.Queue[wire.Command] = asyncio.Queue()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._opened_as = ""
        self._opening = asyncio.Lock()
        self._recovered = False
        self._usage = wire.NodeUsage()
        self._beats = 0

    # ---------------------------------------------------------------------------------------------------------------- life

    async def run(self) -> None:
        """Open everything, then keep the link alive for ever."""
        self._main = asyncio.current_task()
        await self._outbox.open()
        await self._fences.load()
        await self._lease.load()
        try:
            config.save(self.config)
            if not await self._engine.probe():
                self._reconciler.outages.begin(0)  # both were away, so what died meanwhile most likely died with the engine
            if self.config.panel_instance:
                await self._open_runtime(self.config.panel_instance)
            self._spawn(self._engine.run())
            self._spawn(self._housekeeping())
            self._spawn(self._lease.run(lambda: self._session.heard_at if self._session is not None else 0.0))
            self._spawn(self._terminals.run())
            await Link(self).run()
        finally:
            await self._dispatcher.close()
            await self._scripts.close()
            await self._tunnels.close()
            await self._console.close()
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            if self._streams is not None:
                await self._streams.close()
            await self._terminals.close()
            await self._bulk.close()
            await self._backups.close()
            self._files.close()
            with contextlib.suppress(RuntimeFailure, OSError):
                await self._logs.close()
                await self._runtime.close()
            await self._outbox.close()

    def _spawn(self, work: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a part of the agent failed", exc_info=task.exception())

    def _restart(self) -> None:
        """End, and let the command line start the version that was prepared."""
        self.restart_wanted = True
        if self._main is not None:
            self._main.cancel()

    async def _open_runtime(self, instance: str) -> bool:
        """Open it under this ownership label, take up what runs, go on with open commands. False while the engine is down.

        Done to its end also when the link that asked for it is cut meanwhile: nobody would make up for the other half.
        """
        return await asyncio.shield(self._spawn(self._open_once(instance)))

    async def _open_once(self, instance: str) -> bool:
        async with self._opening:
            return self._opened_as == instance or await self._open(instance)

    async def _open(self, instance: str) -> bool:
        try:
            await self._runtime.open(instance=instance)
        except (RuntimeFailure, OSError) as error:
            log.error("runtime can't be opened", extra={"reason": str(error)})
            return False
        first = not self._opened_as
        self._opened_as = instance
        self._reconciler.outages.end(time.time())
        await self._console.resume(list(self._outbox.known_containers()))
        reports, _, error_text = await self._reconciler.listing(await self._boot_cause(), thorough=True)
        if error_text:
            log.warning("first listing failed", extra={"reason": error_text})
        await self._logs.resume_all([report.container_id for report in reports])
        if first:
            self._spawn(self._end_orphans())
            self._spawn(self._reconciler.follow_events())
            self._spawn(self._reconciler.run())
            await asyncio.to_thread(self._tunnels.load)
            self._spawn(self._tunnels.run())
        if not self._recovered:
            self._recovered = True
            await self._backups.recover()
            await self._dispatcher.recover()
            going_on = {entry.command.id for entry in await self._outbox.open_commands()}
            self._spawn(self._installer.clear_strangers(going_on))
        return True

    async def _end_orphans(self) -> None:
        """What execs and terminals of an agent that was killed left running: nobody can reach it any more."""
        with contextlib.suppress(RuntimeFailure, OSError):
            ended = await self._runtime.inside.end_orphans()
            if ended:
                log.warning("ended what earlier execs left behind", extra={"processes": ended})

    async def _boot_cause(self) -> Any:
        """ "engine" if the machine was rebooted since we last looked: then what ended did not end by itself or by hand."""
        boot_id = (await self._facts()).boot_id
        before = await self._outbox.get("boot_id")
        if boot_id != before:
            if before:
                await self._outbox.rebooted()
            await self._outbox.put("boot_id", boot_id)
        return "engine" if before and boot_id != before else ""

    async def _engine_changed(self, up: bool) -> None:
        self._beat()
        if up:
            if self.config.panel_instance and self._opened_as != self.config.panel_instance:
                await self._open_runtime(self.config.panel_instance)
            self._reconciler.want_listing("engine")

    async def _housekeeping(self) -> None:
        while True:
            await asyncio.sleep(3600)
            await self._outbox.purge()

    async def _facts(self) -> wire.NodeFacts:
        return await asyncio.to_thread(facts.collect, data_dir=self.config.data_dir, engine=self._engine.info, kind=self._runtime.kind)

    def _last_report(self, container_id: str) -> wire.ContainerReport | None:
        known = self._outbox.known(container_id)
        return known.report if known is not None else None

    # ---------------------------------------------------------------------------------------------------------- to the panel

    def emit(self, message: wire.Frame) -> None:
        """Send if the link is up; else it is lost (results and facts are in the outbox)."""
        if self._session is not None:
            self._session.emit(message)

    async def hello(self) -> wire.Hello:
        """What we say first at each connection."""
        reports: list[wire.ContainerReport] = []
        complete, error = False, self._engine.error
        if self._opened_as and not error:
            reports, complete, error = await self._reconciler.listing()
        return wire.Hello(
            protocol=wire.PROTOCOL_VERSION,
            protocol_minimum=wire.PROTOCOL_MINIMUM,
            agent_version=__version__,
            instance_id=self.config.instance_id,
            facts=await self._facts(),
            capabilities=sorted({*self._runtime.capabilities, "upgrade", "fence"}),
            containers=reports,
            containers_complete=complete,
            known_commands=await self._outbox.known_commands(),
            engine_error=error,
        )

    async def welcomed(self, welcome: wire.Welcome, session: Session) -> None:
        """A new session is up."""
        if os.environ.get("LORMAS_AGENT_TRIAL"):
            await asyncio.to_thread(upgrade.mark, self.config.data_dir, "good")
        await self._lease.take(welcome.fence_after_seconds)
        self._dispatcher.clock_offset = welcome.server_time_unix - time.time() if welcome.server_time_unix else 0.0
        if (welcome.panel_instance, welcome.node_id) != (self.config.panel_instance, self.config.node_id):
            if self.config.panel_instance:
                log.warning("this node has a new identity at the panel; containers of the old one are left alone")
            self.config = replace(self.config, panel_instance=welcome.panel_instance, node_id=welcome.node_id)
            await asyncio.to_thread(config.save, self.config)
        self._commands = asyncio.Queue()
        self._streams = Streams(runtime=self._runtime, logs=self._logs, terminals=self._terminals, emit=session.emit, send_bulk=session.sender.bulk)
        self._session = session

    async def parted(self, session: Session) -> None:
        """The session is gone."""
        if self._session is session:
            self._session = None
        streams, self._streams = self._streams, None
        if streams is not None:
            await streams.close()

    def duties(self, session: Session) -> list[Callable[[], Awaitable[None]]]:
        """What runs as long as a session does."""
        streams = self._streams
        assert streams is not None
        return [
            lambda: self._beat_regularly(session),
            lambda: self._report_stats(session),
            lambda: self._carry_commands(session),
            self._repeat,
            streams.run_leases,
        ]

    def _beat(self) -> None:
        self._beats += 1
        self.emit(
            wire.Heartbeat(
                seq=self._beats, sent_at_unix=time.time(), usage=self._usage, engine_ok=self._engine.up, engine_error=self._engine.error[:250]
            )
        )

    async def _beat_regularly(self, session: Session) -> None:
        while True:
            if self._engine.up and self._opened_as:
                with contextlib.suppress(RuntimeFailure, TimeoutError, OSError):
                    async with asyncio.timeout(2):
                        self._usage = await self._runtime.node_usage()
            self._beat()
            await asyncio.sleep(session.welcome.heartbeat_seconds)

    async def _report_stats(self, session: Session) -> None:
        while True:
            if self._engine.up and self._opened_as:
                try:
                    async with asyncio.timeout(max(2.0, session.welcome.stats_seconds)):
                        self._usage = await self._runtime.node_usage()
                        samples = await self._runtime.stats(sorted(self._reconciler.running))
                    session.emit(wire.StatsReport(sampled_at_unix=time.time(), node=self._usage, containers=samples))
                except (RuntimeFailure, TimeoutError, OSError) as error:
                    log.debug("no stats", extra={"reason": str(error)})
            await asyncio.sleep(session.welcome.stats_seconds)

    async def _repeat(self) -> None:
        """Results and facts until they are acknowledged."""
        while True:
            for message in [*await self._outbox.unacknowledged_results(), *await self._outbox.unacknowledged_facts()][:RESEND_MOST]:
                self.emit(message)
            await asyncio.sleep(RESEND_SECONDS)

    async def _carry_commands(self, session: Session) -> None:
        """Fences first, then commands in the order they came."""
        while True:
            if await self._open_runtime(session.welcome.panel_instance):
                break
            await asyncio.sleep(1)
        await self._fences.raise_(session.welcome.fenced)
        self._reconciler.want_listing()
        while True:
            await self._dispatcher.receive(await self._commands.get())

    async def _stop_for_lease(self) -> None:
        """Nothing was heard of the panel for so long that it may start what runs here elsewhere."""
        reports, _, _ = await self._reconciler.listing()
        running = [report.container_id for report in reports if report.state in ("running", "paused", "restarting")]
        self._reconciler.outages.begin(time.time())
        await asyncio.gather(*(self._fences.stop(container_id) for container_id in running))
        for container_id in running:
            await self._reconciler.observe(container_id, cause="engine")
        self._reconciler.outages.end(time.time())

    # -------------------------------------------------------------------------------------------------------- from the panel

    async def take(self, message: wire.PanelMessage, session: Session) -> None:
        """One frame; anything slow becomes a task."""
        streams = self._streams
        if streams is None:
            return
        match message:
            case wire.Command():
                self._commands.put_nowait(message)
            case wire.ResultAck():
                await self._dispatcher.acknowledged(message.command_id)
            case wire.FactAck():
                await self._outbox.facts_acknowledged(message.fact_id)
            case wire.Rpc():
                self._spawn(self._questions.answer(message))
            case wire.Watch():
                streams.watch(message)
            case wire.ExecStart():
                streams.exec(message)
            case wire.TerminalOpen():
                streams.terminal(message)
            case wire.BulkOpen():
                self._bulk.open(message, self.config)
            case wire.ExecResize():
                self._spawn(streams.resize(message))
            case wire.Credit():
                streams.credit(message)
            case wire.Unwatch():
                self._spawn(streams.unwatch(message))
            case wire.TokenRotated():
                self.config = replace(self.config, token=message.token)
                await asyncio.to_thread(config.save, self.config)
                log.info("token rotated by the panel")
                session.emit(wire.Ack(command_id=message.rotation_id))
            case _:
                log.debug("frame ignored", extra={"kind": type(message).__name__})

    async def take_bytes(self, frame: frames.ExecFrame, session: Session) -> None:
        """Standard input of an exec."""
        if self._streams is not None and frame.kind == frames.EXEC_STDIN:
            await self._streams.input(frame)
