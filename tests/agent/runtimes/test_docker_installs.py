"""Installers on a real engine: what comes out of them, each byte once, also when it is read late or again."""

from __future__ import annotations

import asyncio
import subprocess
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.protocol.messages import Limits, Mount
from agent.protocol.parts import InstallScript
from agent.runtimes.docker.installs import Given

IMAGE = "lormas-test/busybox:1"


@given(
    text=st.lists(st.sampled_from([b"a", b"bc", b"\n", b"\r\n", b"\xff"]), max_size=30).map(b"".join),
    cuts=st.lists(st.integers(0, 60), max_size=6),
    stop=st.integers(0, 60),
)
def test_what_was_given_is_not_given_again(text: bytes, cuts: list[int], stop: int) -> None:
    seen, out = Given(), b""
    edges = [0, *sorted(cut for cut in cuts if cut < len(text)), len(text)]
    first = text[:stop]
    for piece in (first[: stop // 2], first[stop // 2 :]):
        out += seen.behind(piece)
    seen.again()
    for begin, end in pairwise(edges):
        out += seen.behind(text[begin:end])
    assert out == text


async def out_of(bench: Any, container_id: str) -> bytes:
    found = b""
    async with asyncio.timeout(60):
        async for data in bench.runtime.installs.output(container_id):
            found += data
    return found.replace(b"\r\n", b"\n")


async def over(bench: Any, container_id: str, poll: Any) -> int:
    async def look() -> Any:
        state = await bench.runtime.installs.state(container_id)
        return state if state is None or state.exit_code is not None else None

    state = await poll(look, seconds=60)
    return int(state.exit_code)


@pytest.mark.docker
async def test_an_installer_fills_the_data_and_its_output_can_be_read_at_any_time(docker_bench: Any, poll: Any) -> None:
    """A08, R04: line ends of other systems, the owner's environment, one installer a container, nothing left at the end.

    Scripts unpack what they fetched in /tmp: it is a folder of the installer, as large as the disk, and goes with it.
    """
    spec = docker_bench.spec(mounts=[Mount(kind="data", target="/data")], limits=Limits(memory_bytes=32 << 20, cpus=0.2))
    installs = docker_bench.runtime.installs
    script = "echo hello $WHO\r\necho $(pwd) > here\r\nid -u\r\nhead -c 120000000 /dev/zero > /tmp/large\r\nwc -c < /tmp/large\r\nexit 7\r\n"
    install = InstallScript(image=IMAGE, script=script, entrypoint="ash", env={"WHO": "you"})
    try:
        await installs.begin(spec, install, operation_id="one")
        assert await over(docker_bench, spec.container_id, poll) == 7
        late = await out_of(docker_bench, spec.container_id)  # attaching to what has ended never ends (M10)
        assert late == b"hello you\n0\n120000000\n"
        assert await out_of(docker_bench, spec.container_id) == late
        await installs.begin(spec, install, operation_id="one")
        assert await over(docker_bench, spec.container_id, poll) == 7, "the same operation again begins nothing"
        slow = InstallScript(image=IMAGE, script="cat here; for i in 1 2 3 4 5 6 7 8; do echo $i; sleep 0.1; done", entrypoint="ash")
        await installs.begin(spec, slow, operation_id="two")
        assert await installs.all() == {spec.container_id: "two"}
        assert await out_of(docker_bench, spec.container_id) == b"/mnt/server\n1\n2\n3\n4\n5\n6\n7\n8\n"
        assert await docker_bench.runtime.list_owned() == [], "an installer is no container"
    finally:
        await installs.end(spec.container_id)
    await installs.end(spec.container_id)
    assert await installs.all() == {}
    assert await installs.state(spec.container_id) is None
    assert await out_of(docker_bench, spec.container_id) == b""
    left = subprocess.run(["docker", "ps", "-aq", "--filter", f"label=lormas.installer={spec.container_id}"], capture_output=True, check=True)
    assert left.stdout == b""
