"""Real eggs of others, unchanged, through their whole life on the real engine: installed, configured, started, ready, stopped by their own command.

The eggs are samples as they were exported; their images can't be had here, so the names they use are given to images built in the test. What of
those is real and what stands in (java, curl, jq): tests/yolk.py. The scripts, startup lines, configuration files and ready lines are the eggs' own.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agent.protocol.commands import LogsQuery
from containers import logs
from containers.models import Container
from containers.services import NewContainer, act, create_container, delete_container, prompts, reinstall
from containers.spec import Asked
from eggs.models import Egg
from eggs.services import import_egg
from nodes.models import Operation
from tests import yolk
from tests.e2e.conftest import Stack, engine_containers, in_thread, served, until

SAMPLES = Path(__file__).parents[3] / "shared" / "eggs" / "samples"
pytestmark = [
    pytest.mark.docker, pytest.mark.redis, pytest.mark.samples, pytest.mark.slow, pytest.mark.django_db(transaction=True), pytest.mark.timeout(240),
]  # fmt: skip


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], capture_output=True, text=True, timeout=60, check=True).stdout.strip()


@pytest.fixture
def named() -> Iterator[Any]:
    """`named(egg)`: the images that an egg names are there, until the test is over."""
    yolk.images()
    made: list[str] = []

    def give(egg: Egg) -> None:
        assert egg.current is not None
        definition = egg.current.definition
        for image, name in ((yolk.YOLK, definition["docker_images"][0][1]), (yolk.INSTALLER, definition["install"]["container"])):
            yolk.tag(image, name)
            made.append(name)

    yield give
    for name in made:
        yolk.untag(name)


async def imported(sample: str) -> Egg:
    result = await in_thread(import_egg, (SAMPLES / sample).read_bytes(), filename=sample)
    egg: Egg = result.eggs[0]
    found: Egg = await in_thread(lambda: Egg.objects.select_related("current").get(pk=egg.pk))
    return found


async def ends(operation: Operation, seconds: float = 90) -> Operation:
    def over() -> Operation | None:
        fresh = Operation.objects.get(pk=operation.pk)
        return None if fresh.is_open else fresh

    found: Operation = await until(over, seconds=seconds, what=f"end of {operation.kind}")
    return found


async def fresh(container: Container) -> Container:
    found: Container = await in_thread(lambda: Container.objects.select_related("node", "operation", "egg_version").get(pk=container.pk))
    return found


async def becomes(container: Container, status: str, seconds: float = 60) -> Container:
    await until(lambda: Container.objects.filter(pk=container.pk, status=status).exists(), seconds=seconds, what=f"{container.name} {status}")
    return await fresh(container)


async def lines(container: Container, stream: str) -> list[str]:
    page = await in_thread(logs.read, container, LogsQuery(streams=[stream], tail=500))  # type: ignore[list-item]
    return [text for _, _, _, text in page["lines"]]


async def answers(container: Container) -> bytes:
    return await served(await in_thread(lambda: container.ports.get(is_primary=True).host_port))


async def inspected(container: Container) -> dict[str, Any]:
    [ref] = await asyncio.to_thread(engine_containers, str(container.pk))
    found: dict[str, Any] = json.loads(await asyncio.to_thread(docker, "inspect", ref))[0]
    return found


def installers(container: Container) -> str:
    return docker("ps", "-aq", "--filter", f"label=lormas.installer={container.pk}")


async def test_velocity_of_2021_is_installed_configured_ready_reinstalled_and_ended_by_its_word(stack: Stack, alice: Any, named: Any) -> None:
    """A08, A09, R55: an egg of the oldest format. Its stop command ends it long before the grace is over; nothing is left of installers."""
    egg = await imported("ptdl_v1-egg-velocity.json")
    await in_thread(named, egg)
    new = NewContainer(name="proxy", egg=egg, asked=Asked(cpus=0.5, memory_bytes=64 * 1024**2))
    container, operation = await in_thread(create_container, user=alice, actor=alice.as_actor(), data=new)
    assert (await fresh(container)).status == "installing"
    done = await ends(operation)
    assert done.status == "succeeded", (done.error_code, done.error_detail)
    container = await becomes(container, "running")
    assert (container.install_state, container.readiness) == ("done", "ready")

    said = await lines(container, "startup")
    assert said[-1] == "install complete"
    assert any(line.startswith("Running curl -o velocity.jar") for line in said)
    console = "\n".join(await lines(container, "application"))
    port = await in_thread(lambda: container.ports.get(is_primary=True).container_port)
    assert f"user 988 group 988 memory 64M port {port}" in console
    assert "can be written" not in console
    assert await answers(container) == b"serving\n"

    seen = await inspected(container)
    assert "{{SERVER_JARFILE}}" in next(entry for entry in seen["Config"]["Env"] if entry.startswith("STARTUP="))
    assert (seen["Config"]["Entrypoint"], seen["Config"]["Cmd"]) == (["/bin/sh", "/entrypoint.sh"], None)
    host = seen["HostConfig"]
    assert (seen["Config"]["User"], host["ReadonlyRootfs"], host["CapDrop"], host["PidsLimit"]) == ("988:988", True, ["ALL"], 512)
    owners = await asyncio.to_thread(docker, "exec", seen["Id"], "find", "/home/container", "!", "-user", "988")
    assert owners == "", "all of its data is its own"
    toml = await asyncio.to_thread(docker, "exec", seen["Id"], "cat", "/home/container/velocity.toml")
    assert toml == f'# of the proxy\nconfig-version = "2.5"\nbind = "0.0.0.0:{port}"\nmotd = "kept"'

    await asyncio.to_thread(docker, "exec", seen["Id"], "sh", "-c", "echo mine > /home/container/plugin.txt")
    done = await ends(await in_thread(reinstall, container, user=alice, actor=alice.as_actor()))
    assert done.status == "succeeded", done.error_detail
    container = await becomes(container, "running")
    seen = await inspected(container)
    assert "velocity.jar.old" in await asyncio.to_thread(docker, "exec", seen["Id"], "ls", "/home/container")
    assert await asyncio.to_thread(docker, "exec", seen["Id"], "cat", "/home/container/plugin.txt") == "mine"
    assert "velocity config file exists" in await lines(container, "startup")
    assert await asyncio.to_thread(installers, container) == ""

    done = await ends(await in_thread(act, container, "stop", user=alice, actor=alice.as_actor()), 60)
    assert done.status == "succeeded", done.error_detail
    container = await becomes(container, "stopped")
    assert container.exit_code == 0
    assert (await lines(container, "application"))[-1].strip() == "Closing"
    done = await ends(await in_thread(delete_container, container, user=alice, actor=alice.as_actor(), force=True))
    assert done.status == "succeeded"
    assert f"lormas-{container.pk}" not in await asyncio.to_thread(docker, "volume", "ls", "-q")


async def test_vanilla_asks_for_the_eula_and_the_answer_is_all_it_needs(stack: Stack, alice: Any, named: Any) -> None:
    """An egg of the newest format. Its console asks, accepting writes the file and starts it; a typed `stop` is no crash."""
    egg = await imported("plcn_v3-egg-vanilla-minecraft.yaml")
    await in_thread(named, egg)
    container, operation = await in_thread(create_container, user=alice, actor=alice.as_actor(), data=NewContainer(name="craft", egg=egg))
    done = await ends(operation)
    assert done.status == "succeeded", (done.error_code, done.error_detail)
    await until(lambda: "eula" in Container.objects.get(pk=container.pk).prompts, seconds=60, what="the prompt")
    container = await becomes(container, "stopped")
    assert container.exit_code == 0

    done = await ends(await in_thread(prompts.answer, container, "eula", user=alice, actor=alice.as_actor()))
    assert done.status == "succeeded", done.error_detail
    container = await becomes(container, "running")
    assert container.prompts == []
    assert container.readiness == "ready"
    seen = await inspected(container)
    assert await asyncio.to_thread(docker, "exec", seen["Id"], "cat", "/home/container/eula.txt") == "eula=true"
    port = await in_thread(lambda: container.ports.get(is_primary=True).container_port)
    properties = await asyncio.to_thread(docker, "exec", seen["Id"], "cat", "/home/container/server.properties")
    assert sorted(properties.split()) == [f"query.port={port}", "server-ip=", f"server-port={port}"]
    assert await answers(container) == b"serving\n"

    await in_thread(logs.write_stdin, container, text="help me", actor=alice.as_actor())
    assert (await fresh(container)).status == "running"
    await in_thread(logs.write_stdin, container, text="stop", actor=alice.as_actor())
    container = await becomes(container, "stopped")
    assert (container.desired, container.exit_code, container.restart_at) == ("stopped", 0, None)
