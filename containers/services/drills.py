"""Restore drills: a throw-away container is made of a backup, started, and seen to become ready; whatever happens, it is removed."""

from __future__ import annotations

import secrets
import time
from typing import Any

import structlog
from django.db import connection, transaction

from agent.protocol.commands import CreatePayload
from audit.services import SYSTEM, record
from containers.models import Backup, BackupWork, Container, ContainerSettings
from containers.services import backups, power, quotas, remove
from containers.services.backupacts import into
from containers.services.backupcarry import CarryFailed
from containers.services.backupwork import Pulse, Stopped
from containers.services.create import CREATE_SECONDS, PortWish, allocate_ports, registry_auth, render_spec
from containers.services.locks import require_online, take
from containers.services.manners import settings_of
from containers.services.publish import announce, target
from containers.spec import as_kept
from containers.states import Desired, Status
from lormas.common import clock
from lormas.common.errors import Problem
from nodes import commands, operations
from nodes.models import Operation
from nodes.services import claim
from nodes.states import OperationStatus

log = structlog.get_logger(__name__)

LABEL = quotas.DRILL
READY_WITHIN_SECONDS = 600.0
STAYS_SECONDS = 5.0
"""One that says nothing of being ready counts as ready when it has run for so long."""
LOOK_SECONDS = 0.5


def drill(work: BackupWork, pulse: Pulse) -> dict[str, Any]:
    """The outcome is kept with the backup: `proven` with its time, or what went wrong."""
    backup = work.backup
    made: Container | None = None
    try:
        try:
            pulse.tell(5, "Making a container")
            made, operation = make(work)
            _must(operation, pulse, "The throw-away container could not be made")
            pulse.tell(20, "Restoring")
            into(made, backup, pulse, may_finish=lambda: backups.is_open(work.operation_id))
            pulse.tell(70, "Starting")
            made = Container.objects.select_related("node", "operation").get(pk=made.pk)
            _must(power.act(made, "start", user=None, actor=SYSTEM), pulse, "It could not be started")
            pulse.tell(80, "Waiting until it is ready")
            seconds = _ready(made, pulse)
        except (CarryFailed, Problem) as failure:
            _note(backup, Backup.Proof.FAILED, failure.detail)
            raise CarryFailed("not_proven", failure.detail) from failure
    finally:
        if made is not None:
            _away(made.pk)
    words = f"It was ready {seconds:.0f} s after its start."
    _note(backup, Backup.Proof.PROVEN, words)
    record("containers.backup_proven", actor=SYSTEM, target=target(work.container), after={"backup": str(backup.pk)}, message=words)
    return {"backup": str(backup.pk), "proof": Backup.Proof.PROVEN.value, "message": words}


def _note(backup: Backup, proof: str, detail: str) -> None:
    Backup.objects.filter(pk=backup.pk).update(proof=proof, proof_at=clock.now(), proof_detail=detail[:500])
    backup.refresh_from_db()
    backups.announce(backup)


def make(work: BackupWork) -> tuple[Container, Operation]:
    """As the container the backup is of, on its node, stopped: no ports published, no folders of the node mounted, never started by itself.

    Raises Problem: its node is away, or has no room.
    """
    source = Container.objects.select_related("node", "egg", "egg_version", "owner").get(pk=work.container_id)
    node = require_online(source.node)
    with transaction.atomic():
        if not claim(node.pk, cpus=source.cpus, memory_bytes=source.memory_bytes, disk_bytes=source.disk_bytes):
            raise CarryFailed("no_placement", f"{node.name} has no room for a second one beside it: free some, or drain it later.")
        copied = (
            "image",
            "command",
            "env",
            "variables",
            "startup",
            "cpus",
            "memory_bytes",
            "swap_bytes",
            "disk_bytes",
            "io_weight",
            "pids",
            "registry",
        )
        made = Container.objects.create(
            name=f"drill-{secrets.token_hex(4)}",
            description=f"Throw-away container of a restore drill of {source.name}"[:255],
            owner=source.owner,
            node=node,
            egg=source.egg,
            egg_version=source.egg_version,
            labels={**source.labels, LABEL: str(work.backup_id)},
            mounts=[mount for mount in source.mounts if mount.get("kind") not in ("bind", "volume")],
            restart_policy="no",
            desired=Desired.STOPPED,
            placement={"movable": False},
            **{field: getattr(source, field) for field in copied},
        )
        own = settings_of(source)
        ContainerSettings.objects.create(container=made, startup_script=own.startup_script, readiness=own.readiness, auto_start=False)
        if node.runtime_kind == "process":  # nothing is published there, but all share the machine's ports: it needs others than its twin
            allocate_ports(
                made, node, [(wish.container, wish.host, wish.protocol) for wish in (PortWish(0, 0, p.protocol) for p in source.ports.all())]
            )
        # Written down before the node hears of it: whoever settles this work removes it.
        BackupWork.objects.filter(pk=work.pk).update(options={**work.options, "drill": str(made.pk)})
        spec = render_spec(made)
        made.spec = as_kept(spec)
        made.save(update_fields=["spec"])
        operation = take(made, "create", user=None, deadline_seconds=CREATE_SECONDS)
        commands.enqueue(
            node,
            "container.create",
            payload=CreatePayload(spec=spec, start=False, registry_auth=registry_auth(made)),
            operation=operation,
            subject_id=made.pk,
            epoch=made.epoch,
            deadline_seconds=CREATE_SECONDS,
        )
        announce(made)
    return made, operation


def _must(operation: Operation, pulse: Pulse, what: str) -> None:
    while True:
        pulse.check()
        ended = operations.wait_for(operation.pk, 2)
        if not ended.is_open:
            break
    if ended.status != OperationStatus.SUCCEEDED:
        raise CarryFailed("not_proven", f"{what}: {ended.error_detail or ended.status}")


def _ready(made: Container, pulse: Pulse) -> float:
    """Seconds until it was ready. Raises CarryFailed."""
    begun = time.monotonic()
    running_since: float | None = None
    while time.monotonic() - begun < READY_WITHIN_SECONDS:
        pulse.check()
        made.refresh_from_db(fields=["status", "status_reason", "readiness", "exit_code", "health"])
        now = time.monotonic()
        if made.status == Status.RUNNING:
            if made.readiness == "ready" or made.health == "healthy":
                return now - begun
            if made.readiness == "late":
                raise CarryFailed("not_proven", "It never said that it is ready.")
            running_since = running_since or now
            if now - running_since >= STAYS_SECONDS:
                return now - begun
        elif made.status in (Status.STOPPED, Status.CRASHED, Status.CRASH_LOOP, Status.FAILED, Status.MISSING):
            code = f" with exit code {made.exit_code}" if made.exit_code is not None else ""
            raise CarryFailed("not_proven", f"It ended{code} before it was ready. {made.status_reason}".strip())
        else:
            running_since = None
        if not connection.in_atomic_block:
            connection.close()
        time.sleep(LOOK_SECONDS)
    raise CarryFailed("not_proven", f"It was not ready within {READY_WITHIN_SECONDS:.0f} s.")


def _away(container_id: Any) -> None:
    container = Container.objects.select_related("node", "operation").filter(pk=container_id).exclude(desired=Desired.DELETED).first()
    if container is None:
        return
    try:
        remove.purge_container(container, user=None, actor=SYSTEM)
    except Problem as problem:  # the sweep tries again
        log.warning("backups.drill_left", container=str(container_id), reason=problem.detail)


def remove_stale() -> int:
    """Throw-away containers whose drill has ended: their worker died before it could remove them. Returns how many."""
    ended = BackupWork.objects.filter(kind=BackupWork.Kind.DRILL, is_open=False, options__has_key="drill")
    count = 0
    for found in ended.values_list("options", flat=True)[:200]:
        stale = (
            Container.objects.filter(pk=found["drill"], labels__has_key=LABEL).exclude(desired=Desired.DELETED).values_list("pk", flat=True).first()
        )
        if stale is not None:
            _away(stale)
            count += 1
    return count


__all__ = ["LABEL", "Stopped", "drill", "make", "remove_stale"]
