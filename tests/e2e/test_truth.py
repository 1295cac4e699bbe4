"""What the page says is what the engine has: through hands on the engine, restarts of agent and panel, and whole lives of containers."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
from typing import Any

import pytest

from agent.protocol.commands import LogsQuery
from agent.reconcile import OURS_SECONDS
from containers import logs
from containers.models import Container
from containers.services import NewContainer, PortWish, act, create_container, delete_container, update_container
from containers.spec import Asked
from nodes.models import Node, Operation
from tests.e2e.conftest import Stack, engine_containers, in_thread, served, until
from tests.e2e.stack import IMAGE

pytestmark = [pytest.mark.docker, pytest.mark.redis, pytest.mark.django_db(transaction=True), pytest.mark.timeout(180)]

SERVE = "mkdir -p /tmp/www; echo hello > /tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www"


def docker(*words: str) -> str:
    return subprocess.run(["docker", *words], capture_output=True, text=True, timeout=60, check=True).stdout.strip()


async def make(user: Any, name: str, **fields: Any) -> tuple[Container, Operation]:
    data = NewContainer(name=name, **{"image": IMAGE, "command": ["sleep", "3600"], "restart_policy": "no", **fields})
    made: tuple[Container, Operation] = await in_thread(create_container, user=user, actor=user.as_actor(), data=data)
    return made


async def becomes(container: Container, status: str, seconds: float = 30) -> None:
    await until(lambda: Container.objects.filter(pk=container.pk, status=status).exists(), seconds=seconds, what=f"{container.name} {status}")


async def ends(operation: Operation, seconds: float = 60) -> Operation:
    def over() -> Operation | None:
        fresh = Operation.objects.get(pk=operation.pk)
        return None if fresh.is_open else fresh

    found: Operation = await until(over, seconds=seconds, what=f"end of {operation.kind}")
    return found


async def test_a_whole_life_on_the_real_engine(stack: Stack, alice: Any) -> None:
    container, operation = await make(
        alice, "web", command=["sh", "-c", SERVE], ports=[PortWish(8080)], asked=Asked(cpus=0.25, memory_bytes=32 * 1024**2)
    )
    assert (await ends(operation)).status == "succeeded", (await ends(operation)).error_detail
    await becomes(container, "running")
    port = await in_thread(lambda: container.ports.get().host_port)
    assert await served(port) == b"hello\n"
    [engine_id] = await asyncio.to_thread(engine_containers, str(container.pk))
    seen = json.loads(await asyncio.to_thread(docker, "inspect", engine_id))[0]
    assert seen["HostConfig"]["Memory"] == 32 * 1024**2
    assert seen["HostConfig"]["NanoCpus"] == 250_000_000 or seen["HostConfig"]["CpuQuota"] == 25_000
    assert seen["HostConfig"]["PidsLimit"] == 512
    assert any("no-new-privileges" in option for option in seen["HostConfig"]["SecurityOpt"])

    for action, status in (
        ("pause", "paused"),
        ("unpause", "running"),
        ("restart", "running"),
        ("kill", "stopped"),
        ("start", "running"),
        ("stop", "stopped"),
    ):
        fresh = await in_thread(lambda: Container.objects.select_related("node").get(pk=container.pk))
        done = await ends(await in_thread(act, fresh, action, user=alice, actor=alice.as_actor(), timeout_seconds=1))
        assert done.status == "succeeded", (action, done.error_detail)
        await becomes(container, status)
    fresh = await in_thread(Container.objects.get, pk=container.pk)
    done = await ends(await in_thread(delete_container, fresh, user=alice, actor=alice.as_actor(), force=True))
    assert done.status == "succeeded"
    assert await asyncio.to_thread(engine_containers, str(container.pk)) == []
    assert f"lormas-{container.pk}" not in await asyncio.to_thread(docker, "volume", "ls", "-q")


async def test_hands_on_the_engine_show_within_ten_seconds(stack: Stack, alice: Any) -> None:
    """R15"""
    container, operation = await make(alice, "web")
    await ends(operation)
    await becomes(container, "running")
    [engine_id] = await asyncio.to_thread(engine_containers, str(container.pk))
    await asyncio.sleep(OURS_SECONDS + 0.5)  # for so long after a command of ours the agent takes what happens for its work
    await asyncio.to_thread(docker, "stop", "-t", "0", engine_id)
    await becomes(container, "stopped", 10)
    await asyncio.to_thread(docker, "start", engine_id)
    await becomes(container, "running", 10)
    await asyncio.to_thread(docker, "pause", engine_id)
    await becomes(container, "paused", 10)
    await asyncio.to_thread(docker, "unpause", engine_id)
    await becomes(container, "running", 10)
    await asyncio.to_thread(docker, "rm", "-f", engine_id)
    await becomes(container, "missing", 10)
    fresh = await in_thread(lambda: Container.objects.select_related("node").get(pk=container.pk))
    done = await ends(await in_thread(act, fresh, "start", user=alice, actor=alice.as_actor()))
    assert done.status == "succeeded", done.error_detail
    await becomes(container, "running")
    assert len(await asyncio.to_thread(engine_containers, str(container.pk))) == 1


async def test_an_image_that_does_not_exist_leaves_nothing(stack: Stack, alice: Any) -> None:
    container, operation = await make(alice, "ghost", image="127.0.0.1:9/no/such:image", ports=[PortWish(80)])
    done = await ends(operation, 90)
    assert (done.status, done.error_code) in {("failed", "pull_failed"), ("failed", "no_such_image")}, done.error_detail
    assert done.error_detail
    assert not await in_thread(lambda: Container.objects.filter(pk=container.pk).exists())
    node = await in_thread(Node.objects.get, pk=stack.node.pk)
    assert (node.current_pods, node.allocated_memory_bytes) == (0, 0)
    assert await asyncio.to_thread(engine_containers, str(container.pk)) == []


async def test_what_happened_while_the_agent_was_dead_is_true_when_it_is_back(stack: Stack, alice: Any) -> None:
    """R03, R14"""
    stays, first = await make(alice, "stays")
    dies, second = await make(alice, "dies")
    await ends(first)
    await ends(second)
    await becomes(dies, "running")
    await asyncio.to_thread(stack.agent.kill)
    [engine_id] = await asyncio.to_thread(engine_containers, str(dies.pk))
    begun = await asyncio.to_thread(docker, "inspect", "-f", "{{.State.StartedAt}}", (await asyncio.to_thread(engine_containers, str(stays.pk)))[0])
    await asyncio.to_thread(docker, "kill", engine_id)
    stack.agent.start()
    await becomes(dies, "stopped", 15)
    fresh = await in_thread(Container.objects.get, pk=stays.pk)
    assert fresh.status == "running"
    after = await asyncio.to_thread(docker, "inspect", "-f", "{{.State.StartedAt}}", (await asyncio.to_thread(engine_containers, str(stays.pk)))[0])
    assert begun == after, "the agent's death did not touch it"


async def test_a_command_asked_while_the_panel_dies_is_done_once(stack: Stack, alice: Any) -> None:
    """R01: kill -9 of the panel between command and result loses nothing and doubles nothing."""
    container, operation = await make(alice, "web", command=["sh", "-c", "echo begun; sleep 3600"])
    await asyncio.to_thread(stack.panel.kill)
    await asyncio.sleep(1)
    await asyncio.to_thread(stack.panel.start)
    done = await ends(operation, 60)
    assert done.status == "succeeded", done.error_detail
    await becomes(container, "running")
    assert len(await asyncio.to_thread(engine_containers, str(container.pk))) == 1


@pytest.mark.parametrize("point", ["after_accept", "before_engine", "after_engine", "before_result", "after_result"])
async def test_kill_9_of_the_agent_at_every_point_leaves_one_container_and_one_result(stack: Stack, alice: Any, point: str) -> None:
    """R04, R18"""
    await asyncio.to_thread(stack.agent.stop)
    stack.agent.start(LORMAS_TESTING="1", LORMAS_AGENT_CRASH_AT=point)
    await until(lambda: Node.objects.filter(pk=stack.node.pk, status="ACTIVE", session_epoch__gte=2).exists(), what="second hello")
    container, operation = await make(alice, "web")
    await asyncio.to_thread(stack.agent.process.wait, 60)  # type: ignore[union-attr]
    assert stack.agent.process is not None and stack.agent.process.returncode != 0, "it died where it was told to"
    stack.agent.start()
    done = await ends(operation, 60)
    assert done.status == "succeeded", (done.error_code, done.error_detail)
    await becomes(container, "running")
    assert len(await asyncio.to_thread(engine_containers, str(container.pk))) == 1
    settled = await in_thread(lambda: list(operation.commands.values_list("state", flat=True)))
    assert settled == ["done"]


async def test_changed_settings_take_effect_at_the_next_start_and_keep_the_data(stack: Stack, alice: Any) -> None:
    script = "echo run >> /data/runs; wc -l < /data/runs > /data/count; sleep 3600"
    container, operation = await make(alice, "web", command=["sh", "-c", script], env={"MODE": "one"}, mounts=[{"kind": "data", "target": "/data"}])
    await ends(operation)
    await becomes(container, "running")
    fresh = await in_thread(lambda: Container.objects.select_related("node").get(pk=container.pk))
    fresh, needs_restart = await in_thread(update_container, fresh, user=alice, actor=alice.as_actor(), changes={"env": {"MODE": "two"}})
    assert needs_restart
    done = await ends(await in_thread(act, fresh, "restart", user=alice, actor=alice.as_actor(), timeout_seconds=1))
    assert done.status == "succeeded", done.error_detail
    [engine_id] = await asyncio.to_thread(engine_containers, str(container.pk))
    env = json.loads(await asyncio.to_thread(docker, "inspect", "-f", "{{json .Config.Env}}", engine_id))
    assert "MODE=two" in env and "MODE=one" not in env
    assert await asyncio.to_thread(docker, "exec", engine_id, "cat", "/data/count") == "2"


async def test_a_port_that_a_stranger_holds_leaves_nothing_or_becomes_another(stack: Stack, alice: Any) -> None:
    """A12: the node itself refuses a port that was named, and row, port, promise and engine container are gone again. Where nobody named one,
    another is taken under the same operation, and the container's events say so."""
    with socket.socket() as stranger:
        node = await in_thread(Node.objects.get, pk=stack.node.pk)
        stranger.bind(("0.0.0.0", node.port_first))
        stranger.listen()
        container, operation = await make(alice, "web", ports=[PortWish(80, node.port_first)])
        done = await ends(operation)
        other, second = await make(alice, "any", ports=[PortWish(80)])
        assert (await ends(second)).status == "succeeded", (await ends(second)).error_detail
    moved = await in_thread(lambda: other.ports.get().host_port)
    [ref] = await asyncio.to_thread(engine_containers, str(other.pk))
    assert moved != node.port_first
    assert f'"{moved}"' in await asyncio.to_thread(docker, "inspect", "-f", "{{json .NetworkSettings.Ports}}", ref)
    told = await in_thread(logs.read, other, LogsQuery(streams=["events"], tail=50))
    lines = [text for _, _, _, text in told["lines"] if "is in use on the node by something else" in text]
    assert lines[0].startswith(f"Port {node.port_first} is in use")
    assert lines[-1].endswith(f"its port is {moved} now.")
    assert (done.status, done.error_code) == ("failed", "port_taken"), done.error_detail
    assert not await in_thread(lambda: Container.objects.filter(pk=container.pk).exists())
    assert await asyncio.to_thread(engine_containers, str(container.pk)) == []
