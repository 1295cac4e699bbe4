"""A cluster on a real Docker swarm of two engines: services, replicas, drain, and an agent that dies between the act and its answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from rest_framework.test import APIClient

from agent.protocol import swarm as kinds
from agent.runtimes.base import RuntimeFailure
from agent.runtimes.docker.runtime import DockerRuntime
from agent.swarm import swarm_act, swarm_answers
from lormas.common import live
from nodes import commands
from nodes.models import Cluster, Command, Node, Operation, Orphan
from tests.e2e.conftest import in_thread, running_stack, until
from tests.e2e.second_engine import SecondEngine
from tests.e2e.stack import IMAGE as BUSYBOX
from tests.e2e.test_engine_restart import engine_or_skip

pytestmark = [pytest.mark.docker, pytest.mark.redis, pytest.mark.slow, pytest.mark.django_db(transaction=True), pytest.mark.timeout(600)]

IMAGE = "127.0.0.1:1/busybox:1"
"""A registry that refuses at once: a node asks it before it takes the image that it has."""
SLEEP = ["sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done"]


ANSWER = ["sh", "-c", "trap 'exit 0' TERM; while :; do echo $WORD $KEPT $GONE | nc -l -p 8080 & wait $!; done"]
"""Tells whoever connects what its environment says."""


@pytest.fixture
def pair() -> Iterator[tuple[SecondEngine, SecondEngine]]:
    """Manager and worker, each in a network of its own, with the machine as their router."""
    engine_or_skip()
    manager, worker = engines = SecondEngine(), SecondEngine()
    with contextlib.ExitStack() as ends, ThreadPoolExecutor(2) as threads:
        for engine in engines:
            ends.callback(engine.remove)
        list(threads.map(SecondEngine.make, engines))
        for engine in engines:
            engine.route_by_host()
            engine.docker("tag", BUSYBOX, IMAGE)
        manager.docker("swarm", "init", "--advertise-addr", manager.address, "--listen-addr", f"{manager.address}:2377")
        token = manager.docker("swarm", "join-token", "-q", "worker")
        worker.docker("swarm", "join", "--token", token, "--advertise-addr", worker.address, f"{manager.address}:2377")
        yield manager, worker


async def answers(address: str, port: int, word: str) -> None:
    """What listens there says this."""
    said = ""
    for _ in range(600):
        with contextlib.suppress(OSError, TimeoutError):
            reader, writer = await asyncio.wait_for(asyncio.open_connection(address, port), 5)
            try:
                said = (await asyncio.wait_for(reader.read(100), 5)).decode().strip()
            finally:
                writer.close()
            if said == word:
                return
        await asyncio.sleep(0.1)
    raise AssertionError(f"{address}:{port} says {said!r}, not {word!r}")


async def the_agent_refuses(node: Node, swarm_id: str, foreign: str, worker: SecondEngine) -> None:
    """Whatever a panel asks: what somebody else made, another swarm, and all of it on an engine that manages none."""
    for code, payload in (
        ("foreign", kinds.SwarmUpdate(swarm_id=swarm_id, service_id=foreign, replicas=1)),
        ("foreign", kinds.SwarmRemove(swarm_id=swarm_id, service_id=foreign)),
        ("other_swarm", kinds.SwarmRemove(swarm_id="another", service_id=foreign)),
    ):
        kind = "node.swarm_update" if isinstance(payload, kinds.SwarmUpdate) else "node.swarm_remove"
        command = await in_thread(commands.enqueue, node, kind, payload=payload)
        await until(Command.objects.filter(pk=command.pk, settled_at__isnull=False).exists, what=f"{kind} ended")
        done = await in_thread(Command.objects.get, pk=command.pk)
        assert (done.state, done.error_code) == ("failed", code), done.error_detail
    runtime = DockerRuntime(host=worker.host)
    try:
        with pytest.raises(RuntimeFailure) as asked:
            await swarm_answers(runtime)["swarm.look"]("", kinds.SwarmLook())
        with pytest.raises(RuntimeFailure) as acted:
            await swarm_act(runtime, kinds.SwarmRemove(swarm_id=swarm_id, service_id=foreign), operation_id="op")
    finally:
        await runtime.close()
    assert {asked.value.code, acted.value.code} == {"not_a_manager"}


async def test_services_run_on_a_swarm_scale_move_off_a_drained_node_and_are_made_once(
    pair: tuple[SecondEngine, SecondEngine], transactional_db: None, tmp_path: Path, root: Any
) -> None:
    """R04 for services; A11: what somebody else made is shown and never changed, and no task is taken for a container of ours."""
    manager, worker = pair
    client = APIClient()
    client.force_authenticate(root)

    async def call(method: str, path: str, body: Any = None, *, status: int = 200) -> Any:
        answer = await in_thread(getattr(client, method), path, body, format="json")
        assert answer.status_code == status, answer.content
        return answer.json() if answer.content else None

    async with running_stack(tmp_path, DOCKER_HOST=manager.host) as stack:
        cluster = await in_thread(lambda: Cluster.objects.create(name="swarm"))
        base, wish = f"/api/clusters/{cluster.pk}", {"backend": "swarm", "manager": str(stack.node.pk)}

        async def ended(answer: dict[str, Any]) -> Operation:
            pk = answer["operation"]["id"]
            await until(lambda: not Operation.objects.get(pk=pk).is_open, seconds=120, what="the operation's end")
            found: Operation = await in_thread(Operation.objects.get, pk=pk)
            return found

        async def does(method: str, path: str, body: Any = None) -> None:
            done = await ended(await call(method, path, body, status=202))
            assert done.status == "succeeded", (path, done.error_code, done.error_detail)

        # one of its nodes has to say which swarm it is
        assert (await call("get", f"{base}/swarm", status=409))["code"] == "not_swarm"
        assert (await call("patch", base, wish, status=422))["code"] == "not_in_cluster"
        assert (await call("patch", base, {"backend": "swarm"}, status=422))["code"] == "manager_needed"
        await call("patch", f"/api/nodes/{stack.node.pk}", {"cluster": str(cluster.pk)})
        swarm_id = manager.docker("info", "-f", "{{.Swarm.Cluster.ID}}")
        for _ in range(300):  # another cluster may mean another lease: its agent says hello again
            answer = await in_thread(client.patch, base, wish, format="json")
            if answer.status_code != 503:
                break
            await asyncio.sleep(0.2)
        assert answer.status_code == 200 and answer.json()["swarm_id"] == swarm_id, answer.content
        seen = await call("get", f"{base}/swarm")
        assert [(node["role"], node["state"], node["availability"]) for node in seen["nodes"]] == [
            ("manager", "ready", "active"),
            ("worker", "ready", "active"),
        ]
        here, there = (node["id"] for node in seen["nodes"])

        # the agent dies when the swarm has the service and the panel has no answer: it is found again, not doubled
        before = await in_thread(lambda: Node.objects.get(pk=stack.node.pk).session_epoch)
        await asyncio.to_thread(stack.agent.kill)
        stack.agent.start(LORMAS_TESTING="1", LORMAS_AGENT_CRASH_AT="before_result")
        back = Node.objects.exclude(gateway="").filter(pk=stack.node.pk, status="ACTIVE", session_epoch__gt=before)
        await until(back.all().exists, seconds=60, what="the agent is back")
        body = {"name": "web", "image": IMAGE, "replicas": 2, "command": SLEEP, "env": {"WORD": "s3cret"}, "memory_bytes": 64 * 1024 * 1024}
        begun = await call("post", f"{base}/services", body, status=202)
        assert stack.agent.process is not None
        assert await asyncio.to_thread(stack.agent.process.wait, 60) != 0
        assert manager.docker("service", "ls", "--format", "{{.Name}}").split() == ["web"]
        stack.agent.start()
        assert (await ended(begun)).status == "succeeded"
        assert manager.docker("service", "ls", "--format", "{{.Name}}").split() == ["web"]
        [service] = (await call("get", f"{base}/services"))["items"]
        assert (service["ours"], service["wanted"], service["env_names"], service["image"]) == (True, 2, ["WORD"], IMAGE)
        web = f"{base}/services/{service['id']}"

        async def runs(web: str = web, *, on: list[str] | None = None, count: int) -> None:
            async def where() -> list[str]:
                tasks = (await call("get", f"{web}/tasks"))["items"]
                return sorted(task["node_id"] for task in tasks if (task["state"], task["desired"]) == ("running", "running"))

            found: list[str] = []
            for _ in range(600):
                found = await where()
                if len(found) == count and (on is None or found == sorted(on)) and (await call("get", web))["running"] == count:
                    return
                await asyncio.sleep(0.2)
            raise AssertionError(f"not {count} on {on}: {found}; {manager.docker('service', 'ps', '--no-trunc', 'web')}")

        await runs(on=[here, there], count=2)
        assert [len(engine.docker("ps", "-q").split()) for engine in pair] == [1, 1], "one task on each engine"
        assert (await in_thread(live.ask_node, stack.node.pk, "foreign.list"))["containers"] == [], "no task is offered for taking over"
        assert (await call("post", f"{base}/services", body, status=409))["code"] == "name_taken"
        for count in (3, 1, 2):
            await does("patch", web, {"replicas": count})
            await runs(count=count)
        assert (await call("patch", web, {"replicas": 2}, status=422))["code"] == "nothing_to_do"

        # one on each node; its environment and ports are changed one task at a time, and what is not named stays
        every = {"name": "each", "image": IMAGE, "mode": "global", "command": ANSWER, "env": {"WORD": "old", "KEPT": "kept", "GONE": "x"}}
        await does("post", f"{base}/services", every)
        each = f"{base}/services/{manager.docker('service', 'inspect', '-f', '{{.ID}}', 'each')}"
        await runs(each, on=[here, there], count=2)
        assert (await call("patch", each, {"replicas": 3}, status=422))["code"] == "invalid_spec"
        port = {"published_port": 8080, "container_port": 8080}
        await does("patch", each, {"env": {"WORD": "new", "GONE": None}, "ports": [port]})
        for engine in pair:
            await answers(engine.address, 8080, "new kept")
        seen = await call("get", each)
        assert (seen["mode"], seen["env_names"], seen["ports"]) == ("global", ["KEPT", "WORD"], [{**port, "protocol": "tcp", "mode": "host"}])
        await does("delete", each)

        await does("patch", f"{base}/swarm/nodes/{there}", {"availability": "drain"})
        await runs(on=[here, here], count=2)
        assert (await call("get", f"{base}/swarm"))["nodes"][1]["availability"] == "drain"
        await does("patch", f"{base}/swarm/nodes/{there}", {"availability": "active"})

        # somebody else's: seen, and left alone by the panel and by the agent behind it
        options = ("--no-resolve-image", "--detach", "--replicas", "0", "--name", "theirs")
        foreign = manager.docker("service", "create", *options, IMAGE)
        assert [(item["name"], item["ours"]) for item in (await call("get", f"{base}/services"))["items"]] == [("web", True), ("theirs", False)]
        assert (await call("patch", f"{base}/services/{foreign}", {"replicas": 1}, status=409))["code"] == "foreign"
        assert (await call("delete", f"{base}/services/{foreign}", status=409))["code"] == "foreign"
        await the_agent_refuses(stack.node, swarm_id, foreign, worker)

        await does("delete", web)
        await call("get", web, status=404)
        assert manager.docker("service", "ls", "--format", "{{.Name}}").split() == ["theirs"]
        assert not await in_thread(Orphan.objects.exists), "tasks are no containers of ours"

        await asyncio.to_thread(stack.agent.stop)
        assert manager.docker("service", "ls", "--format", "{{.Name}}").split() == ["theirs"]
        await until(lambda: Node.objects.get(pk=stack.node.pk).gateway == "", what="the link is gone")
        gone = await call("get", f"{base}/services", status=503)
        assert gone["code"] == "swarm_offline" and "e2e is not connected since " in gone["detail"]
