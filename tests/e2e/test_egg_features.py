"""What an egg's console asks for, and a health check: on the real engine, from the line in the log to what the answer promises."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from containers import logs
from containers.models import Container
from containers.services import NewContainer, create_container, prompts
from containers.spec import Asked
from eggs.services import import_egg
from nodes.models import Operation
from tests import yolk
from tests.e2e.conftest import Stack, engine_containers, in_thread, until
from tests.e2e.stack import IMAGE

pytestmark = [pytest.mark.docker, pytest.mark.redis, pytest.mark.slow, pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

SERVER = """#!/bin/sh
echo up
while read -r line; do
    case "$line" in
        java) echo 'Error: LinkageError occurred: java.lang.UnsupportedClassVersionError: Main has been compiled by a more recent version' ;;
        pids) echo '[0.045s][warning][os,thread] Failed to start thread: pthread_create failed (EAGAIN) for attributes: stacksize: 1024k' ;;
        token) echo 'Could not establish connection to Steam servers. (GSL token expired)' ;;
        disk) echo "Error! App '4020' state is 0x202 after update job." ;;
        stop) exit 0 ;;
    esac
done
"""
JAVAS = ("lormas-test/java:17", "lormas-test/java:21")


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], capture_output=True, text=True, timeout=60, check=True).stdout.strip()


@pytest.fixture
def images() -> Iterator[None]:
    yolk.images()
    for name in JAVAS:
        yolk.tag(yolk.YOLK, name)
    yield
    for name in JAVAS:
        yolk.untag(name)


def game_egg() -> Any:
    plain = {
        "meta": {"version": "PTDL_v2"},
        "name": "Asks",
        "author": "lormas@example.org",
        "features": ["java_version", "pid_limit", "gsl_token", "steam_disk_space"],
        "docker_images": dict(zip(("Java 17", "Java 21"), JAVAS, strict=True)),
        "startup": "sh server.sh",
        "config": {
            "files": "{}",
            "startup": '{"done": "up"}',
            "stop": "stop",
        },
        "scripts": {"installation": {"script": f"cat > server.sh <<'END'\n{SERVER}END", "container": IMAGE, "entrypoint": "ash"}},
        "variables": [{"name": "token", "env_variable": "STEAM_ACC", "default_value": "", "rules": "nullable|string|max:64"}],
    }
    return import_egg(json.dumps(plain).encode(), filename="asks.json").eggs[0]


COMPOSE = f"""
name: checked
services:
  web:
    image: {IMAGE}
    command: ["sh", "-c", "echo begun; sleep 3600"]
    healthcheck:
      test: ["CMD-SHELL", "test -e /tmp/ok || {{ echo there is no ok; exit 1; }}"]
      interval: 500ms
      timeout: 20s
      retries: 1
      start_period: 600s
"""


async def fresh(container: Container) -> Container:
    found: Container = await in_thread(lambda: Container.objects.select_related("node", "operation", "egg_version").get(pk=container.pk))
    return found


async def ends(operation: Operation, seconds: float = 90) -> Operation:
    def over() -> Operation | None:
        now = Operation.objects.get(pk=operation.pk)
        return None if now.is_open else now

    found: Operation = await until(over, seconds=seconds, what=f"end of {operation.kind}")
    return found


async def becomes(container: Container, seconds: float = 60, **fields: Any) -> Container:
    await until(lambda: Container.objects.filter(pk=container.pk, **fields).exists(), seconds=seconds, what=f"{container.name} {fields}")
    return await fresh(container)


async def inspected(container: Container) -> dict[str, Any]:
    [ref] = await asyncio.to_thread(engine_containers, str(container.pk))
    found: dict[str, Any] = json.loads(await asyncio.to_thread(docker, "inspect", ref))[0]
    return found


async def test_each_answer_does_what_it_promises_and_a_health_check_tells_what_is_wrong(stack: Stack, alice: Any, images: None) -> None:
    """EGGS 6: Java version, process limit, server token, disk space (the EULA: test_egg_life). A limit that a node could change in place is
    not taken twice. Where no line is waited for, the health check says `starting`, then what it found."""

    def make(name: str, egg: Any) -> tuple[Container, Operation]:
        return create_container(user=alice, actor=alice.as_actor(), data=NewContainer(name=name, egg=egg, asked=Asked(disk_bytes=2 << 30)))

    def client() -> Client:
        made = Client()
        made.force_login(alice, backend="accounts.backends.EmailOrUsernameBackend")
        return made

    container, operation = await in_thread(lambda: make("asks", game_egg()))
    checked, second = await in_thread(lambda: make("checked", import_egg(COMPOSE.encode(), filename="compose.yaml").eggs[0]))
    for one in (operation, second):
        done = await ends(one)
        assert done.status == "succeeded", done.error_detail
    container = await becomes(container, status="running")

    asked = [("java", "java_version", JAVAS[1]), ("pids", "pid_limit", "1024")]
    asked += [("token", "gsl_token", "ABCDEF0123456789"), ("disk", "steam_disk_space", "4")]
    for word, feature, value in asked:
        await in_thread(logs.write_stdin, container, text=word, actor=alice.as_actor())
        container = await becomes(container, prompts=[feature])
        if feature == "steam_disk_space":
            await until(lambda: Container.objects.get(pk=container.pk).node.usage.get("storage_used_bytes"), what="the node's disk")  # type: ignore[union-attr]
            [told] = (await in_thread(lambda: client().get(f"/api/containers/{container.pk}/prompts").json()))["prompts"]
            assert told["suggestion"] == "4"
            assert (told["room"]["limit_bytes"], told["room"]["needed_bytes"]) == (2 << 30, 250 << 20)
            assert told["room"]["node_free_bytes"] > 0
        done = await ends(await in_thread(prompts.answer, container, feature, value=value, user=alice, actor=alice.as_actor()))
        assert done.status == "succeeded", (feature, done.error_detail)
        container = await becomes(container, status="running", readiness="ready", prompts=[])

    seen = await inspected(container)
    assert (seen["Config"]["Image"], seen["HostConfig"]["PidsLimit"]) == (JAVAS[1], 1024)
    assert "STEAM_ACC=ABCDEF0123456789" in seen["Config"]["Env"]
    assert container.disk_bytes == 4 << 30

    checked = await fresh(checked)
    assert (checked.status, checked.health) == ("starting", "starting")
    [ref] = await asyncio.to_thread(engine_containers, str(checked.pk))
    await asyncio.to_thread(docker, "exec", ref, "touch", "/tmp/ok")
    await becomes(checked, status="running", health="healthy")
    await asyncio.to_thread(docker, "exec", ref, "rm", "/tmp/ok")
    checked = await becomes(checked, status="running", health="unhealthy")
    page = await in_thread(lambda: client().get(reverse("containers:facts", args=[checked.pk])))
    assert "unhealthy<" in page.content.decode()
    assert "there is no ok" in page.content.decode()
