"""Between 'start it' and its start, on real runtimes: configuration files are rewritten, and nothing there keeps a container from starting."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.files import FileRefused
from agent.prepare import Preparation
from agent.protocol.messages import ContainerSpec, Mount
from agent.protocol.parts import ConfigEdit
from agent.runtimes.base import RuntimeFailure
from agent.runtimes.docker import DockerRuntime
from agent.runtimes.process import ProcessRuntime

IMAGE = "lormas-test/busybox:1"
TARGET = "/home/container"


class Said:
    """The log: what was told."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str]] = []

    async def append(self, container_id: str, text: str, *, stream: Any = "events") -> int:
        self.lines.append((stream, text))
        return 1


ENGINE = [pytest.param("folder", marks=pytest.mark.docker), pytest.param("remote", marks=pytest.mark.docker)]


@contextlib.asynccontextmanager
async def elsewhere(heard: bytearray) -> AsyncIterator[str]:
    """The engine's address on a network: its folders are out of reach, whatever this machine could see. What is sent there can be read."""

    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, listen: bool = False) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65_536):
                if listen:
                    heard.extend(data)
                writer.write(data)
                await writer.drain()
        writer.close()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        theirs, ours = await asyncio.open_unix_connection("/var/run/docker.sock")
        await asyncio.gather(carry(reader, ours, listen=True), carry(theirs, writer))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    yield f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


@pytest.fixture(params=[*ENGINE, "process"])
async def runtime(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Any]:
    """Docker with its volumes' folders in reach, Docker on another machine, and no engine."""
    heard = bytearray()
    async with elsewhere(heard) if request.param == "remote" else contextlib.nullcontext("") as host:
        made: Any = ProcessRuntime(root=tmp_path / "p") if request.param == "process" else DockerRuntime(host=host)
        await made.info()
        await made.open(instance=f"prepare-{uuid.uuid4().hex[:8]}")
        made.made = []
        made.heard = heard
        yield made
        for container_id in made.made:
            await made.remove(container_id)
        await made.close()


async def container(runtime: Any, *edits: ConfigEdit) -> ContainerSpec:
    spec = ContainerSpec(
        container_id=str(uuid.uuid4()), name="x", image=IMAGE, command=["sh", "-c", "cat own.txt; sleep 600"], working_dir=TARGET,
        mounts=[Mount(kind="data", target=TARGET)], config_files=list(edits), confined=True,
    )  # fmt: skip
    runtime.made.append(spec.container_id)
    await runtime.create(spec, epoch=1, operation_id="o")
    return spec


async def test_files_are_rewritten_before_each_start_and_what_can_not_be_is_told(runtime: Any) -> None:
    """B03, C09: a link out of its folder is not followed, a file that is no JSON stays as it is, the others are written, it starts."""
    said = Said()
    spec = await container(
        runtime,
        ConfigEdit(path="conf/server.properties", parser="properties", finds=[("server-port", "25565"), ("motd", "new")]),
        ConfigEdit(path="broken.json", parser="json", finds=[("a", "1")]),
        ConfigEdit(path="optional.toml", parser="toml", finds=[("a", "1")], create=False),
        ConfigEdit(path="passwd", parser="file", finds=[("root", "evil")]),
        ConfigEdit(path="proxy.yml", parser="yaml", finds=[("listen.host", "{{config.docker.interface}}"), ("listen.port", "7")]),
        ConfigEdit(path="own.txt", parser="properties", finds=[("made", True)]),
    )
    data, me = runtime.data, spec.container_id
    await data.write(me, "broken.json", b"{ // not JSON\n")
    await data.write(me, "conf/server.properties", b"# kept\nmotd=old\n")
    prepared = Preparation(runtime, said)  # type: ignore[arg-type]
    await prepared.before_start(spec)
    await runtime.start(me)
    if runtime.kind == "docker":
        session = await runtime.exec(me, ["ln", "-sf", "/etc/passwd", f"{TARGET}/passwd"])
        assert [item.data async for item in session] == []
    else:
        link = Path(runtime._folders.data_of(me)) / "passwd"
        link.unlink()
        link.symlink_to("/etc/passwd")
    said.lines.clear()
    await prepared.before_start(spec, [ConfigEdit(path="conf/server.properties", parser="properties", finds=[("motd", "for this start")])])

    async def text(path: str) -> str:
        content = await data.read(me, path, max_bytes=10_000)
        return content.data.decode() if content is not None else "(nothing)"

    assert await text("conf/server.properties") == "# kept\nmotd=new\nserver-port=25565\n"
    assert await text("broken.json") == "{ // not JSON\n"
    assert await text("optional.toml") == "(nothing)"
    assert await text("own.txt") == "made=true\n"
    assert await text("proxy.yml") == f"listen:\n  host: {await data.gateway()}\n  port: 7\n"
    assert sorted(line for _, line in said.lines)[0].startswith("Configuration file broken.json was left as it is: it is not JSON")
    assert sorted(line for _, line in said.lines)[1].startswith("Configuration file passwd was left as it is:")
    assert [stream for stream, _ in said.lines] == ["events", "events"]
    assert (await runtime.inspect(me)).state == "running"
    with pytest.raises(FileRefused):
        await data.read(me, "passwd", max_bytes=100)


@pytest.mark.parametrize("runtime", ENGINE, indirect=True)
async def test_what_is_new_belongs_to_whom_it_runs_as_and_what_is_there_keeps_its_owner(runtime: Any) -> None:
    """EGGS 8: the user `container` can write all of its data, also what an install script left to root. Without an engine there are no users."""
    said = Said()
    spec = await container(runtime, ConfigEdit(path="a/new.ini", parser="ini", finds=[("s.k", "v")]))
    prepared = Preparation(runtime, said)  # type: ignore[arg-type]
    await runtime.data.write(spec.container_id, "left/by-root.sh", b"#!/bin/sh\n")
    await prepared.own(spec, always=True)
    await prepared.before_start(spec)
    await runtime.start(spec.container_id)
    session = await runtime.exec(
        spec.container_id, ["sh", "-c", f"id -u; echo x >> left/by-root.sh && find {TARGET} ! -user 988; stat -c %a a/new.ini"]
    )
    out = b""
    async for item in session:
        out += item.data
    assert out == b"988\n644\n"
    assert said.lines == []


@pytest.mark.parametrize("runtime", ENGINE[1:], indirect=True)
async def test_a_helper_on_an_engine_elsewhere_works_only_where_it_must_and_is_never_left_behind(runtime: Any) -> None:
    """B11, R04: archives go plain; what an agent that died left there goes with the next try, and with the container (it would hold the volume)."""

    def docker(*words: str) -> str:
        return subprocess.run(["docker", *words], capture_output=True, text=True, timeout=60, check=True).stdout.strip()

    spec = await container(runtime)
    me, data = spec.container_id, runtime.data
    helper, volume = f"lormas-{me}-owner", f"lormas-{me}"

    async def leave() -> None:
        await asyncio.to_thread(docker, "create", "--name", helper, "-v", f"{volume}:/mnt/data", IMAGE, "true")

    async def helpers() -> str:
        return await asyncio.to_thread(docker, "ps", "-aq", "--filter", f"name={helper}")

    await leave()
    await data.own(me, image=IMAGE)
    assert await helpers() == ""
    await data.write(me, "plain.txt", b"as it is, " * 100)
    assert await data.read(me, "plain.txt", max_bytes=10_000) is not None
    sent = bytes(runtime.heard)
    assert b"as it is, " * 100 in sent, "no archive is packed"
    assert b"accept-encoding: identity" in sent.lower()
    assert b"accept-encoding: gzip" not in sent.lower()
    await data.own(me, image="lormas-test/there-is-none:1")
    with pytest.raises(RuntimeFailure) as failure:
        await data.own(me, image="lormas-test/there-is-none:1", always=True)
    assert failure.value.code == "no_such_image"
    await leave()
    await runtime.remove(me)
    assert await helpers() == await asyncio.to_thread(docker, "volume", "ls", "-q", "--filter", f"name={volume}") == ""
