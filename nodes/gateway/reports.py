"""What agents report, taken in order: acknowledgements, results, facts, snapshots. Synchronous; runs in `threads.in_database`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
import structlog

from agent.protocol import messages as wire
from lormas.common.database import one
from lormas.common.wires import resolve, wired
from nodes import commands, orphans
from nodes.gateway.store import Taken, foreign, text, uuid_of
from nodes.models import Command

log = structlog.get_logger(__name__)

MAX_TRIES = 5
"""A fact whose handler failed so often is given up, so that it does not come for ever (R40)."""

Report = wire.Ack | wire.Progress | wire.Result | wire.StateFact | wire.Snapshot


def _hand_up(fact_name: str, node_id: UUID, fact: Any) -> bool:
    """Call the wired handler; False if it failed (then the fact is not acknowledged and comes again)."""
    dotted = wired("FACTS").get(fact_name)
    if dotted is None:
        return True
    try:
        resolve(dotted)(node_id, fact)
    except Exception:  # a fault in an upper room must not end the session of the node
        log.exception("gateway.fact_failed", fact=fact_name, node_id=str(node_id))
        return False
    return True


class Intake:
    """Takes reports of one session. `strangers` are containers that it holds though they live elsewhere (known since its hello)."""

    def __init__(self, node_id: UUID, *, strangers: frozenset[str]) -> None:
        self.node_id = node_id
        self.strangers = strangers
        self._failed: dict[str, tuple[int, int]] = {}  # container -> (fact id, how often its handler failed)

    def take(self, reports: list[Report]) -> Taken:
        """A batch in order; one thread hop for many messages."""
        taken = Taken()
        handlers: dict[type, Callable[[Any, Taken], None]] = {
            wire.Ack: self._ack,
            wire.Progress: self._progress,
            wire.Result: self._result,
            wire.StateFact: self._state,
            wire.Snapshot: self._snapshot,
        }
        for report in reports:
            try:
                handlers[type(report)](report, taken)
            except Exception:  # one poisonous message must not hold up the others; it comes again
                log.exception("gateway.report_failed", report=type(report).__name__, node_id=str(self.node_id))
        return taken

    def _mine(self, report: wire.ContainerReport, elsewhere: dict[str, int], taken: Taken, what: str) -> bool:
        """May this node speak of it? Not if it lives on another one: late news of an old placement is dropped, else it is a violation."""
        if uuid_of(report.container_id) is None:
            taken.violations.append(f"{what} names {text(report.container_id, 64)!r}, which is no container id")
            return False
        epoch = elsewhere.get(report.container_id)
        if epoch is None:
            return True
        if report.epoch >= epoch and report.container_id not in self.strangers:
            taken.violations.append(f"{what} names container {report.container_id} of another node")
        return False

    def _command(self, command_id: str, taken: Taken, what: str) -> Command | None:
        parsed = uuid_of(command_id)
        command = one(Command.objects.filter(pk=parsed).only("pk", "node_id", "subject_id")) if parsed else None
        if command is not None and command.node_id != self.node_id:
            taken.violations.append(f"{what} names command {command_id} of another node")
            return None
        return command

    def _ack(self, ack: wire.Ack, taken: Taken) -> None:
        parsed = uuid_of(ack.command_id)
        if parsed is None or not commands.mark_acked(parsed, node_id=self.node_id):
            self._command(ack.command_id, taken, "ack")  # a repeat, or of another node

    def _progress(self, progress: wire.Progress, taken: Taken) -> None:
        parsed, message = uuid_of(progress.command_id), text(progress.message, 255)
        if parsed is None or not commands.note_progress(parsed, node_id=self.node_id, percent=progress.percent, message=message):
            self._command(progress.command_id, taken, "progress")  # too late, or of another node

    def _result(self, result: wire.Result, taken: Taken) -> None:
        before = len(taken.violations)
        command = self._command(result.command_id, taken, "result")
        if len(taken.violations) > before:
            return
        report = result.report
        if command is not None:
            if report is not None and report.container_id != str(command.subject_id or ""):
                taken.violations.append(f"the result of {result.command_id} reports on container {text(report.container_id, 64)}")
                report = None
            if report is not None:  # the observation first, so that the handler of the end sees the true state
                _hand_up("container.state", self.node_id, wire.StateFact(fact_id=0, report=report))
            error = result.error
            if not result.ok and error is None:
                error = commands.failure("internal", "The agent gave no reason.")
            commands.settle(
                command.pk,
                ok=result.ok,
                error=None if result.ok or error is None else commands.failure(text(error.code, 64), text(error.detail, 4000)),
                data=result.data,
                report=report,
            )
        # Also where the panel no longer knows the command: else the agent would repeat it for ever.
        taken.answers.append(wire.ResultAck(command_id=result.command_id))

    def _state(self, fact: wire.StateFact, taken: Taken) -> None:
        container_id = fact.report.container_id
        elsewhere = foreign(self.node_id, {container_id})
        if self._mine(fact.report, elsewhere, taken, "state") and not _hand_up("container.state", self.node_id, fact):
            known, times = self._failed.get(container_id, (fact.fact_id, 0))
            if known == fact.fact_id and times + 1 >= MAX_TRIES:
                log.error("gateway.fact_dropped", node_id=str(self.node_id), container_id=container_id, fact_id=fact.fact_id)
            else:
                self._failed[container_id] = (fact.fact_id, times + 1 if known == fact.fact_id else 1)
                return
        self._failed.pop(container_id, None)
        # "Up to and including": must not cover one that failed and is to come again.
        below = min((fact_id for fact_id, _ in self._failed.values()), default=fact.fact_id + 1)
        taken.answers.append(wire.FactAck(fact_id=min(fact.fact_id, below - 1)))

    def _snapshot(self, snapshot: wire.Snapshot, taken: Taken) -> None:
        elsewhere = foreign(self.node_id, {report.container_id for report in snapshot.containers})
        mine = [report for report in snapshot.containers if self._mine(report, elsewhere, taken, "snapshot")]
        orphans.note_listing(self.node_id, snapshot.containers, complete=snapshot.complete)
        _hand_up("container.snapshot", self.node_id, msgspec.structs.replace(snapshot, containers=mine))
