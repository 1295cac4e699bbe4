"""Taking over a container that somebody made by hand on the engine: its volumes by reference, the old one kept; all of it or nothing."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agent.foreign import adopt
from agent.protocol.foreign import AdoptPayload, Foreign
from agent.protocol.messages import ContainerReport, ContainerSpec, Mount, StopSpec
from agent.runtimes.base import RuntimeFailure
from agent.runtimes.docker import DockerRuntime
from agent.runtimes.fake import FakeRuntime
from agent.runtimes.policy import LocalPolicy, check
from tests.agent.runtimes.conftest import IMAGE, Bench
from tests.agent.tiny import TinyLogs


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], check=True, capture_output=True, text=True, timeout=60).stdout.strip()


async def first_line(ref: str) -> str:
    """What it says first, waited for: what its command did before that is done."""
    following = await asyncio.create_subprocess_exec("docker", "logs", "--follow", ref, stdout=asyncio.subprocess.PIPE)
    assert following.stdout is not None
    try:
        return (await asyncio.wait_for(following.stdout.readline(), 30)).decode().strip()
    finally:
        following.kill()
        await following.wait()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    policy = LocalPolicy(adopt=True)
    made = Bench("docker", DockerRuntime(policy=policy), lambda: DockerRuntime(policy=policy))
    await made.runtime.info()
    await made.runtime.open(instance=made.instance)
    try:
        yield made
    finally:
        await made.close()


@pytest.fixture
def by_hand() -> Any:
    """`by_hand(words...)` -> (name, engine id) of a container nobody here made; it and its volumes go afterwards."""
    word = f"lt-{uuid.uuid4().hex[:10]}"

    def make(*options: str, command: tuple[str, ...] = ("sleep", "3600"), run: bool = True) -> tuple[str, str]:
        return word, docker(*(("run", "-d") if run else ("create",)), "--name", word, *options, IMAGE, *command)

    make.word = word  # type: ignore[attr-defined]
    yield make
    left = docker("ps", "-aq", "--filter", f"name={word}").split()
    if left:
        docker("rm", "-fv", *left)
    for volume in docker("volume", "ls", "-q", "--filter", f"name={word}").split():
        docker("volume", "rm", "-f", volume)


def spec_of(bench: Bench, found: Foreign, **more: Any) -> ContainerSpec:
    made = bench.spec("forever", image=found.image, command=found.command, env=found.env, labels=found.labels, ports=found.ports, mounts=found.mounts)
    return msgspec.structs.replace(made, **more)


async def take(bench: Bench, found: Foreign, spec: ContainerSpec, *, there: ContainerReport | None = None) -> dict[str, Any]:
    payload = AdoptPayload(ref=found.ref, spec=spec, start=found.running, stop=StopSpec(grace_seconds=0), restart=found.restart)

    async def plainly(verb: Any) -> Any:
        return await verb

    return await adopt(
        payload,
        there,
        runtime=bench.runtime,
        logs=TinyLogs(),
        make=lambda: bench.runtime.create(spec, epoch=1, operation_id="op-1"),
        launch=lambda: bench.runtime.start(spec.container_id),
        hold=plainly,
    )


def inspect(ref: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(docker("inspect", ref))[0]
    return found


@pytest.mark.docker
async def test_its_volumes_come_along_and_the_old_one_is_kept(bench: Bench, by_hand: Any) -> None:
    desk = bench.runtime.foreign  # type: ignore[attr-defined]
    port = random.randrange(26_000, 32_700)
    word, ref = by_hand(
        "-v", f"{by_hand.word}-data:/data", "-v", "/anonymous", "-e", "COLOUR=blue", "-p", f"{port}:8080", "--label", "team=a",
        "--restart", "unless-stopped",
        command=("sh", "-c", "echo kept > /data/file; echo too > /anonymous/file; echo layer > /outside; echo written; exec sleep 3600"),
    )  # fmt: skip
    assert await first_line(ref) == "written"
    listed = {one.ref: one for one in await desk.listing()}
    assert (listed[ref].name, listed[ref].state, listed[ref].ports[0].host_port) == (word, "running", port)
    found = await desk.look(ref)
    assert (found.env, found.labels, found.restart["Name"], found.running) == ({"COLOUR": "blue"}, {"team": "a"}, "unless-stopped", True)
    assert sorted((mount.kind, mount.target) for mount in found.mounts) == [("volume", "/anonymous"), ("volume", "/data")]
    assert ({code for code, _ in found.lost}, found.blocking) == ({"layer", "memory"}, [])
    spec = spec_of(bench, found)
    await take(bench, found, spec)
    ours = inspect(next(line for line in docker("ps", "-q", "--no-trunc", "--filter", f"label=lormas.container={spec.container_id}").split()))
    assert ours["HostConfig"]["PortBindings"]["8080/tcp"][0]["HostPort"] == str(port)
    assert docker("exec", ours["Id"], "cat", "/data/file", "/anonymous/file") == "kept\ntoo"
    assert "COLOUR=blue" in ours["Config"]["Env"]
    old = inspect(ref)
    assert (old["State"]["Running"], old["HostConfig"]["RestartPolicy"]["Name"]) == (False, "no")
    assert old["Name"].startswith(f"/{word}-before-lormas-")
    assert [code for code, _ in (await desk.look(ref)).blocking] == ["taken_over"]

    # The agent died between its steps: a second try goes on where the first one was.
    report = await bench.runtime.inspect(spec.container_id)
    assert (await take(bench, found, spec, there=report))["runtime_ref"] == ours["Id"]
    # A rival that had looked before: refused, and nothing of the winner is touched.
    rival = spec_of(bench, found)
    with pytest.raises(RuntimeFailure) as refused:
        await take(bench, found, rival)
    assert refused.value.code == "in_use"
    assert inspect(ours["Id"])["State"]["Running"] and not inspect(ref)["State"]["Running"]

    # Removed for good, its volumes are left where they were: they were never ours.
    await bench.runtime.remove(spec.container_id)
    assert docker("run", "--rm", "--volumes-from", ref, IMAGE, "cat", "/data/file", "/anonymous/file") == "kept\ntoo"


@pytest.mark.docker
async def test_what_can_t_be_started_is_put_back_as_it_was(bench: Bench, by_hand: Any) -> None:
    desk = bench.runtime.foreign  # type: ignore[attr-defined]
    word, ref = by_hand("--restart", "always", "-v", f"{by_hand.word}-data:/data")
    found = await desk.look(ref)
    for wrong, code in (({"command": ["/no/such"]}, "start_failed"), ({"image": "lormas-test/nowhere:1"}, "no_such_image")):
        spec = spec_of(bench, found, **wrong)
        with pytest.raises(RuntimeFailure) as refused:
            await take(bench, found, spec)
        assert refused.value.code == code
        assert await bench.state(spec.container_id) == "removed"
        old = inspect(ref)
        assert (old["Name"], old["State"]["Running"], old["HostConfig"]["RestartPolicy"]["Name"]) == (f"/{word}", True, "always")


@pytest.mark.docker
async def test_what_would_be_lost_or_is_the_machines_own_is_told(bench: Bench, by_hand: Any) -> None:
    """SECURITY A05-A07, A11: nothing comes in by a takeover that could not have been made; ours and other panels' are not on the list."""
    desk = bench.runtime.foreign  # type: ignore[attr-defined]
    _, ref = by_hand("--rm", "--privileged", "--pid", "host", "-v", "/tmp:/host", "--cap-add", "NET_ADMIN", "--add-host", "a:127.0.0.1", run=False)
    found = await desk.look(ref)
    assert {code for code, _ in found.blocking} == {"auto_remove", "privileged", "namespace", "bind_mount", "capabilities"}
    assert {code for code, _ in found.lost} == {"hosts", "memory"}
    mine = await bench.started("forever")
    report = await bench.runtime.inspect(mine)
    assert report is not None
    assert report.runtime_ref not in {one.ref for one in await desk.listing()}
    for wrong in (report.runtime_ref, "0" * 64, "../version"):
        with pytest.raises(RuntimeFailure):
            await desk.look(wrong)


def test_a_machine_whose_owner_has_not_opened_it(tmp_path: Path) -> None:
    """SECURITY A02, A13: closed unless policy.json opens it, and never a volume of another container of ours."""
    from agent.foreign import foreign_of

    volume = Mount(kind="volume", source="somebodys", target="/data")
    spec = ContainerSpec(container_id="11111111-2222-4333-8444-555555555555", name="x", image=IMAGE, mounts=[volume])
    with pytest.raises(RuntimeFailure, match="forbids volumes"):
        check(spec, LocalPolicy())
    check(spec, LocalPolicy(adopt=True))
    for source in ("lormas-11111111-2222-4333-8444-666666666666", "/etc", "../x", ""):
        with pytest.raises(RuntimeFailure):
            check(msgspec.structs.replace(spec, mounts=[msgspec.structs.replace(volume, source=source)]), LocalPolicy(adopt=True))
    assert "policy.json" in DockerRuntime().foreign.why_not
    with pytest.raises(RuntimeFailure, match="no containers but ours"):
        foreign_of(FakeRuntime())
