"""A container made anew on a node that has nothing of it, from its last good backup: what `restore_backup` of a cluster asks for (failover)."""

from __future__ import annotations

import time
from typing import Any

from django.db import connection, transaction

from agent.protocol.commands import CreatePayload
from audit.services import SYSTEM, record
from containers.models import Backup, BackupWork, Container
from containers.services import backups
from containers.services.backupcarry import CarryFailed
from containers.services.create import CREATE_SECONDS, registry_auth, render_spec
from containers.services.locks import hold, require_online
from containers.services.publish import announce, target
from containers.states import Status
from lormas.common import clock
from nodes import commands
from nodes.models import Command
from nodes.states import CommandState

LOOK_SECONDS = 0.5


def restore_anew(container: Container, backup: Backup, *, start: bool) -> None:
    """Inside the caller's transaction, when its row names the new node: a worker makes it there, restores, and starts it. One that can't be restored
    is not started: empty folders are not what was asked for.

    Raises Locked, Conflict `not_usable`.
    """
    backups.check_usable(backup)
    work = backups.open_work(BackupWork.Kind.RESTORE, backup, container, user=None, options={"make": True, "start_after": start})
    hold(container, work.operation)
    reason = f"Made anew from its backup of {backup.created_at:%Y-%m-%d %H:%M} UTC."
    Container.objects.filter(pk=container.pk).update(status=Status.CREATING, status_reason=reason, status_since=clock.now(), status_deadline=None)
    record("containers.backup_restore", actor=SYSTEM, target=target(container), after={"backup": str(backup.pk), "anew": True})
    announce(container)


def make(work: BackupWork, pulse: Any) -> None:
    """Have its node make it, stopped. The work's operation holds it already. Raises CarryFailed, Problem, Stopped."""
    container = Container.objects.select_related("node", "egg_version").get(pk=work.container_id)
    node = require_online(container.node)
    with transaction.atomic():
        command = commands.enqueue(
            node,
            "container.create",
            payload=CreatePayload(spec=render_spec(container), start=False, registry_auth=registry_auth(container)),
            subject_id=container.pk,
            epoch=container.epoch,
            deadline_seconds=CREATE_SECONDS,
        )
    while (ended := Command.objects.get(pk=command.pk)).is_open:
        pulse.check()
        if not connection.in_atomic_block:
            connection.close()
        time.sleep(LOOK_SECONDS)
    if ended.state != CommandState.DONE:
        raise CarryFailed(ended.error_code or "failed", f"Its node could not make it: {ended.error_detail}")
