"""pull, from a little registry on the loopback."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import io
import json
import os
import tarfile
import uuid
from collections.abc import AsyncIterator

import pytest

from agent.protocol.messages import RegistryAuth
from agent.runtimes.base import PullProgress, RuntimeFailure
from agent.runtimes.docker import DockerRuntime
from agent.runtimes.docker.images import split_name
from agent.runtimes.policy import LocalPolicy

pytestmark = pytest.mark.docker


def digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def layer() -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        data = os.urandom(3_000_000)
        member = tarfile.TarInfo(f"data-{uuid.uuid4().hex}")
        member.size = len(data)
        archive.addfile(member, io.BytesIO(data))
    return file.getvalue()


class Registry:
    """Speaks as much of the distribution protocol as an engine asks."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}
        self.password = ""
        self.stall = False
        self.hits: list[str] = []
        plain = [layer(), layer()]
        packed = [gzip.compress(data, compresslevel=1) for data in plain]
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": {"Cmd": ["true"]},
                "rootfs": {"type": "layers", "diff_ids": [digest(data) for data in plain]},
            }
        ).encode()
        kind = "application/vnd.docker.distribution.manifest.v2+json"
        self.manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": kind,
                "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": len(config), "digest": digest(config)},
                "layers": [
                    {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": len(data), "digest": digest(data)} for data in packed
                ],
            }
        ).encode()
        self.blobs = {digest(data): data for data in (*packed, config)}
        self.bytes = sum(map(len, packed))
        self.kind = kind

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while first := await reader.readexactly(1):
                if first == b"\x16":
                    return  # the engine tries TLS first
                head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                method, path, _ = head.split(" ", 2)
                self.hits.append(path)
                status, kind, body = self._answer(path, head)
                extra = 'WWW-Authenticate: Basic realm="test"\r\n' if status == 401 else ""
                writer.write(
                    f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
                    f"Docker-Content-Digest: {digest(body)}\r\nDocker-Distribution-Api-Version: registry/2.0\r\n{extra}\r\n".encode()
                )
                if method != "HEAD":
                    if self.stall and "/blobs/" in path and len(body) > 100_000:
                        writer.write(body[:50_000])
                        await writer.drain()
                        await asyncio.sleep(60)
                    writer.write(body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _answer(self, path: str, head: str) -> tuple[int, str, bytes]:
        if self.password:
            wanted = base64.b64encode(f"robot:{self.password}".encode()).decode()
            if f"Basic {wanted}" not in head:
                return 401, "application/json", b'{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}'
        if path == "/v2/":
            return 200, "application/json", b"{}"
        if "/manifests/" in path and "/there/" in path:
            return 200, self.kind, self.manifest
        name = path.rpartition("/")[2]
        if "/blobs/" in path and name in self.blobs:
            return 200, "application/octet-stream", self.blobs[name]
        return 404, "application/json", b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}'


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    made = Registry()
    await made.start()
    yield made
    made.server.close()


@pytest.fixture
async def runtime(registry: Registry) -> AsyncIterator[DockerRuntime]:
    made = DockerRuntime()
    await made.open(instance="pull-test")
    yield made
    process = await asyncio.create_subprocess_exec(
        "docker", "rmi", "-f", f"127.0.0.1:{registry.port}/there/image:1", stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    await process.wait()
    await made.close()


async def test_progress_is_told_in_bytes_over_all_layers(runtime: DockerRuntime, registry: Registry) -> None:
    image = f"127.0.0.1:{registry.port}/there/image:1"
    seen: list[PullProgress] = []
    assert not await runtime.has_image(image)
    await runtime.pull(image, progress=seen.append)
    assert await runtime.has_image(image)
    assert (seen[-1].done_bytes, seen[-1].total_bytes) == (registry.bytes, registry.bytes)
    assert all(one.done_bytes <= one.total_bytes for one in seen)
    await runtime.pull(image)  # a no-op when it is there


async def test_a_private_registry_wants_the_right_password(runtime: DockerRuntime, registry: Registry) -> None:
    registry.password = "s3cret"
    image = f"127.0.0.1:{registry.port}/there/image:1"
    for auth in (None, RegistryAuth(server="127.0.0.1", username="robot", password="wrong-canary")):
        with pytest.raises(RuntimeFailure) as caught:
            await runtime.pull(image, auth=auth)
        assert caught.value.code in ("pull_failed", "no_such_image")
        assert "canary" not in caught.value.detail
    await runtime.pull(image, auth=RegistryAuth(server=f"127.0.0.1:{registry.port}", username="robot", password="s3cret"))
    assert await runtime.has_image(image)


async def test_an_image_that_is_not_there_is_told_apart_from_a_registry_that_is_not(runtime: DockerRuntime, registry: Registry) -> None:
    with pytest.raises(RuntimeFailure) as caught:
        await runtime.pull(f"127.0.0.1:{registry.port}/missing/image:1")
    assert caught.value.code == "no_such_image"
    with pytest.raises(RuntimeFailure) as caught:
        await runtime.pull("127.0.0.1:1/x/y:1")
    assert (caught.value.code, caught.value.retryable) == ("pull_failed", True)


async def test_a_registry_that_stalls_is_given_up(runtime: DockerRuntime, registry: Registry) -> None:
    registry.stall = True
    with pytest.raises(RuntimeFailure) as caught:
        await runtime.pull(f"127.0.0.1:{registry.port}/there/image:1", timeout_seconds=1.5)
    assert caught.value.code == "timeout"


async def test_a_pull_leaves_the_floor_of_free_disk_and_says_so(runtime: DockerRuntime, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """J07: refused before the registry is asked where the disk is too full, broken off where the layers would fill it; the engine keeps nothing."""
    image = f"127.0.0.1:{registry.port}/there/image:1"
    total, free = runtime.pulls.room()
    assert total > free > 0, "the engine's disk is seen"
    monkeypatch.setattr(runtime.pulls, "room", lambda: (100 << 30, 9 << 30))
    with pytest.raises(RuntimeFailure) as caught:
        await runtime.pull(image)
    assert caught.value.code == "disk_full" and not registry.hits
    assert "9216 MiB free of 102400 MiB, and 10 % stay free" in caught.value.detail
    monkeypatch.setattr(runtime.pulls, "room", lambda: (10 << 20, 3 << 20))  # 2 MiB above the floor; its layers are 6 MB
    with pytest.raises(RuntimeFailure) as caught:
        await runtime.pull(image)
    assert caught.value.code == "disk_full" and "brings" in caught.value.detail
    assert not await runtime.has_image(image)
    monkeypatch.undo()
    await runtime.pull(image)
    assert await runtime.has_image(image)


async def test_pulls_wait_in_line_and_can_be_given_up(registry: Registry) -> None:
    """J07: one place here: the second waits and asks its registry nothing; when the first is given up, it comes."""
    runtime = DockerRuntime(policy=LocalPolicy(pulls_at_once=1))
    await runtime.open(instance="pull-test")
    other = Registry()
    await other.start()
    image, told = f"127.0.0.1:{other.port}/there/image:1", []
    registry.stall = True
    try:
        first = asyncio.create_task(runtime.pull(f"127.0.0.1:{registry.port}/there/image:1"))
        async with asyncio.timeout(60):
            while not any("/blobs/" in path for path in registry.hits):
                await asyncio.sleep(0.02)
        second = asyncio.create_task(runtime.pull(image, progress=lambda one: told.append(one.message)))
        async with asyncio.timeout(60):
            while not told:
                await asyncio.sleep(0.02)
        assert told == ["Waits for other pulls of this node"] and not other.hits
        first.cancel()
        async with asyncio.timeout(60):
            await second
        assert await runtime.has_image(image)
        with pytest.raises(asyncio.CancelledError):
            await first
    finally:
        other.server.close()
        remove = await asyncio.create_subprocess_exec(
            "docker", "rmi", "-f", image, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        await remove.wait()
        await runtime.close()


def test_a_name_without_a_tag_is_latest_and_never_all_tags() -> None:
    assert split_name("busybox") == ("busybox", "latest")
    assert split_name("host:5000/a/b") == ("host:5000/a/b", "latest")
    assert split_name("host:5000/a/b:1.2") == ("host:5000/a/b", "1.2")
    assert split_name("a/b@sha256:abc") == ("a/b", "sha256:abc")
