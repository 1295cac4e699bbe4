"""Install scripts on the real engine, while agent and panel are killed: one installer, each line once, nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from agent.protocol.commands import LogsQuery
from containers import logs
from containers.models import Container
from containers.services import NewContainer, act, create_container, reinstall
from eggs.services import import_egg
from lormas.common.errors import Problem
from nodes.models import Command, Operation
from tests.e2e.conftest import Stack, engine_containers, in_thread, running_stack, until
from tests.e2e.stack import IMAGE

pytestmark = [pytest.mark.docker, pytest.mark.redis, pytest.mark.slow, pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

LINES = 40
SLOW = f"""echo begun >> runs
i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); echo line $i; [ -e quick ] || sleep 0.1; done
echo ended >> runs"""


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], capture_output=True, text=True, timeout=60, check=True).stdout.strip()


def egg_of(script: str) -> Any:
    """An egg of our own, for an image whose entrypoint evaluates nothing: a shell is given to it."""
    plain = {
        "meta": {"version": "PTDL_v2"},
        "name": "Installs",
        "author": "lormas@example.org",
        "docker_images": {"busybox": IMAGE},
        "startup": "echo started by {{WHO}} && cat runs && sleep 3600",
        "config": {"files": "{}", "startup": '{"done": "started by a shell"}', "stop": "^C"},
        "scripts": {"installation": {"script": script.replace("\n", "\r\n"), "container": IMAGE, "entrypoint": "ash"}},
        "variables": [{"name": "who", "env_variable": "WHO", "default_value": "a shell", "rules": "required|string"}],
    }
    return import_egg(json.dumps(plain).encode(), filename="installs.json").eggs[0]


async def make(user: Any, name: str, script: str) -> tuple[Container, Operation]:
    def work() -> tuple[Container, Operation]:
        return create_container(user=user, actor=user.as_actor(), data=NewContainer(name=name, egg=egg_of(script)))

    made: tuple[Container, Operation] = await in_thread(work)
    return made


async def fresh(container: Container) -> Container:
    found: Container = await in_thread(lambda: Container.objects.select_related("node", "operation", "egg_version").get(pk=container.pk))
    return found


async def ends(operation: Operation, seconds: float = 90) -> Operation:
    def over() -> Operation | None:
        now = Operation.objects.get(pk=operation.pk)
        return None if now.is_open else now

    found: Operation = await until(over, seconds=seconds, what=f"end of {operation.kind}")
    return found


async def startup_lines(container: Container) -> list[str]:
    page = await in_thread(logs.read, container, LogsQuery(streams=["startup"], tail=500))
    return [text for _, _, _, text in page["lines"]]


async def shown(container: Container, text: str) -> None:
    """This line of its script can be read in its log."""
    for _ in range(600):
        with contextlib.suppress(Problem):  # the node is away for a moment
            if text in await startup_lines(container):
                return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{text!r} never came")


def installers(container: Container) -> list[str]:
    return docker("ps", "-aq", "--filter", f"label=lormas.installer={container.pk}").split()


async def died(stack: Stack) -> None:
    assert stack.agent.process is not None
    code = await asyncio.to_thread(stack.agent.process.wait, 60)
    assert code == -signal.SIGKILL


async def check_whole(container: Container, operation: Operation, *, runs: str) -> None:
    done = await ends(operation)
    assert done.status == "succeeded", (done.error_code, done.error_detail)
    await until(lambda: Container.objects.filter(pk=container.pk, status="running").exists(), seconds=60, what="running")
    assert await startup_lines(container) == [f"line {number}" for number in range(1, LINES + 1)]
    [ref] = await asyncio.to_thread(engine_containers, str(container.pk))
    assert (await asyncio.to_thread(docker, "exec", ref, "cat", "/home/container/runs")).split() == runs.split()
    await until(lambda: not installers(container), seconds=60, what="no installer left")
    assert await in_thread(lambda: Command.objects.filter(subject_id=container.pk, kind="container.install").count()) == 1


async def test_agent_and_panel_are_killed_at_each_point_of_an_installation(transactional_db: None, tmp_path: Path, alice: Any) -> None:
    """R01, R03, R04, R18: before the installer is made, after its start, after its end, after the container was made; and while the script runs:
    the installer runs on, and whoever comes back takes its output up behind the last line that was kept."""
    async with running_stack(tmp_path, LORMAS_TESTING="1") as stack:
        for point in ("before_install", "after_install_begin", "after_install", "after_engine"):
            await asyncio.to_thread(stack.agent.stop)
            stack.agent.start(LORMAS_AGENT_CRASH_AT=point)
            await stack.active()
            container, operation = await make(alice, point, "touch quick\n" + SLOW)
            await died(stack)
            stack.agent.start()
            await check_whole(container, operation, runs="begun ended")

        container, operation = await make(alice, "killed", SLOW)
        await shown(container, "line 5")
        await asyncio.to_thread(stack.agent.kill)
        [before] = await asyncio.to_thread(installers, container)
        stack.agent.start()
        await asyncio.to_thread(stack.panel.kill)
        await asyncio.to_thread(stack.panel.start)
        assert await asyncio.to_thread(installers, container) in ([before], [])
        await check_whole(container, operation, runs="begun ended")


async def test_a_script_that_fails_is_told_and_can_be_repeated_or_aborted(stack: Stack, alice: Any, settings: Any) -> None:
    """The exit code counts; what the script did stays for the next try; a kill ends it at once (A08); so does the clock (R54)."""
    settings.INSTALL_TIMEOUT_SECONDS = 2
    late, endless = await make(alice, "late", "sleep 600")
    settings.INSTALL_TIMEOUT_SECONDS = 3600

    script = """touch runs; echo "as $(id -u)"
if [ ! -e tried ]; then touch tried; echo no luck; exit 3; fi
[ -e go ] || { touch go; sleep 600; }"""
    container, operation = await make(alice, "fails", script)
    done = await ends(operation)
    assert (done.status, done.error_code) == ("failed", "install_failed")
    assert "exit code 3" in done.error_detail
    container = await fresh(container)
    assert (container.status, container.install_state) == ("install_failed", "failed")
    assert await startup_lines(container) == ["as 0", "no luck"]
    assert await asyncio.to_thread(installers, container) == []
    assert await asyncio.to_thread(engine_containers, str(container.pk)) == []

    second = await in_thread(reinstall, container, user=alice, actor=alice.as_actor(), start=True)
    for _ in range(300):
        if (await startup_lines(container)).count("as 0") == 2:
            break
        await asyncio.sleep(0.1)
    [ref] = await asyncio.to_thread(installers, container)
    seen = json.loads(await asyncio.to_thread(docker, "inspect", ref))[0]
    host = seen["HostConfig"]
    assert host["Binds"] is None
    assert not host["Privileged"]
    assert [mount["Type"] for mount in host["Mounts"]] == ["volume"]
    assert "no-new-privileges" in host["SecurityOpt"][0]
    assert host["Memory"] == 1 << 30, "its container has less, and installing needs so much"
    assert (host["NetworkMode"], seen["Config"]["Hostname"], host["PidsLimit"]) == ("lormas", "installer", 512)
    assert {"NET_RAW", "MKNOD"} <= set(host["CapDrop"])
    done = await ends(endless)
    assert (done.status, done.error_code) == ("failed", "install_failed")
    late = await fresh(late)
    assert (late.status, late.status_reason, late.desired) == ("install_failed", done.error_detail, "stopped")
    assert done.error_detail == "The install script did not end within 2 s and was killed. Its output is in the log, stream startup."
    told = await in_thread(logs.read, late, LogsQuery(streams=["events"], tail=10))
    assert told["lines"][-1][3] == done.error_detail
    assert await asyncio.to_thread(installers, late) == await asyncio.to_thread(engine_containers, str(late.pk)) == []

    container = await fresh(container)
    kill = await in_thread(act, container, "kill", user=alice, actor=alice.as_actor())
    assert (await ends(kill)).status == "succeeded"
    assert (await ends(second)).status == "cancelled"
    assert await asyncio.to_thread(installers, container) == []
    await until(lambda: Container.objects.filter(pk=container.pk, status="install_failed").exists(), seconds=60, what="install_failed")

    third = await in_thread(reinstall, await fresh(container), user=alice, actor=alice.as_actor(), start=True)
    done = await ends(third)
    assert done.status == "succeeded", done.error_detail
    await until(lambda: Container.objects.filter(pk=container.pk, status="running").exists(), seconds=60, what="running")
    assert await asyncio.to_thread(installers, container) == []
