"""Taking in what nodes see: newer facts only, from the container's own node only, and settling what our commands did."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import Q

from agent.protocol.messages import ContainerReport
from audit.services import Actor, record
from containers.models import Container
from containers.services import crashes, porttaken, power, prompts, remove
from containers.services.manners import settings_of
from containers.services.publish import announce, target
from containers.services.wish import READY_SECONDS
from containers.states import PASSING, Desired, InstallState, Status, derive
from lormas.common import clock, jobs
from lormas.common.database import one
from nodes import operations
from nodes.models import Command, Node
from nodes.states import CommandState, OperationStatus

log = structlog.get_logger(__name__)

HASTE_SECONDS = 2
READY_SLACK_SECONDS = 120
"""The node gives up waiting first, and says so in the log."""
NOTHING_MADE = frozenset(
    {"no_such_image", "pull_failed", "invalid_spec", "port_taken", "name_taken", "policy_denied", "disk_full", "unsupported", "bad_payload"}
)
"""Failures of create after which the node holds nothing: the row goes too, the operation says why."""


def _times(report: ContainerReport) -> list[tuple[str, str]]:
    """Listings say no times: what an inspection said before stays."""
    return [(name, text) for name, text in (("started_at", report.started_at), ("finished_at", report.finished_at)) if text]


def _complaint(report: ContainerReport) -> dict[str, str]:
    """Listings say no more than that it is unhealthy: what was heard before stays."""
    return {"health_text": report.health_text[:255]} if report.health_text or report.health != "unhealthy" else {}


def observe(node_id: UUID, report: ContainerReport, *, gone: bool = False) -> bool:
    """Store one report. False: it was old, or not about a container of this node (D04), and changed nothing.

    `gone`: it is of a listing, and may bring back what an earlier listing did not name.
    """
    try:
        key = UUID(report.container_id)
    except ValueError:
        return False
    with transaction.atomic():
        news = Q(observed_seq__lt=report.seq)
        if gone and report.state != "removed":  # what its node tells as removed has a higher number than this
            news |= Q(observed_seq=report.seq, observed="removed")
        newer = Container.objects.filter(news, pk=key, node_id=node_id, epoch=report.epoch)
        back = gone and newer.filter(observed_seq=report.seq).exists()
        taken = newer.update(
            observed=report.state,
            observed_seq=report.seq,
            observed_at=clock.now(),
            runtime_ref=report.runtime_ref[:128],
            exit_code=report.exit_code,
            oom_killed=report.oom_killed,
            health=report.health,
            readiness=report.readiness,
            **{name: clock.parse_rfc3339(text) for name, text in _times(report)},
            **_complaint(report),
            last_log_seq=report.last_log_seq,
        )
        if not taken:
            return False
        container = Container.objects.select_related("node", "operation").get(pk=key)
        _take_features(container, report)
        if container.running_operation is None:
            settle_status(container, cause="external" if back else report.cause, error=report.error)
        else:
            announce(container)
    return True


def _take_features(container: Container, report: ContainerReport) -> None:
    """What its console asks for becomes a prompt once; a new start begins anew."""
    seen = [name for name in report.features[:16] if name in prompts.KINDS]
    if seen == container.features_seen:
        return
    fresh = [name for name in seen if name not in container.features_seen]
    container.prompts = [name for name in container.prompts if name in seen] + fresh
    container.features_seen = seen
    Container.objects.filter(pk=container.pk).update(features_seen=seen, prompts=container.prompts)


def settle_status(container: Container, *, cause: str = "", error: str = "", waited: bool = False) -> None:
    """Give the container the word that its observation deserves, now that no action runs; plan a restart if it crashed. In a transaction.

    `waited`: it was given its time to say that it is ready; it counts as running now.
    """
    if container.desired == Desired.DELETED:
        return
    before = container.status
    if cause == "external" and container.observed in ("exited", "removed"):
        # Somebody stopped it by hand on the engine: that is a wish too.
        container.desired = Desired.STOPPED
    elif cause == "external" and container.observed == "running":
        container.desired = Desired.RUNNING
    status = derive(
        observed=container.observed,
        desired=container.desired,
        exit_code=container.exit_code,
        oom_killed=container.oom_killed,
        with_engine=cause == "engine",
        readiness="late" if waited else container.readiness,
        health="" if waited else container.health,
        install=container.install_state,
    )
    if status == Status.CRASHED:
        known = before in (Status.CRASHED, Status.CRASH_LOOP)  # this crash was counted already
        status = before if known else (Status.CRASH_LOOP if crashes.is_loop(container) else status)
    crashed = status in (Status.CRASHED, Status.CRASH_LOOP)
    reason = container.status_reason if crashed and before == status and not error else _reason(container, status, cause=cause, error=error)
    deadline = None
    if status == Status.STARTING:  # it must end by itself, also if its node never tells
        same = before == status and container.status_deadline is not None and container.operation_id is None
        deadline = container.status_deadline if same else clock.now() + timedelta(seconds=READY_SECONDS + READY_SLACK_SECONDS)
    if (status, reason) == (before, container.status_reason) and container.status_deadline is None:
        Container.objects.filter(pk=container.pk).update(desired=container.desired)
        announce(container)
        return
    if status != before:
        container.status_since = clock.now()
    container.status, container.status_reason, container.status_deadline = status, reason, deadline
    # Of a node that comes back (unknown) the cause is not known: what it should be stands.
    by_itself = container.observed == "exited" and cause in ("", "exit", "command") and not error and before != Status.UNKNOWN
    if status == Status.STOPPED and by_itself and container.exit_code == 0 and container.restart_policy != "always":
        container.desired = Desired.STOPPED  # it did its work and ended
    elif status == Status.STOPPED and cause == "engine" and (container.restart_policy == "no" or not settings_of(container).auto_start):
        container.desired = Desired.STOPPED  # nobody starts it again
    Container.objects.filter(pk=container.pk).update(
        status=status, status_reason=reason, status_since=container.status_since, status_deadline=deadline, desired=container.desired
    )
    if status != before:
        if crashed or (cause == "external" and before not in PASSING):
            # A loop is told once, when it begins; its rare tries are crashes as any.
            word = Status.CRASHED if crashed and crashes.in_a_row(container) != crashes.LOOP_AFTER else status
            told = crashes.facts(container) if crashed else None
            record(f"containers.{word}", actor=_node_actor(container.node), target=target(container), message=reason, after=told)
        if crashed or (status == Status.STOPPED and container.desired == Desired.RUNNING):
            power.plan_restart(container, crashed=crashed or cause != "engine")
    announce(container)


def _node_actor(node: Node | None) -> Actor:
    return Actor("node", id=str(node.pk) if node else "", label=node.name if node else "")


def _reason(container: Container, status: str, *, cause: str, error: str) -> str:
    if error:
        return error[:255]
    if status == Status.CRASHED:
        return crashes.words(container)
    if status == Status.CRASH_LOOP:
        return crashes.loop_words(container)[:255]
    if cause == "external":
        what = {"running": "Started", "exited": "Stopped", "paused": "Paused", "removed": "Removed"}.get(container.observed, "Changed")
        return f"{what} on the node, not through Lormas."
    if status == Status.MISSING:
        return "The node no longer has it; start makes it anew." if container.observed else "Its node has not made it yet; start does."
    if status == Status.STOPPED and cause == "engine":
        return "Stopped with its engine."
    if status == Status.INSTALL_FAILED:
        return container.status_reason if container.install_state == InstallState.FAILED else "The installation did not come to its end."
    if status == Status.RUNNING and container.readiness == "late":
        return "It never said that it is ready."
    return ""


def on_settled(command: Command) -> None:
    """A command of ours ended (inside the transaction that settles it): status, lock and operation follow."""
    container = one(Container.objects.select_related("node", "operation").filter(pk=command.subject_id))
    if container is not None and (command.epoch < container.epoch or command.node_id != container.node_id):
        container = None  # of an earlier placement: it lives elsewhere by now, and what its old node does is no news of it
    ok = command.state == CommandState.DONE
    ours = container is not None and command.operation_id is not None and container.operation_id == command.operation_id
    if container is not None and ours and not ok and command.error_code == "port_taken":
        if porttaken.with_another(container, command):
            return  # the operation goes on
        command.error_detail = porttaken.words(container, command.error_detail)
    if container is not None and command.kind == "container.remove" and ok:
        remove.forget(container)
        ours = False
    elif container is not None and ours:
        first_create = command.operation is not None and command.operation.kind == "container.create"
        adopting = command.kind == "container.adopt"  # the agent has put everything back as it was
        if not ok and (adopting or (first_create and command.error_code in NOTHING_MADE)):
            record(
                "containers.adopt" if adopting else "containers.create",
                actor=_node_actor(container.node),
                target=target(container),
                outcome="failed",
                message=command.error_detail,
            )
            remove.forget(container)
        else:
            Container.objects.filter(pk=container.pk, operation=command.operation).update(operation=None)
            container.operation = None
            _after_command(container, command, ok=ok)
            if not ok and command.kind in ("container.remove", "container.stop"):
                remove.not_done(container)
    if command.operation_id is not None:
        _settle_operation(command, ok=ok)


def _after_command(container: Container, command: Command, *, ok: bool) -> None:
    if command.kind == "container.install":
        installed = ok or container.observed in ("created", "running", "paused", "exited")
        container.install_state = InstallState.DONE if installed else InstallState.FAILED
        Container.objects.filter(pk=container.pk).update(install_state=container.install_state)
        if not installed:
            _fail(container, Status.INSTALL_FAILED, command.error_detail)
            record(
                "containers.install_failed",
                actor=_node_actor(container.node),
                target=target(container),
                outcome="failed",
                message=command.error_detail[:500],
            )
            return
    if ok:
        if command.kind in ("container.create", "container.install"):
            Container.objects.filter(pk=container.pk).update(spec_changed=False)
        settle_status(container, cause="command")
        return
    failed_start = command.kind in ("container.create", "container.install", "container.start", "container.restart")
    if failed_start and container.observed in ("", "creating", "created", "removed"):
        _fail(container, Status.FAILED, command.error_detail)
        return
    settle_status(container, cause="command", error=command.error_detail if failed_start else "")


def _fail(container: Container, status: str, reason: str) -> None:
    """Wanting it to run would only repeat the failure: a person decides."""
    container.status, container.status_reason, container.desired = status, reason[:255], Desired.STOPPED
    Container.objects.filter(pk=container.pk).update(
        status=status, status_reason=container.status_reason, status_since=clock.now(), status_deadline=None, desired=Desired.STOPPED
    )
    announce(container)


def _settle_operation(command: Command, *, ok: bool) -> None:
    status = {
        CommandState.DONE: OperationStatus.SUCCEEDED,
        CommandState.EXPIRED: OperationStatus.TIMED_OUT,
        CommandState.CANCELLED: OperationStatus.CANCELLED,
    }.get(CommandState(command.state), OperationStatus.FAILED)
    assert command.operation_id is not None
    operations.settle_operation(
        command.operation_id,
        status=status,
        result={"container": str(command.subject_id), **(command.result or {})} if ok else None,
        error_code=command.error_code,
        error_detail=command.error_detail,
    )


def take_snapshot(node_id: UUID, reports: list[ContainerReport], *, complete: bool) -> None:
    """A listing: each report as a fact; what a *complete* one does not name is gone from the node (R11: an incomplete one says nothing)."""
    rows = Container.objects.order_by().filter(node_id=node_id).values_list("pk", "epoch", "observed_seq", "observed")
    known = {str(pk): (epoch, seq, observed) for pk, epoch, seq, observed in rows}
    for report in reports:
        epoch, seq, observed = known.get(report.container_id, (report.epoch, -1, ""))
        gone = observed == "removed"
        # Most of a listing is no news. Numbers only grow, so what is none now is none later: no write is begun for it.
        if epoch == report.epoch and (seq < report.seq or (gone and seq == report.seq)):
            observe(node_id, report, gone=gone)
    if not complete:
        return
    named = {report.container_id for report in reports}
    missing = [UUID(key) for key, (_, _, observed) in known.items() if key not in named and observed not in ("", "removed")]
    should = Container.objects.filter(pk__in=missing, node_id=node_id).exclude(observed__in=("", "removed")).exclude(desired=Desired.DELETED)
    for container in should.select_related("node", "operation"):
        if container.running_operation is not None:
            continue
        with transaction.atomic():
            changed = Container.objects.filter(pk=container.pk, observed_seq=container.observed_seq).update(
                observed="removed", observed_at=clock.now()
            )
            if changed:
                container.observed = "removed"
                settle_status(container, cause="external")


def welcome_back(node: Node, reports: list[ContainerReport], *, complete: bool) -> list[str]:
    """An agent says hello: which of its containers it must stop first, because they live elsewhere by now (epoch fence)."""
    owned = {
        str(pk): (node_id, epoch)
        for pk, node_id, epoch in Container.objects.filter(pk__in=[UUID(r.container_id) for r in reports if _is_uuid(r.container_id)]).values_list(
            "pk", "node_id", "epoch"
        )
    }
    fenced = [r.container_id for r in reports if r.container_id in owned and owned[r.container_id][0] != node.pk]
    strangers = [r.container_id for r in reports if r.container_id not in owned]
    if strangers:
        log.warning("containers.orphans_reported", node=str(node.pk), count=len(strangers))
    take_snapshot(node.pk, [r for r in reports if r.container_id not in fenced], complete=complete)
    return fenced


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def node_lost(node: Node) -> int:
    """Its containers are unknown, never 'stopped': they may well run on. Returns how many."""
    lost = (
        Container.objects.filter(node=node)
        .exclude(status__in=(Status.UNKNOWN, Status.DELETING, Status.DELETED, Status.FAILED))
        .exclude(Q(status__in=PASSING) & Q(operation__isnull=False))
    )
    count = 0
    for container in lost.select_related("node"):
        container.status, container.status_reason, container.status_since = Status.UNKNOWN, f"Node {node.name} is not heard of.", clock.now()
        container.save(update_fields=["status", "status_reason", "status_since"])
        announce(container)
        count += 1
    return count


def node_back(node: Node) -> int:
    """The node answers again: each unknown container gets the word of its last observation. Returns how many."""
    count = 0
    for container in Container.objects.filter(node=node, status=Status.UNKNOWN).select_related("node", "operation"):
        if container.running_operation is None and container.observed:
            settle_status(container, cause="command")
            count += 1
    hasten_restarts(node)
    if Container.objects.trashed().unlocked().filter(node=node).exists():
        jobs.enqueue_on_commit("containers.tasks.delete_again", countdown_seconds=HASTE_SECONDS)
    return count


def hasten_restarts(node: Node) -> None:
    """Restarts that were put off because the node was away are due soon."""
    soon = clock.now() + timedelta(seconds=HASTE_SECONDS)
    if Container.objects.alive().filter(node=node, desired=Desired.RUNNING, restart_at__gt=soon).update(restart_at=soon):
        jobs.enqueue_on_commit("containers.tasks.restart_due", countdown_seconds=HASTE_SECONDS)
