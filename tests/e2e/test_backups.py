"""Backups of real containers through the whole chain: to a folder and to an S3 server, back again, proven, and what faults leave behind."""

from __future__ import annotations

import asyncio
import contextlib
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
from containers.services import NewContainer, backups, backupwork, create_container
from containers.services import destinations as places
from containers.spec import Asked
from nodes.models import Operation
from tests.e2e.conftest import Stack, in_thread, running_stack, until
from tests.e2e.stack import IMAGE
from tests.e2e.test_inside import EGG, Person

pytestmark = [pytest.mark.redis, pytest.mark.slow, pytest.mark.django_db(transaction=True), pytest.mark.timeout(240)]

READY = {
    **EGG,
    "name": "Ready",
    "startup": "while :; do ls world/level.dat && echo all set; sleep 1; done",
    "config": {**EGG["config"], "startup": '{"done": "all set"}'},
}  # type: ignore[dict-item]


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3 server on loopback, with the bucket `backups`."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    boto3.client("s3", endpoint_url=address, region_name="us-east-1", aws_access_key_id="k", aws_secret_access_key="s").create_bucket(
        Bucket="backups"
    )
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
        try:
            await until(lambda: Container.objects.filter(pk=self.container.pk, status="running").exists(), seconds=25, what="running")
        except AssertionError:
            print(
                await in_thread(
                    lambda: Container.objects.values(
                        "status", "status_reason", "observed", "readiness", "operation__kind", "operation__status", "desired"
                    ).get(pk=self.container.pk)
                )
            )
            print(
                await self.person.ask("POST", f"{self.at}/exec", json={"command": "pwd; ls -la . world; env"}),
                await self.person.ask("GET", f"{self.at}/logs?tail=20"),
            )
            from audit.models import Entry

            print(await in_thread(lambda: list(Entry.objects.values_list("action", "outcome", "message"))))
            print(await in_thread(lambda: list(BackupWork.objects.values("options", "is_open"))))
            raise


@pytest.mark.parametrize("runtime", ["process", pytest.param("docker", marks=pytest.mark.docker)])
async def test_backups(runtime: str, transactional_db: None, tmp_path: Path, alice: Any, bob: Any, s3: str) -> None:
    from eggs.services import import_egg

    async with running_stack(tmp_path, runtime=runtime) as stack:
        token = (await in_thread(sign_in, alice, address=None, user_agent="test")).access
        egg = (await in_thread(lambda: import_egg(json.dumps(READY).encode(), filename="egg.json"))).eggs[0]
        new = NewContainer(name="web", egg=egg, asked=Asked(disk_bytes=400 * 1024**2), restart_policy="no")
        container, _ = await in_thread(create_container, user=alice, actor=alice.as_actor(), data=new)
        await until(lambda: Container.objects.filter(pk=container.pk, observed="running").exists(), seconds=60, what="running")
        given = (
            {"folder": str(tmp_path / "kept")}
            if runtime == "process"
            else {"bucket": "backups", "endpoint": s3, "access_key": "k", "secret_key": "s"}
        )
        kind = "local" if runtime == "process" else "s3"
        await in_thread(lambda: places.add(name="kept", kind=kind, given=given, is_default=True, actor=SYSTEM))
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {token}"}) as session:
            chain = Chain(stack, Person(stack, token, session), container, alice)
            await check_there_and_back(chain)


async def check_there_and_back(chain: Chain) -> None:
    level = os.urandom(3_000_000)
    await chain.put("world/level.dat", level)
    await chain.put("secret.log", b"x")
    made = await chain.backup(name="first", ignore=["*.log"], stop_first=True)
    assert made.state == "good" and made.was_stopped and made.files >= 1 and made.size_bytes > 3_000_000
    await chain.running()
    await chain.put("world/level.dat", b"broken")
    await chain.put("since", b"x")
    operation = await in_thread(backups.restore_into, await chain.now(), made, user=chain.alice, actor=chain.alice.as_actor())
    ended = await chain.work(operation)
    assert ended.status == "succeeded", ended.error_detail
    await chain.running()
    assert await chain.get("world/level.dat") == (200, level) and (await chain.get("since"))[0] == 404
    proof = await chain.work(await in_thread(backups.prove, made, user=chain.alice, actor=chain.alice.as_actor()))
    assert proof.status == "succeeded", proof.error_detail
    print(proof.result)
