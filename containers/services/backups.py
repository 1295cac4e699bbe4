"""Backups: what people and schedules ask for. The work itself is a worker's (`backupwork`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import Sum

from audit.services import SYSTEM, Actor, record
from containers.models import Backup, BackupDestination, BackupPolicy, BackupWork, Container
from containers.services import sessions
from containers.services.destinations import default_destination
from containers.services.locks import require_online
from containers.services.publish import target
from lormas.common import clock, jobs, live
from lormas.common.errors import Conflict, FieldError, Invalid, Locked, Refused
from lormas.common.ids import new_id
from nodes import operations
from nodes.models import Operation
from nodes.states import OPERATION_OPEN

State, Kind = Backup.State, BackupWork.Kind
TASK = "containers.tasks.do_backup_work"
MOST_PATTERNS, LONGEST_PATTERN = 100, 256
HELD = (State.PENDING, State.RUNNING, State.GOOD)
"""What counts against a container's limits."""


@dataclass(frozen=True, slots=True)
class Rules:
    """A container's policy with the panel's settings where it says nothing. 0 bytes: no limit."""

    keep: int
    most_count: int
    most_bytes: int
    ignore: list[str]
    destination: BackupDestination | None


def rules_of(container: Container) -> Rules:
    policy = BackupPolicy.objects.select_related("destination").filter(pk=container.pk).first() or BackupPolicy(container=container)
    most = settings.BACKUP_LIMIT if policy.most_count is None else policy.most_count
    usable = policy.destination if policy.destination is not None and policy.destination.is_enabled else None
    return Rules(
        keep=min(settings.BACKUP_KEEP if policy.keep is None else policy.keep, max(1, most)),
        most_count=most,
        most_bytes=settings.BACKUP_BYTES if policy.most_bytes is None else policy.most_bytes,
        ignore=list(policy.ignore),
        destination=usable,
    )


def check_patterns(patterns: Sequence[str]) -> list[str]:
    """Those that say something. Raises Invalid."""
    cleaned = [pattern.rstrip() for pattern in patterns if pattern.strip()]
    if len(cleaned) > MOST_PATTERNS or any(len(pattern) > LONGEST_PATTERN or "\0" in pattern for pattern in cleaned):
        message = f"At most {MOST_PATTERNS} patterns of {LONGEST_PATTERN} characters."
        raise Invalid(message, errors=[FieldError("ignore", message, "too_many")])
    return cleaned


def set_policy(
    container: Container,
    *,
    actor: Actor,
    keep: int | None = None,
    ignore: Sequence[str] = (),
    destination: BackupDestination | None = None,
    limits: tuple[int | None, int | None] | None = None,
) -> BackupPolicy:
    """All of it anew; `limits` (count, bytes) only where an administrator gives them."""
    patterns = check_patterns(ignore)
    if destination is not None and not destination.is_enabled:
        raise Refused(f"{destination.name} is switched off: choose another destination.", code="no_destination")
    with transaction.atomic():
        known = BackupPolicy.objects.select_for_update().filter(pk=container.pk).first() or BackupPolicy(container=container)
        before = _policy_words(known)
        known.keep, known.ignore, known.destination = keep, patterns, destination
        if limits is not None:
            known.most_count, known.most_bytes = limits
        known.save()
        record("containers.backup_policy_changed", actor=actor, target=target(container), before=before, after=_policy_words(known))
    return known


def _policy_words(policy: BackupPolicy) -> dict[str, Any]:
    return {
        "keep": policy.keep,
        "ignore": policy.ignore,
        "destination": policy.destination.name if policy.destination else None,
        "most_count": policy.most_count,
        "most_bytes": policy.most_bytes,
    }


def hint_of(backup: Backup) -> dict[str, Any]:
    """What browsers get on topic `backups`."""
    return {
        "type": "backup",
        "id": str(backup.pk),
        "container": str(backup.container_id) if backup.container_id else None,
        "owner": str(backup.owner_id) if backup.owner_id else None,
        "state": backup.state,
        "is_locked": backup.is_locked,
        "proof": backup.proof,
    }


def announce(backup: Backup) -> None:
    """After the commit, tell browsers."""
    live.on_commit_publish("ui:backups", hint_of(backup))


# -------------------------------------------------------------------------------------------------------------------- acts


def create_backup(
    container: Container,
    *,
    user: Any,
    actor: Actor,
    name: str = "",
    ignore: Sequence[str] | None = None,
    stop_first: bool = False,
    is_locked: bool = False,
) -> tuple[Backup, Operation]:
    """Have one made. `stop_first`: it is stopped for the time and started again, so that all files are of one moment.

    Raises:
        NodeUnavailable. Locked: other work on its backups runs. Refused `backup_limit`, `no_destination`. Conflict: it has no files yet.
    """
    require_online(container.node)
    if not container.observed or container.observed in ("creating", "removed"):
        raise Conflict("Its node does not have it yet: there is nothing to back up.", code="wrong_state", extra={"state": container.status})
    rules = rules_of(container)
    patterns = check_patterns(rules.ignore if ignore is None else ignore)
    _check_room(container, rules)
    destination = rules.destination or default_destination()
    key = new_id()
    with transaction.atomic():
        made = Backup.objects.create(
            id=key,
            container=container,
            container_name=container.name,
            owner=container.owner,
            destination=destination,
            key=f"containers/{container.pk}/{key}.tar.gz",
            name=name[:100],
            ignore=patterns,
            is_locked=is_locked,
            by=user if getattr(user, "pk", None) else None,
            by_label=actor.label[:255],
        )
        work = open_work(Kind.CREATE, made, container, user=user, options={"stop_first": stop_first})
        record("containers.backup", actor=actor, target=target(container), after={"backup": str(made.pk), "name": made.name})
        announce(made)
    return made, work.operation


def _check_room(container: Container, rules: Rules) -> None:
    locked = Backup.objects.filter(container=container, state__in=HELD, is_locked=True)
    if rules.most_count == 0:
        raise Refused("This container may have no backups: an administrator sets how many.", code="backup_limit")
    if locked.count() >= rules.most_count:
        raise Refused(f"It may have {rules.most_count} backups, and all of them are locked: unlock or delete one first.", code="backup_limit")
    if rules.most_bytes and bytes_of(locked) >= rules.most_bytes:
        raise Refused(
            f"Its locked backups take all of the {rules.most_bytes} bytes that it may have: unlock or delete one first.", code="backup_limit"
        )


def bytes_of(backups: Any) -> int:
    """What they take together."""
    return int(backups.aggregate(total=Sum("size_bytes"))["total"] or 0)


def open_work(kind: str, backup: Backup, container: Container, *, user: Any, options: dict[str, Any] | None = None) -> BackupWork:
    """Inside a transaction. Raises Locked."""
    operation = operations.open_operation(
        f"container.{'backup' if kind == Kind.CREATE else f'backup_{kind}'}",
        user=user,
        target_type="container",
        target_id=container.pk,
        target_label=container.name,
        deadline_seconds=settings.BACKUP_SECONDS,
        message="Waiting for a worker",
    )
    try:
        with transaction.atomic():
            work = BackupWork.objects.create(
                kind=kind,
                backup=backup,
                container=container,
                operation=operation,
                options=options or {},
                user=user if getattr(user, "pk", None) else None,
            )
    except IntegrityError:
        running = BackupWork.objects.select_related("operation").filter(container=container, is_open=True).first()
        what = running.get_kind_display().lower() if running else "other work"
        raise Locked(
            f"{container.name}: {what} on its backups is running. Wait for it, or cancel it.",
            extra={
                "operation": str(running.operation_id) if running else None,
                "operation_kind": running.operation.kind if running else None,
            },
        ) from None
    jobs.enqueue_on_commit(TASK, str(work.pk))
    return work


def latest_good_backup(container: Container) -> Backup | None:
    """The newest that can be restored; None if there is none."""
    return Backup.objects.filter(container=container, state=State.GOOD, is_damaged=False).order_by("-created_at", "-id").first()


def check_usable(backup: Backup) -> None:
    """Raises Conflict `not_usable`."""
    if backup.is_usable:
        return
    why = "its archive is damaged" if backup.is_damaged else f"it is {backup.get_state_display().lower()}"
    raise Conflict(f"This backup can't be restored: {why}.", code="not_usable", extra={"state": backup.state, "allowed": []})


def restore_into(container: Container, backup: Backup, *, user: Any, actor: Actor, start: bool | None = None) -> Operation:
    """Put a backup in place of all files of a container (its own, or any other that its node has). It is stopped for the time; all that is in its
    data folder and not in the backup is gone afterwards. One that fails leaves the old files.

    `start` None: started again if it ran. The node of a container that was just placed must have made it (`observed` says so). A session container
    that is to run afterwards keeps or takes its place from now on.

    Raises:
        Conflict `not_usable`, `wrong_state`. NodeUnavailable. Locked. Refused `too_many_sessions`.
    """
    require_online(container.node)
    check_usable(backup)
    if container.observed not in ("created", "exited", "running", "paused"):
        raise Conflict(
            f"{container.name} is {container.get_status_display().lower()}: its node has nothing to restore into. Start it once, then restore.",
            code="wrong_state",
            extra={"state": container.status, "allowed": []},
        )
    with transaction.atomic():
        if start:
            sessions.take_place(container)
        work = open_work(Kind.RESTORE, backup, container, user=user, options={"start": start})
        record(
            "containers.backup_restore",
            actor=actor,
            target=target(container),
            after={"backup": str(backup.pk), "name": str(backup), "of": backup.created_at.isoformat()},
        )
        announce(backup)
    return work.operation


def verify(backup: Backup, *, user: Any, actor: Actor) -> Operation:
    """Read all its bytes again and compare their checksum. Raises Conflict, Locked."""
    return _about(backup, Kind.VERIFY, user=user, actor=actor)


def prove(backup: Backup, *, user: Any, actor: Actor) -> Operation:
    """Make a throw-away container of it, see it become ready, and remove it. Raises Conflict, Locked."""
    check_usable(backup)
    return _about(backup, Kind.DRILL, user=user, actor=actor)


def _about(backup: Backup, kind: str, *, user: Any, actor: Actor) -> Operation:
    container = backup.container
    if backup.state != State.GOOD or container is None:
        raise Conflict("Only a finished backup of a container that is still there can be checked.", code="not_usable", extra={"state": backup.state})
    with transaction.atomic():
        work = open_work(kind, backup, container, user=user)
        record(f"containers.backup_{kind}", actor=actor, target=target(container), after={"backup": str(backup.pk)})
    return work.operation


def change_backup(backup: Backup, *, actor: Actor, name: str | None = None, is_locked: bool | None = None) -> Backup:
    """Rename, lock or unlock. Raises Conflict: it failed or is being deleted."""
    changes: dict[str, Any] = {}
    if name is not None:
        changes["name"] = name[:100]
    if is_locked is not None:
        changes["is_locked"] = is_locked
    with transaction.atomic():
        before = {field: getattr(backup, field) for field in changes}
        if not Backup.objects.filter(pk=backup.pk, state__in=HELD).update(**changes):
            raise Conflict("It is not there any more, or it failed.", code="not_usable", extra={"state": backup.state})
        backup.refresh_from_db()
        if backup.container is not None:
            record(
                "containers.backup_changed", actor=actor, target=target(backup.container), before=before, after={"backup": str(backup.pk), **changes}
            )
        announce(backup)
    return backup


def delete_backup(backup: Backup, *, actor: Actor) -> None:
    """Its archive goes, then its row. Raises Conflict `locked_backup`, `in_use`: work on it runs."""
    with transaction.atomic():
        if BackupWork.objects.filter(backup=backup, is_open=True).exists():
            raise Conflict("Work on this backup is running: cancel it, or wait for its end.", code="in_use", extra={"state": backup.state})
        # Claimed by conditional UPDATE: a rival's lock counts.
        taken = Backup.objects.filter(pk=backup.pk, is_locked=False, state__in=(State.GOOD, State.FAILED)).update(state=State.DELETING)
        if not taken:
            backup.refresh_from_db()
            if backup.is_locked:
                raise Conflict("This backup is locked: unlock it first.", code="locked_backup", extra={"state": backup.state})
            raise Conflict("It is being deleted, or not finished.", code="in_use", extra={"state": backup.state})
        backup.refresh_from_db()
        if backup.container is not None:
            record(
                "containers.backup_deleted",
                actor=actor,
                target=target(backup.container),
                before={"backup": str(backup.pk), "name": str(backup), "size_bytes": backup.size_bytes},
            )
        announce(backup)
        jobs.enqueue_on_commit("containers.tasks.drop_backups")


def rotate(container: Container) -> int:
    """After a new good one: the oldest that are not locked go until the container's rules are kept; never the newest. Returns how many."""
    rules = rules_of(container)
    good = list(Backup.objects.filter(container=container, state=State.GOOD).order_by("-created_at", "-id"))
    free = [one for one in good[1:] if not one.is_locked]
    gone = 0

    def too_many() -> bool:
        loose = sum(not one.is_locked for one in good)
        return loose > rules.keep or len(good) > rules.most_count or bool(rules.most_bytes and sum(o.size_bytes for o in good) > rules.most_bytes)

    while free and too_many():
        oldest = free.pop()
        good.remove(oldest)
        try:
            delete_backup(oldest, actor=SYSTEM)
            gone += 1
        except Conflict:  # locked or in use since: it stays
            continue
    return gone


def is_open(operation_id: Any) -> bool:
    """Has nobody cancelled it, and is its time not over?"""
    return Operation.objects.filter(pk=operation_id, status__in=OPERATION_OPEN, deadline__gt=clock.now()).exists()
