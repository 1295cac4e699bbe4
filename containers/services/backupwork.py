"""Work on backups, carried out by workers: claimed by conditional UPDATE, with a sign of life each second. What loses its worker is settled by the
sweep: failed, with its cause, and nothing is left at the destination."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import structlog
from django.conf import settings
from django.db import DatabaseError, connections, transaction

from audit.services import SYSTEM, Actor, record
from containers.models import Backup, BackupWork, Container
from containers.services import backups, power
from containers.services.backupcarry import CarryFailed
from containers.services.observe import settle_status
from containers.services.publish import announce, target
from containers.states import Desired
from containers.stores import StoreFault
from lormas.common import clock, ids, jobs
from lormas.common.crypto import WrongKey
from lormas.common.errors import Problem
from lormas.common.wires import resolve
from nodes import operations
from nodes.states import OperationStatus

log = structlog.get_logger(__name__)

State, Kind = Backup.State, BackupWork.Kind
BEAT_SECONDS = 1.0
DEAD_SECONDS = 60
"""A worker that gave no sign for so long is dead."""
KNOCK_SECONDS = 30
"""Work that nobody has taken up for so long is told to workers again."""

ACTS: dict[str, str] = {
    Kind.CREATE: "containers.services.backupacts.create",
    Kind.RESTORE: "containers.services.backupacts.restore",
    Kind.VERIFY: "containers.services.backupacts.verify",
    Kind.DRILL: "containers.services.drills.drill",
}
"""Kind -> function(work, pulse) -> result of the operation; raises what `_cause` knows."""


class Stopped(Exception):
    """Cancelled, timed out, or taken over: nobody waits for it any more."""


class Pulse(threading.Thread):
    """Says each second that we live, stores progress, and learns whether the work is still wanted."""

    def __init__(self, work: BackupWork) -> None:
        super().__init__(name=f"pulse {work.pk}", daemon=True)
        self._work = work
        self._ended = threading.Event()
        self._told: tuple[int, str] = (0, "")
        self._stored: tuple[int, str] = (0, "")
        self._on_stop: Callable[[], None] | None = None
        self.is_wanted = True

    def tell(self, percent: int, message: str) -> None:
        """Cheap: stored with the next beat."""
        self._told = (percent, message)

    def check(self) -> None:
        """Raises Stopped."""
        if not self.is_wanted:
            raise Stopped

    def when_stopped(self, act: Callable[[], None] | None) -> None:
        """Called once from this thread when the work is not wanted any more."""
        self._on_stop = act
        if act is not None and not self.is_wanted:
            act()

    def end(self) -> None:
        self._ended.set()
        self.join(10)

    def run(self) -> None:
        try:
            while self.is_wanted and not self._ended.wait(BEAT_SECONDS):
                try:
                    self.beat()
                except DatabaseError as error:  # one that is away for a moment is no reason to stop
                    log.warning("backups.beat_failed", work=str(self._work.pk), error=str(error))
                finally:
                    connections.close_all()
        finally:
            connections.close_all()

    def beat(self) -> None:
        ours = BackupWork.objects.filter(pk=self._work.pk, worker=self._work.worker, is_open=True).update(alive_at=clock.now())
        if not ours or not backups.is_open(self._work.operation_id):
            self.is_wanted = False
            if self._on_stop is not None:
                self._on_stop()
            return
        if self._told != self._stored:
            self._stored = self._told
            operations.set_progress(self._work.operation_id, self._told[0], self._told[1])


def run(work_id: str) -> bool:
    """Carry one out, if it is free and there is room. True if it was done here (well or not)."""
    work = _claim(work_id)
    if work is None:
        return False
    pulse = Pulse(work)
    pulse.start()
    try:
        operations.mark_running(work.operation_id)
        result = resolve(ACTS[work.kind])(work, pulse)
    except (Stopped, CarryFailed, StoreFault, WrongKey, Problem) as error:
        _failed(work, *_cause(error))
    except Exception as fault:  # whatever it was, the row and the operation must say so
        log.exception("backups.failed_inside", work=str(work.pk))
        _failed(work, "internal", f"{type(fault).__name__}: see the panel's log.")
    else:
        _done(work, result)
    finally:
        pulse.end()
    knock()
    return True


def _claim(work_id: str) -> BackupWork | None:
    busy = BackupWork.objects.filter(is_open=True, alive_at__gte=clock.now() - timedelta(seconds=DEAD_SECONDS)).exclude(worker="")
    if busy.count() >= settings.BACKUPS_AT_ONCE:
        return None
    worker = f"{ids.PROCESS_ID}:{secrets.token_hex(6)}"
    if not BackupWork.objects.filter(pk=work_id, is_open=True, worker="").update(worker=worker, alive_at=clock.now()):
        return None
    work = BackupWork.objects.select_related("backup__destination", "container__node", "operation", "user").get(pk=work_id)
    if work.operation.is_open:
        return work
    _failed(work, "cancelled", "It was cancelled before it began.")
    return None


def _cause(error: Exception) -> tuple[str, str]:
    if isinstance(error, Stopped):
        return "cancelled", "It was cancelled, or its time was over."
    if isinstance(error, CarryFailed):
        return error.code, error.detail
    if isinstance(error, StoreFault):
        return "destination_failed", error.detail
    if isinstance(error, WrongKey):
        return "destination_failed", "The destination's credentials were encrypted under a key that is no longer configured."
    assert isinstance(error, Problem)
    return error.code, error.detail


def _person(work: BackupWork) -> Actor:
    return work.user.as_actor() if work.user is not None else SYSTEM


def _done(work: BackupWork, result: dict[str, Any]) -> None:
    with transaction.atomic():
        operations.settle_operation(work.operation_id, status=OperationStatus.SUCCEEDED, result=result, message=str(result.pop("message", "")))
        _close(work)


def _failed(work: BackupWork, code: str, detail: str) -> None:
    """The first end wins: of two that settle the same work one does it."""
    with transaction.atomic():
        if not BackupWork.objects.filter(pk=work.pk, is_open=True).update(is_open=False):
            return
        status = OperationStatus.CANCELLED if code == "cancelled" else OperationStatus.FAILED
        operations.settle_operation(work.operation_id, status=status, error_code=code, error_detail=detail)
        if work.kind == Kind.CREATE:
            Backup.objects.filter(pk=work.backup_id, state__in=(State.PENDING, State.RUNNING)).update(
                state=State.FAILED, error_code=code[:64], error=detail[:500], finished_at=clock.now(), is_locked=False
            )
        container = Container.objects.filter(pk=work.container_id).first()
        if container is not None:
            record(
                f"containers.backup_{work.kind}_failed",
                actor=SYSTEM,
                target=target(container),
                outcome="failed",
                message=detail[:500],
                after={"backup": str(work.backup_id), "code": code},
            )
        _close(work)
    if work.kind == Kind.CREATE:
        drop_archive(work.backup_id)


def _close(work: BackupWork) -> None:
    """The container is its people's again; started if it ran before. Inside a transaction."""
    BackupWork.objects.filter(pk=work.pk).update(is_open=False)
    backup = Backup.objects.filter(pk=work.backup_id).first()
    if backup is not None:
        backups.announce(backup)
    container = Container.objects.select_related("node", "operation").filter(pk=work.container_id).first()
    if container is None:
        return
    Container.objects.filter(pk=container.pk, operation_id=work.operation_id).update(operation=None)
    container.refresh_from_db()
    if container.operation_id is None and container.observed and container.desired != Desired.DELETED:
        settle_status(container, cause="command")
    announce(container)
    if BackupWork.objects.filter(pk=work.pk, options__restart=True).exists():
        # Within this transaction: no death of ours comes between, and no other session container into its place.
        _start_again(work)


def _start_again(work: BackupWork) -> None:
    container = Container.objects.alive().select_related("node", "operation").filter(pk=work.container_id).first()
    if container is None:
        return
    try:
        power.act(container, "start", user=work.user, actor=_person(work), has_place=True)
    except Problem as problem:
        log.warning("backups.not_started_again", container=str(container.pk), reason=problem.detail)
        record("containers.start", actor=SYSTEM, target=target(container), outcome="failed", message=f"After its backup: {problem.detail}"[:500])


def stop_for(work: BackupWork, *, restart: bool) -> None:
    """Stop the container if it runs, remember to start it again (also if we die), and take its lock. Raises Problem."""
    container = Container.objects.select_related("node", "operation").get(pk=work.container_id)
    if container.observed in ("running", "paused", "restarting"):
        # Written first: whoever settles this work starts the container.
        BackupWork.objects.filter(pk=work.pk).update(options={**work.options, "restart": restart})
        operation = power.act(container, "stop", user=work.user, actor=_person(work))
        ended = operations.wait_for(operation.pk, max(1.0, (operation.deadline - clock.now()).total_seconds()))
        if ended.status != OperationStatus.SUCCEEDED:
            raise CarryFailed("not_stopped", f"The container could not be stopped: {ended.error_detail or ended.status}")
        container.refresh_from_db()
    elif work.options.get("start"):
        BackupWork.objects.filter(pk=work.pk).update(options={**work.options, "restart": True})
    with transaction.atomic():
        from containers.services.locks import hold

        hold(container, work.operation)
        announce(container)
    if container.observed in ("running", "paused", "restarting"):
        raise CarryFailed("running", "The container was started meanwhile.")


def drop_archive(backup_id: Any) -> bool:
    """What a backup has at its destination goes; False if the destination does not do it now (the sweep tries again)."""
    from containers.stores import store_of

    backup = Backup.objects.select_related("destination").filter(pk=backup_id).exclude(key="").first()
    if backup is None:
        return True
    try:
        store_of(backup.destination).remove(backup.key)
    except (StoreFault, WrongKey) as fault:
        log.warning("backups.archive_left", backup=str(backup_id), reason=str(fault))
        return False
    if backup.state == State.FAILED:
        Backup.objects.filter(pk=backup_id, state=State.FAILED).update(key="")
    return True


# ------------------------------------------------------------------------------------------------------------------- sweep


def knock() -> None:
    """Tell workers of what waits, as far as there is room."""
    room = settings.BACKUPS_AT_ONCE - BackupWork.objects.filter(is_open=True).exclude(worker="").count()
    for work_id in BackupWork.objects.filter(is_open=True, worker="").values_list("pk", flat=True)[: max(0, room)]:
        jobs.enqueue_on_commit(backups.TASK, str(work_id))


def settle_dead() -> int:
    """Work whose worker is gone, or that ended before anybody began: failed, with its cause."""
    now, count = clock.now(), 0
    dead = BackupWork.objects.filter(is_open=True, alive_at__lt=now - timedelta(seconds=DEAD_SECONDS)).exclude(worker="")
    for work in dead.select_related("operation", "user"):
        _failed(work, "worker_lost", "The panel's worker that did this has died. What it had written was removed; try again.")
        count += 1
    for work in BackupWork.objects.filter(is_open=True, worker="").select_related("operation", "user"):
        if not work.operation.is_open:
            _failed(work, "cancelled", work.operation.error_detail or "It was cancelled before it began.")
            count += 1
    return count


def drop_deleted() -> int:
    """Archives and rows of what is being deleted; backups of containers that are gone for good, but for locked ones; leftovers of failed ones."""
    orphans = Backup.objects.filter(container__isnull=True, is_locked=False, state__in=(State.GOOD, State.FAILED))
    orphans.update(state=State.DELETING)
    count = 0
    for backup_id in list(Backup.objects.filter(state=State.DELETING).values_list("pk", flat=True)[:500]):
        if drop_archive(backup_id):
            with transaction.atomic():
                gone = Backup.objects.filter(pk=backup_id, state=State.DELETING).first()
                if gone is not None:
                    backups.announce(gone)
                    gone.delete()
                    count += 1
    for backup_id in list(Backup.objects.filter(state=State.FAILED).exclude(key="").values_list("pk", flat=True)[:100]):
        drop_archive(backup_id)
    return count


def sweep() -> dict[str, int]:
    """Each minute."""
    with suppress(Problem):
        from containers.services.drills import remove_stale

        remove_stale()
    found = {"settled": settle_dead(), "deleted": drop_deleted()}
    knock()
    return found
