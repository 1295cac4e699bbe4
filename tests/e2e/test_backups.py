"""Backups of real containers through the whole chain: to a folder and to an S3 server, back again, proven, and what faults leave behind."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from accounts.services import sign_in
from agent.protocol.commands import LogsQuery
from audit.services import SYSTEM
from containers import logs
from containers.models import Backup, BackupWork, Container, Schedule, ScheduleRun
from containers.services import NewContainer, backups, backupwork, create_container, drills, power, scheduleruns, schedules, scheduletime
from containers.services import destinations as places
from containers.spec import Asked
from containers.stores import folder, store_of
from nodes import operations
from nodes.models import Operation
from tests.e2e.conftest import Stack, in_thread, running_stack, until
from tests.e2e.test_inside import EGG, Person

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.django_db(transaction=True), pytest.mark.timeout(600)]

READY: dict[str, Any] = {
    **EGG,
    "name": "Ready",
    "startup": "ls world/level.dat && echo all set; while read line; do echo got $line; done",
    "config": {"files": "{}", "startup": '{"done": "all set"}', "logs": "{}", "stop": "^C"},
}
"""Says that it is ready if its world is there, and repeats what it is told."""


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3 server on loopback, with the bucket `backups`."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    keys = {"aws_access_key_id": "k", "aws_secret_access_key": "s"}
    boto3.client("s3", endpoint_url=address, region_name="us-east-1", **keys).create_bucket(Bucket="backups")
    yield address
    server.stop()


class Chain:
    """alice's container on one runtime, and the worker's part played by this process."""

    def __init__(self, stack: Stack, person: Person, container: Container, alice: Any) -> None:
        self.stack, self.person, self.container, self.alice = stack, person, container, alice
        self.at = f"/api/containers/{container.pk}"

    async def put(self, path: str, content: bytes) -> None:
        status, body = await self.person.ask("PUT", f"{self.at}/files/content", params={"path": path}, data=content)
        assert status in (200, 201), body

    async def get(self, path: str) -> tuple[int, Any]:
        return await self.person.ask("GET", f"{self.at}/files/content", params={"path": path})

    async def work(self, operation: Operation) -> Operation:
        work = await in_thread(lambda: BackupWork.objects.get(operation=operation))
        assert await in_thread(backupwork.run, str(work.pk))
        return await in_thread(lambda: Operation.objects.get(pk=operation.pk))

    async def now(self) -> Container:
        found: Container = await in_thread(lambda: Container.objects.select_related("node", "operation").get(pk=self.container.pk))
        return found

    async def backup(self, **how: Any) -> Backup:
        made, operation = await in_thread(backups.create_backup, await self.now(), user=self.alice, actor=self.alice.as_actor(), **how)
        ended = await self.work(operation)
        assert ended.status == "succeeded", ended.error_detail
        return await in_thread(lambda: Backup.objects.select_related("container", "destination").get(pk=made.pk))

    async def running(self) -> None:
        await until(lambda: Container.objects.filter(pk=self.container.pk, status="running").exists(), seconds=60, what="running")

    async def wrote(self, text: str) -> None:
        """The program has written this line."""
        query = LogsQuery(tail=50, limit=50)
        await until(
            lambda: any(line[3] == text and line[2] == "application" for line in logs.read(self.container, query)["lines"]), seconds=30, what=text
        )

    async def begin(self, act: Any, *args: Any) -> Operation:
        operation: Operation = await in_thread(lambda: act(*args, user=self.alice, actor=self.alice.as_actor()))
        return operation


@pytest.mark.parametrize("runtime", ["process", pytest.param("docker", marks=pytest.mark.docker)])
async def test_backups(runtime: str, transactional_db: None, tmp_path: Path, alice: Any, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from eggs.services import import_egg

    async with running_stack(tmp_path, runtime=runtime) as stack:
        token = (await in_thread(sign_in, alice, address=None, user_agent="test")).access
        egg = (await in_thread(lambda: import_egg(json.dumps(READY).encode(), filename="egg.json"))).eggs[0]
        new = NewContainer(name="web", egg=egg, asked=Asked(disk_bytes=400 * 1024**2), restart_policy="no")
        container, _ = await in_thread(create_container, user=alice, actor=alice.as_actor(), data=new)
        await until(lambda: Container.objects.filter(pk=container.pk, observed="running").exists(), seconds=60, what="running")
        keys = {"bucket": "backups", "prefix": "lormas", "endpoint": s3, "access_key": "k", "secret_key": "s"}
        given, kind = ({"folder": str(tmp_path / "kept")}, "local") if runtime == "process" else (keys, "s3")
        place = await in_thread(lambda: places.add(name="kept", kind=kind, given=given, is_default=True, actor=SYSTEM))
        assert (await in_thread(lambda: places.test(place, actor=SYSTEM))).problem == ""
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
            chain = Chain(stack, Person(stack, token, session), container, alice)
            made = await check_there_and_back(chain)
            await check_a_drill_proves_it_and_leaves_nothing(chain, made)
            await check_a_damaged_archive_is_found_and_changes_nothing(chain, made)
            if runtime == "process":
                await check_a_line_of_its_log_runs_steps_in_order(chain, monkeypatch)
                await check_a_step_that_fails_ends_the_run(chain)
                await check_a_limit_holds_while_the_archive_comes(chain, tmp_path / "kept")
                await check_cancelled_in_the_middle_nothing_is_left(chain, tmp_path / "kept", monkeypatch)
                await check_a_drill_that_fails_says_why(chain, monkeypatch)
                await check_a_node_that_dies_in_the_middle_leaves_nothing(chain, tmp_path / "kept", monkeypatch)
            await chain.person.ask("DELETE", chain.at, params={"force": "true", "wait": "30"})  # containers outlive their agent


async def check_there_and_back(chain: Chain) -> Backup:
    """Stopped for the time and started again; what came since is gone, what was there is back, what was left out stays out."""
    level = os.urandom(3_000_000)
    await chain.put("world/level.dat", level)
    await chain.put("old.log", b"x")
    made = await chain.backup(name="first", ignore=["*.log"], stop_first=True)
    assert made.state == "good" and made.was_stopped and made.files == 1 and made.size_bytes > 3_000_000
    await chain.running()
    await chain.put("world/level.dat", b"broken")
    await chain.put("since", b"x")
    ended = await chain.work(await chain.begin(backups.restore_into, await chain.now(), made))
    assert ended.status == "succeeded", ended.error_detail
    await chain.running()
    assert await chain.get("world/level.dat") == (200, level)
    assert [(await chain.get(name))[0] for name in ("since", "old.log")] == [404, 404]
    status, whole = await chain.person.ask("GET", f"{chain.at}/backups/{made.pk}/download")
    assert status == 200 and hashlib.sha256(whole).hexdigest() == made.sha256, "downloaded as it was written"
    status, part = await chain.person.ask("GET", f"{chain.at}/backups/{made.pk}/download", headers={"Range": "bytes=1000000-1000009"})
    assert (status, part) == (206, whole[1_000_000:1_000_010])
    return made


async def nothing_is_left_of_drills(chain: Chain) -> None:
    await until(lambda: not Container.objects.filter(labels__has_key=drills.LABEL).exists(), seconds=60, what="drill containers gone")


async def check_a_drill_proves_it_and_leaves_nothing(chain: Chain, made: Backup) -> None:
    ended = await chain.work(await chain.begin(backups.prove, made))
    assert ended.status == "succeeded", ended.error_detail
    proven = await in_thread(lambda: Backup.objects.get(pk=made.pk))
    assert proven.proof == "proven" and proven.proof_at is not None and "ready" in proven.proof_detail
    await nothing_is_left_of_drills(chain)
    await chain.running()


async def check_a_damaged_archive_is_found_and_changes_nothing(chain: Chain, made: Backup) -> None:
    """At restoring, before anything is put in place, and by a check."""

    def damage() -> None:
        store = store_of(made.destination)
        content = bytearray(b"".join(store.read(made.key)))
        content[len(content) // 2] ^= 0xFF
        draft = store.begin(made.key)
        draft.write(bytes(content))
        draft.commit()

    before = await chain.get("world/level.dat")
    await in_thread(damage)
    ended = await chain.work(await chain.begin(backups.restore_into, await chain.now(), made))
    assert ended.status == "failed" and ended.error_code in ("damaged", "unsafe_archive", "checksum_mismatch"), ended.error_code
    await chain.running()
    assert await chain.get("world/level.dat") == before, "the old files stay"
    ended = await chain.work(await chain.begin(backups.verify, made))
    assert (ended.status, ended.error_code) == ("failed", "damaged")
    assert (await in_thread(lambda: Backup.objects.get(pk=made.pk))).is_damaged
    assert await in_thread(lambda: backups.latest_good_backup(chain.container)) is None


async def play_the_worker(chain: Chain, run: ScheduleRun) -> ScheduleRun:
    """What worker and beat do for a run, until it ends."""

    def go_on() -> ScheduleRun | None:
        scheduleruns.advance_due()
        for work in BackupWork.objects.filter(is_open=True, worker=""):
            backupwork.run(str(work.pk))
        return ScheduleRun.objects.exclude(state="running").filter(pk=run.pk).first()

    found: ScheduleRun = await until(go_on, seconds=90, what="the run's end")
    return found


def plan(chain: Chain, name: str, *steps: dict[str, Any], **how: Any) -> Schedule:
    given = {"name": name, "cron": "0 4 * * *", "steps": list(steps), **how}
    return schedules.add(chain.container, user=chain.alice, actor=chain.alice.as_actor(), given=given)


STOP, START = {"kind": "power", "action": "stop"}, {"kind": "power", "action": "start"}


async def check_a_line_of_its_log_runs_steps_in_order(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it wrote before is no trigger, nor is an entry by hand. One line begins one run; each step waits for what the one before began."""
    monkeypatch.setattr(scheduleruns, "LOOK_SECONDS", 0.2)
    await in_thread(lambda: logs.write_stdin(chain.container, text="disk full, long ago", actor=SYSTEM))
    await chain.wrote("got disk full, long ago")
    steps = ({"kind": "command", "command": "save-all"}, STOP, {"kind": "backup", "name": "of the night"}, {"kind": "wait", "seconds": 1}, START)
    one = await in_thread(lambda: plan(chain, "when full", *steps, trigger="log", when={"pattern": "regex:^got disk \\w+"}))
    assert [(await in_thread(scheduletime.look))["begun"] for _ in range(2)] == [0, 0]
    await in_thread(lambda: logs.append(chain.container, text="got disk full", level="info", actor=SYSTEM))
    await in_thread(lambda: logs.write_stdin(chain.container, text="disk full", actor=SYSTEM))
    await chain.wrote("got disk full")
    assert [(await in_thread(scheduletime.look))["begun"] for _ in range(2)] == [1, 0]
    run = await play_the_worker(chain, await in_thread(one.runs.get))
    assert (run.state, run.cause) == ("succeeded", "It wrote: got disk full"), (run.problem, run.steps)
    assert [step["state"] for step in run.steps] == ["succeeded"] * 5
    assert all(before["finished_at"] <= after["started_at"] for before, after in itertools.pairwise(run.steps))
    made = await in_thread(lambda: Backup.objects.get(name="of the night"))
    assert made.state == "good" and made.was_stopped and made.by_label == chain.alice.as_actor().label
    await chain.running()
    await chain.wrote("got save-all")
    await in_thread(one.delete)


async def check_a_step_that_fails_ends_the_run(chain: Chain) -> None:
    """Run by hand: a stopped container takes no command, so no backup is made."""
    count = await in_thread(Backup.objects.count)
    one = await in_thread(lambda: plan(chain, "by hand", STOP, {"kind": "command", "command": "save-all"}, {"kind": "backup"}))
    run = await in_thread(lambda: scheduleruns.run_now(one, user=chain.alice, actor=chain.alice.as_actor()))
    ended = await play_the_worker(chain, run)
    assert [step["state"] for step in ended.steps] == ["succeeded", "failed", "skipped"] and ended.state == "failed"
    assert "Step 2" in ended.problem and await in_thread(Backup.objects.count) == count
    container = await chain.now()
    await in_thread(lambda: power.act(container, "start", user=chain.alice, actor=chain.alice.as_actor()))
    await chain.running()


def files_of(kept: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in kept.rglob("*") if path.is_file()}


async def check_a_limit_holds_while_the_archive_comes(chain: Chain, kept: Path) -> None:
    """B10: bytes are counted as they come, and nothing of too much stays."""
    before = files_of(kept)
    await in_thread(lambda: backups.set_policy(chain.container, actor=SYSTEM, limits=(None, 1_000_000)))
    made, operation = await in_thread(backups.create_backup, await chain.now(), user=chain.alice, actor=chain.alice.as_actor())
    ended = await chain.work(operation)
    assert (ended.status, ended.error_code) == ("failed", "backup_limit"), ended.error_detail
    assert files_of(kept) == before
    await in_thread(lambda: backups.set_policy(chain.container, actor=SYSTEM, limits=(None, None)))
    assert await in_thread(lambda: backups.latest_good_backup(chain.container)) != made


async def check_cancelled_in_the_middle_nothing_is_left(chain: Chain, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a backup: no archive. Of a restore: the old files, all of them, and it runs again."""
    seen = threading.Event()
    beat, write, read = backupwork.Pulse.beat, folder.FolderDraft.write, folder.FolderStore.read
    good, before = await chain.backup(name="whole"), await chain.get("world/level.dat")
    await chain.put("since", b"kept")
    files = files_of(kept)

    def beats(self: Any) -> None:
        beat(self)
        if not self.is_wanted:
            seen.set()

    def cancel() -> None:
        work = BackupWork.objects.select_related("operation").get(is_open=True)
        operations.cancel(work.operation, actor=SYSTEM)
        assert seen.wait(60)

    def writes(self: Any, data: bytes) -> None:
        write(self, data)
        cancel()

    def reads(self: Any, key: str, **part: Any) -> Iterator[bytes]:
        pieces = read(self, key, **part)
        yield next(pieces)
        cancel()
        yield from pieces

    with monkeypatch.context() as patched:
        patched.setattr(backupwork.Pulse, "beat", beats)
        patched.setattr(folder.FolderDraft, "write", writes)
        made, operation = await in_thread(backups.create_backup, await chain.now(), user=chain.alice, actor=chain.alice.as_actor())
        ended = await chain.work(operation)
        assert (ended.status, ended.error_code) == ("cancelled", "cancelled")
        failed = await in_thread(lambda: Backup.objects.get(pk=made.pk))
        assert (failed.state, failed.error_code, failed.key) == ("failed", "cancelled", "") and files_of(kept) == files
        await chain.running()

        seen.clear()
        patched.setattr(folder.FolderDraft, "write", write)
        patched.setattr(folder.FolderStore, "read", reads)
        ended = await chain.work(await chain.begin(backups.restore_into, await chain.now(), good))
        assert (ended.status, ended.error_code) == ("cancelled", "cancelled")
    await chain.running()
    assert await chain.get("world/level.dat") == before and await chain.get("since") == (200, b"kept")
    assert not [path for path in chain.stack.agent.data.rglob("restores/*") if path.exists()], "nor is anything left on the node"


async def check_a_drill_that_fails_says_why(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drills, "READY_WITHIN_SECONDS", 4.0)
    made = await chain.backup(ignore=["world/"])
    ended = await chain.work(await chain.begin(backups.prove, made))
    assert (ended.status, ended.error_code) == ("failed", "not_proven")
    failed = await in_thread(lambda: Backup.objects.get(pk=made.pk))
    assert failed.proof == "failed" and "not ready within" in failed.proof_detail and failed.state == "good"
    await nothing_is_left_of_drills(chain)


async def check_a_node_that_dies_in_the_middle_leaves_nothing(chain: Chain, kept: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its agent is killed while the archive comes: failed with its cause, nothing half written at the destination, and the next one works."""
    for number in range(4):
        await chain.put(f"world/part-{number}", os.urandom(3_000_000))
    files = {path for path in kept.rglob("*") if path.is_file()}
    real = folder.FolderDraft.write

    def write(self: Any, data: bytes) -> None:
        real(self, data)
        chain.stack.agent.kill()

    with monkeypatch.context() as patched:
        patched.setattr(folder.FolderDraft, "write", write)
        made, operation = await in_thread(backups.create_backup, await chain.now(), user=chain.alice, actor=chain.alice.as_actor())
        ended = await chain.work(operation)
    assert (ended.status, ended.error_code) == ("failed", "connection_lost"), ended.error_detail
    failed = await in_thread(lambda: Backup.objects.get(pk=made.pk))
    assert (failed.state, failed.error_code, failed.key) == ("failed", "connection_lost", "")
    assert {path for path in kept.rglob("*") if path.is_file()} == files
    chain.stack.agent.start()
    await chain.stack.active()
    assert (await chain.backup()).state == "good"
