"""Backups of real containers through the whole chain: to a folder and to an S3 server, back again, proven, and what faults leave behind."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from accounts.services import sign_in
from audit.services import SYSTEM
from containers.models import Backup, BackupWork, Container
from containers.services import NewContainer, backups, backupwork, create_container, drills
from containers.services import destinations as places
from containers.spec import Asked
from containers.stores import folder, store_of
from nodes.models import Operation
from tests.e2e.conftest import Stack, in_thread, running_stack, until
from tests.e2e.test_inside import EGG, Person

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.django_db(transaction=True), pytest.mark.timeout(600)]

READY: dict[str, Any] = {
    **EGG,
    "name": "Ready",
    "startup": "while :; do ls world/level.dat && echo all set; sleep 1; done",
    "config": {"files": "{}", "startup": '{"done": "all set"}', "logs": "{}", "stop": "^C"},
}
"""Says that it is ready once its world is there."""


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
