"""Containers' own network: two agents of one engine that ask for it at once, hands that remove it, and two of one name."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import docker
import pytest

from agent.protocol.messages import ContainerSpec
from agent.runtimes.base import RuntimeFailure
from agent.runtimes.docker import DockerRuntime, options

pytestmark = pytest.mark.docker

IMAGE = "lormas-test/busybox:1"


class Engine:
    """The engine itself, asked past the agent, about networks of one name."""

    def __init__(self, network: str) -> None:
        self.api = docker.APIClient(timeout=60)
        self.network = network

    def networks(self) -> list[str]:
        """Their ids, the oldest first."""
        found = [one for one in self.api.networks(names=[self.network]) if one["Name"] == self.network]
        return [str(one["Id"]) for one in sorted(found, key=lambda one: (one["Created"], one["Id"]))]

    def make(self) -> str:
        """One more of that name, as an agent makes it that has looked at the same moment as another one."""
        made = self.api.create_network(self.network, driver="bridge", labels={options.LABEL_MANAGED: "1"}, check_duplicate=False)
        return str(made["Id"])

    def occupy(self, network: str) -> None:
        """A container runs in it. It was connected by hand, for none starts in it."""
        made = self.api.create_container_from_config({"Image": IMAGE, "Cmd": ["sleep", "3600"], "Labels": {"of": self.network}})
        self.api.start(made)
        self.api.connect_container_to_network(made["Id"], network)

    def clean(self) -> None:
        for one in self.api.containers(all=True, filters={"label": f"of={self.network}"}):
            self.api.remove_container(one["Id"], force=True)
        for network in self.networks():
            self.api.remove_network(network)
        self.api.close()


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """Agents here use a network of another name: the one of the other tests stays as it is."""
    made = Engine(f"lormas-test-{uuid.uuid4().hex[:8]}")
    monkeypatch.setattr(options, "NETWORK", made.network)
    yield made
    made.clean()


@contextlib.asynccontextmanager
async def agent() -> AsyncIterator[DockerRuntime]:
    made = DockerRuntime()
    await made.info()
    await made.open(instance=f"network-{uuid.uuid4().hex[:8]}")
    try:
        yield made
    finally:
        for report in await made.list_owned():
            await made.remove(report.container_id)
        await made.close()


async def create(runtime: DockerRuntime) -> str:
    spec = ContainerSpec(container_id=str(uuid.uuid4()), name="x", image=IMAGE, command=["sleep", "3600"])
    await runtime.create(spec, epoch=1, operation_id="o")
    return spec.container_id


async def run(runtime: DockerRuntime) -> str:
    """The state of a new container."""
    return (await runtime.start(await create(runtime))).state


async def test_agents_that_ask_at_once_get_one_and_all_containers_run(engine: Engine) -> None:
    async with contextlib.AsyncExitStack() as stack:
        agents = [await stack.enter_async_context(agent()) for _ in range(4)]
        assert await asyncio.gather(*(run(one) for one in agents)) == ["running"] * 4
        assert len(engine.networks()) == 1


async def test_where_it_is_there_twice_one_is_left_and_containers_start_again(engine: Engine) -> None:
    """The one that is in use, else the oldest; so two agents that look at once leave the same one."""
    async with agent() as early, agent() as late:
        waiting = await create(early)
        (first,) = engine.networks()
        second = engine.make()
        assert engine.networks() == [first, second]
        assert (await early.start(waiting)).state == "running"
        assert engine.networks() == [first]
        engine.make()
        assert await asyncio.gather(run(early), run(late)) == ["running"] * 2
        assert engine.networks() == [first], "what runs stays in its network"


async def test_the_younger_one_is_left_where_it_is_in_use(engine: Engine) -> None:
    engine.make()
    used = engine.make()
    await asyncio.to_thread(engine.occupy, used)
    async with agent() as one:
        assert await run(one) == "running"
        assert engine.networks() == [used]


async def test_where_both_are_in_use_nothing_is_removed_and_it_says_what_to_do(engine: Engine) -> None:
    both = [engine.make(), engine.make()]
    for network in both:
        await asyncio.to_thread(engine.occupy, network)
    async with agent() as one:
        with pytest.raises(RuntimeFailure) as refused:
            await run(one)
        assert refused.value.code == "engine_error"
        assert engine.network in refused.value.detail and "docker network rm" in refused.value.detail
        assert engine.networks() == both


async def test_one_that_hands_removed_is_made_again(engine: Engine) -> None:
    async with agent() as one:
        container = await create(one)
        engine.api.remove_network(engine.networks()[0])
        report: Any = await one.start(container)
        assert report.state == "running"
        assert len(engine.networks()) == 1
