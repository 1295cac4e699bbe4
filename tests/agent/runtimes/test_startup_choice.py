"""Who evaluates the startup line: told by what an image says of itself, or by the egg."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from agent.protocol.messages import ContainerSpec
from agent.runtimes.docker.startup import choose, evaluates
from tests import yolk

SHELL = ["/bin/sh", "-c", "exec java -jar x.jar"]


@pytest.mark.parametrize(
    ("config", "own"),
    [
        ({"WorkingDir": "/home/container", "Cmd": ["/bin/bash", "/entrypoint.sh"]}, True),
        ({"WorkingDir": "/home/container/", "Entrypoint": ["/usr/bin/tini", "-g", "--"], "Cmd": ["/entrypoint.sh"]}, True),
        ({"Env": ["HOME=/home/container"], "Entrypoint": ["/bin/ash", "/start.sh"]}, True),
        ({"WorkingDir": "/home/container", "Cmd": ["bash"]}, False),
        ({"WorkingDir": "/data", "Entrypoint": ["docker-entrypoint.sh"], "Cmd": ["postgres"]}, False),
        ({"Env": None, "Entrypoint": None, "Cmd": None}, False),
        ({}, False),
    ],
)
def test_an_image_made_for_eggs_is_known_by_its_home_and_its_script(config: dict[str, Any], own: bool) -> None:
    assert evaluates(config) is own


@pytest.mark.parametrize(("when", "own"), [("auto", True), ("always", False), ("never", True)])
def test_the_egg_can_overrule_what_the_image_looks_like(when: Any, own: bool) -> None:
    spec = ContainerSpec(container_id="c", name="c", image="i", shell=SHELL, shell_when=when)
    made = choose(spec, {"WorkingDir": "/home/container", "Cmd": ["/entrypoint.sh"]})
    assert (made.entrypoint, made.command, made.tty) == ((None, [], True) if own else (["/bin/sh"], SHELL[1:], False))


def test_without_a_startup_line_nothing_is_chosen() -> None:
    spec = ContainerSpec(container_id="c", name="c", image="i", command=["x"])
    assert choose(spec, {"WorkingDir": "/home/container", "Cmd": ["/entrypoint.sh"]}) == spec


@pytest.mark.docker
async def test_the_engine_is_asked_what_the_image_is(docker_bench: Any) -> None:
    """One and the same spec: an image made for eggs gets STARTUP raw, another one a shell."""
    yolk.images()
    line = "echo {{WHO}} $((1+1))"
    said = {}
    for image in (yolk.YOLK, "lormas-test/busybox:1"):
        spec = docker_bench.spec(image=image, command=[], env={"STARTUP": line, "WHO": "me"}, shell=["/bin/sh", "-c", "echo shell ${WHO} $((1+1))"])
        await docker_bench.runtime.create(spec, epoch=1, operation_id="o")
        await docker_bench.runtime.start(spec.container_id)
        await docker_bench.ended(spec.container_id)
        item = await docker_bench.runtime._finder.item(spec.container_id)
        logged = subprocess.run(["docker", "logs", item["Id"]], capture_output=True, timeout=30, check=True).stdout
        said[image] = logged.replace(b"\r\n", b"\n").splitlines()[-1]
    assert said == {yolk.YOLK: b"me 2", "lormas-test/busybox:1": b"shell me 2"}
