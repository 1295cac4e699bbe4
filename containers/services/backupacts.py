"""What a worker does for each kind of work on a backup (`backupwork.ACTS`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from django.db import connections, transaction

from agent.protocol.backups import BackupRead, BackupWrite
from audit.services import SYSTEM, record
from containers.models import Backup, BackupWork, Container
from containers.services import backupanew, backups
from containers.services.backupcarry import Carried, CarryFailed, alone, bring, fetch, summed_up
from containers.services.backupwork import Pulse, Stopped, stop_for
from containers.services.publish import target
from containers.stores import store_of
from lormas.common import clock

State = Backup.State


def create(work: BackupWork, pulse: Pulse) -> dict[str, Any]:
    """From the node into the store; good only if all of it is there and sums agree."""
    backup, container = work.backup, work.container
    if not Backup.objects.filter(pk=backup.pk, state=State.PENDING).update(state=State.RUNNING):
        raise Stopped
    backup.refresh_from_db()
    backups.announce(backup)
    stopped = container.observed not in ("running", "paused", "restarting")
    if work.options.get("stop_first") and not stopped:
        pulse.tell(0, "Stopping the container")
        stop_for(work, restart=True)
        stopped = True
    store = store_of(backup.destination)
    rules = backups.rules_of(container)
    locked = backups.bytes_of(Backup.objects.filter(container=container, state=State.GOOD, is_locked=True)) if rules.most_bytes else 0
    draft = store.begin(backup.key)
    try:
        carried: Carried = cancellable(
            pulse,
            fetch(
                node_of(container),
                str(container.pk),
                BackupRead(ignore=list(backup.ignore)),
                draft,
                most_bytes=rules.most_bytes and max(1, rules.most_bytes - locked),
                tell=lambda done, total: pulse.tell(_percent(done, total), f"{_size(done)} of {_size(total)} read"),
            ),
        )
        pulse.check()
        draft.commit()
    except BaseException:
        draft.discard()
        raise
    with transaction.atomic():
        # Conditional: one that was cancelled at the last moment is not good, and its archive goes.
        if not backups.is_open(work.operation_id) or not Backup.objects.filter(pk=backup.pk, state=State.RUNNING).update(
            state=State.GOOD,
            size_bytes=carried.size_bytes,
            content_bytes=carried.content_bytes,
            files=carried.files,
            left_out=carried.left_out,
            sha256=carried.sha256,
            was_stopped=stopped,
            finished_at=clock.now(),
        ):
            raise Stopped
        record(
            "containers.backup_made",
            actor=SYSTEM,
            target=target(container),
            after={"backup": str(backup.pk), "size_bytes": carried.size_bytes, "files": carried.files, "left_out": carried.left_out},
        )
        gone = backups.rotate(container)
    return {
        "backup": str(backup.pk),
        "size_bytes": carried.size_bytes,
        "files": carried.files,
        "sha256": carried.sha256,
        "rotated": gone,
        "message": f"{_size(carried.size_bytes)}, {carried.files} files",
    }


def restore(work: BackupWork, pulse: Pulse) -> dict[str, Any]:
    """From the store into the container. The old files stay until all of the new are there and right."""
    backup, container = work.backup, work.container
    if work.options.get("make"):
        pulse.tell(0, "Making the container")
        backupanew.make(work, pulse)
    else:
        pulse.tell(0, "Stopping the container")
        stop_for(work, restart=work.options.get("start") is not False)
    done = into(container, backup, pulse, may_finish=lambda: backups.is_open(work.operation_id))
    if work.options.get("start_after"):  # only now: what could not be restored is not to run empty
        BackupWork.objects.filter(pk=work.pk).update(options={**work.options, "restart": True})
    record(
        "containers.backup_restored",
        actor=SYSTEM,
        target=target(container),
        after={"backup": str(backup.pk), "name": str(backup), "files": done.get("files", 0)},
    )
    return {"backup": str(backup.pk), "container": str(container.pk), **done, "message": f"{done.get('files', 0)} files restored"}


def into(container: Container, backup: Backup, pulse: Pulse, *, may_finish: Callable[[], bool]) -> dict[str, Any]:
    """A backup in place of a container's files. Raises CarryFailed, StoreFault; a damaged archive is marked."""
    store = store_of(backup.destination)
    asked = BackupWrite(size_bytes=backup.size_bytes, sha256=backup.sha256, quota_bytes=container.disk_bytes)

    def asked_in_thread() -> bool:
        try:
            return pulse.is_wanted and may_finish()
        finally:
            connections.close_all()

    try:
        done: dict[str, Any] = cancellable(
            pulse,
            bring(
                node_of(container),
                str(container.pk),
                asked,
                store.read(backup.key),
                tell=lambda sent, total: pulse.tell(_percent(sent, total), f"{_size(sent)} of {_size(total)} sent"),
                may_finish=asked_in_thread,
            ),
        )
    except CarryFailed as failure:
        if failure.code == "damaged":
            _mark(backup, is_damaged=True)
        raise
    return done


def verify(work: BackupWork, pulse: Pulse) -> dict[str, Any]:
    """All bytes read again, their checksum compared."""
    backup = work.backup

    def told(done: int) -> None:
        pulse.check()
        pulse.tell(_percent(done, backup.size_bytes), f"{_size(done)} of {_size(backup.size_bytes)} read")

    size, sha256 = summed_up(store_of(backup.destination).read(backup.key), tell=told)
    damaged = (size, sha256) != (backup.size_bytes, backup.sha256)
    _mark(backup, is_damaged=damaged)
    if damaged:
        raise CarryFailed("damaged", "The archive at its destination is not what was written there: its checksum is another one.")
    return {"backup": str(backup.pk), "sha256": sha256, "message": "The archive is as it was written"}


def _mark(backup: Backup, *, is_damaged: bool) -> None:
    Backup.objects.filter(pk=backup.pk).update(is_damaged=is_damaged, checked_at=clock.now())
    backup.refresh_from_db()
    backups.announce(backup)


def node_of(container: Container) -> Any:
    if container.node_id is None:
        raise CarryFailed("node_offline", "This container has no node.")
    return container.node_id


def cancellable(pulse: Pulse, work: Coroutine[Any, Any, Any]) -> Any:
    """Run it until its end, or until it is not wanted any more. Raises Stopped."""

    async def watched() -> Any:
        loop = asyncio.get_running_loop()
        task = asyncio.ensure_future(work)

        def stop() -> None:
            loop.call_soon_threadsafe(task.cancel)

        pulse.when_stopped(stop)
        try:
            return await task
        except asyncio.CancelledError:
            raise Stopped from None
        finally:
            pulse.when_stopped(None)

    return alone(watched())


def _percent(done: int, total: int) -> int:
    return min(99, done * 100 // total) if total > 0 else 0


def _size(count: int) -> str:
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit in ("B", "KiB") else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
