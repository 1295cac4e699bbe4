"""A tunnel's program beside a container: begun and ended with it, taken over by the next agent, never twice, its token nowhere to be seen.

cloudflared itself can't be had on test machines: its command line is run against the stand-in beside this file.
"""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from agent.logs import LogService
from agent.protocol.commands import LogsQuery
from agent.protocol.messages import ContainerReport
from agent.runtimes.base import RuntimeFailure, TunnelRun
from agent.runtimes.docker import DockerRuntime
from agent.runtimes.fake import FakeRuntime
from agent.runtimes.policy import LocalPolicy
from agent.runtimes.process import ProcessRuntime
from agent.tunnels.keeper import Tunnels, Wish
from agent.tunnels.words import Heard
from tests.agent.runtimes.conftest import IMAGE, Bench, until

STANDIN = Path(__file__).parent / "standin"
TUNNEL_IMAGE = "lormas-test/cloudflared:1"
TOKEN = "good-eyJhIjoiY2FuYXJ5In0"


@pytest.fixture(scope="module")
def tunnel_image() -> str:
    made = f"FROM {IMAGE}\nCOPY cloudflared /bin/cloudflared\n"
    build = ["docker", "build", "-q", "-t", TUNNEL_IMAGE, "-f", "-", str(STANDIN)]
    subprocess.run(build, input=made.encode(), check=True, capture_output=True, timeout=120)
    return TUNNEL_IMAGE


class Rig:
    """A runtime, a container on it, and agents that keep its tunnel."""

    def __init__(self, bench: Bench, folder: Path) -> None:
        self.bench = bench
        self.folder = folder
        self.reports: dict[str, ContainerReport] = {}
        self.logs = LogService(folder / "logs", runtime=bench.runtime)
        self.tasks: list[asyncio.Task[None]] = []

    async def look(self, container_id: str) -> None:
        """What the reconciler would have told."""
        report = await self.bench.runtime.inspect(container_id)
        assert report is not None
        self.reports[container_id] = report

    def agent(self, runtime: Any = None) -> Tunnels:
        made = Tunnels(
            runtime or self.bench.runtime, self.logs, self.folder / "tunnels", seen=self.reports.get, look_seconds=0.05, first_seconds=0.05
        )
        made.load()
        self.tasks.append(asyncio.create_task(made.run()))
        return made

    async def stop(self, agent: Tunnels) -> None:
        """As an agent that was killed: its programs stay."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.tasks.clear()
        await agent.close()

    async def runs(self) -> dict[str, Any]:
        return dict(await self.bench.runtime.tunnels.all())  # type: ignore[attr-defined]

    async def events(self, container_id: str) -> str:
        page = await self.logs.read(container_id, LogsQuery(streams=["events"], tail=100))
        return "\n".join(line[3] for line in page["lines"])


@pytest.fixture(params=[pytest.param("docker", marks=pytest.mark.docker), "process"])
async def rig(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    fresh: Callable[[], Any]
    if request.param == "docker":
        policy = LocalPolicy(tunnel_image=request.getfixturevalue("tunnel_image"))
        fresh = lambda: DockerRuntime(policy=policy)  # noqa: E731
    else:
        monkeypatch.setenv("PATH", f"{STANDIN}:/usr/bin:/bin")
        fresh = lambda: ProcessRuntime(root=tmp_path / "process")  # noqa: E731
    bench = Bench(request.param, fresh(), fresh)
    await bench.runtime.info()
    await bench.runtime.open(instance=bench.instance)
    made = Rig(bench, tmp_path)
    try:
        yield made
    finally:
        for task in made.tasks:
            task.cancel()
        await asyncio.gather(*made.tasks, return_exceptions=True)
        for container_id in await made.runs():
            await bench.runtime.tunnels.end(container_id)  # type: ignore[attr-defined]
        await made.logs.close()
        await bench.close()


def connected(agent: Tunnels, container_id: str) -> Any:
    async def look() -> bool:
        return agent.state_of(container_id).state == "connected" and bool(agent.state_of(container_id).urls)

    return until(look)


async def test_it_lives_as_long_as_its_container_and_outlives_the_agent_without_a_twin(rig: Rig) -> None:
    """Start, agent killed and started again, container restarted, container stopped, tunnel stopped; the token in no argument and no log (I07)."""
    runtime = rig.bench.runtime
    spec = rig.bench.spec(
        command=["sh", "-c", "mkdir -p /tmp/w && echo inside > /tmp/w/index.html && exec busybox httpd -f -p 127.0.0.1:8080 -h /tmp/w"]
    )
    if rig.bench.kind == "process":
        spec = rig.bench.spec("forever")
    await runtime.create(spec, epoch=1, operation_id="op-1")
    one = spec.container_id
    await rig.look(one)
    first = rig.agent()
    assert (await first.want(one, Wish(TOKEN, 1))).state in ("starting", "waiting")

    async def waits() -> bool:
        return first.state_of(one).state == "waiting"

    await until(waits)  # it was never started: there is nothing to publish
    assert await rig.runs() == {}
    await runtime.start(one)
    await rig.look(one)
    await connected(first, one)
    state = first.state_of(one)
    assert (state.urls, state.connections, state.restarts, state.version) == (["https://app.example.com"], 2, 0, 1)
    pids = program_pids(rig, one)
    assert len(pids) == 1
    assert TOKEN not in subprocess.run(["ps", "axww", "-o", "args"], capture_output=True, text=True, check=True, timeout=20).stdout
    assert (rig.folder / "tunnels" / f"{one}.json").stat().st_mode & 0o777 == 0o600
    if rig.bench.kind == "docker":

        async def origin() -> bool:
            return "origin said inside" in "\n".join((await runtime.tunnels.output(one, after=0))[0])  # type: ignore[attr-defined]

        await until(origin)  # localhost of the tunnel is the container

    await rig.stop(first)
    assert program_pids(rig, one) == pids  # nobody is away because the agent is
    second = rig.agent(rig.bench.fresh() if rig.bench.kind == "process" else None)
    if rig.bench.kind == "process":
        assert set(await rig.runs()) == {one}
    await connected(second, one)
    assert program_pids(rig, one) == pids
    assert (await second.want(one, Wish("", 0))).state == "connected"  # an older word changes nothing

    await runtime.kill(one)
    await runtime.start(one)
    await rig.look(one)

    async def anew() -> bool:
        now = program_pids(rig, one)
        return len(now) == 1 and now != pids and second.state_of(one).state == "connected"

    await until(anew)  # its network is another one now
    await runtime.kill(one)
    await rig.look(one)
    await until(lambda: gone(rig))  # with its container; the agent hears of it a moment later

    async def waits_again() -> bool:
        return second.state_of(one).state == "waiting"

    await until(waits_again)
    assert (await second.want(one, Wish("", 2))).state == "off"
    assert (await second.want(one, Wish(TOKEN, 1))).state == "off"  # a start that was overtaken by the stop
    assert "https://app.example.com" in await rig.events(one)
    assert TOKEN not in await rig.events(one)
    assert TOKEN not in (rig.folder / "tunnels" / f"{one}.json").read_text()
    await second.forget(one)
    assert not (rig.folder / "tunnels" / f"{one}.json").exists()


async def gone(rig: Rig) -> bool:
    return await rig.runs() == {}


def program_pids(rig: Rig, container_id: str) -> set[str]:
    """Of the tunnel's program: found by its command line, told from others' by its environment. What it has just forked,
    and is not another program yet, is left out."""
    found: dict[str, str] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            if b"cloudflared" in (folder / "cmdline").read_bytes() and TOKEN.encode() in (folder / "environ").read_bytes():
                found[folder.name] = (folder / "stat").read_text().rpartition(")")[2].split()[1]
    return {pid for pid, parent in found.items() if parent not in found}


async def test_one_that_dies_is_tried_again_and_says_why_without_its_token(rig: Rig) -> None:
    container_id = await rig.bench.started("forever")
    await rig.look(container_id)
    agent = rig.agent()
    bad = "bad-eyJhIjoiY2FuYXJ5In0"
    await agent.want(container_id, Wish(bad, 1))

    async def failed() -> bool:
        state = agent.state_of(container_id)
        return state.state == "failed" and state.restarts >= 2

    await until(failed)
    detail = agent.state_of(container_id).detail
    assert "exit code 1" in detail
    assert "Provided Tunnel token is not valid: …" in detail
    assert bad not in detail + await rig.events(container_id)
    await agent.want(container_id, Wish(TOKEN, 2))  # a better token needs no patience
    await connected(agent, container_id)
    assert agent.state_of(container_id).restarts == 0
    await agent.forget(container_id)
    await until(lambda: gone(rig))


class SlowDesk:
    """An engine whose listing is older than its answer: what was made is shown as not started yet, and starts while the answer is on its way."""

    def __init__(self) -> None:
        self.begun = 0
        self.made = asyncio.Event()
        self.start = asyncio.Event()
        self.started = asyncio.Event()

    async def check(self) -> None: ...

    async def all(self) -> dict[str, TunnelRun]:
        if not self.made.is_set():
            return {}
        found = {ONE: TunnelRun(BOUND) if self.started.is_set() else TunnelRun(BOUND, 1)}
        self.start.set()
        await self.started.wait()
        return found

    async def begin(self, container_id: str, **_: str) -> None:
        self.begun += 1
        self.made.set()
        await self.start.wait()
        self.started.set()

    async def end(self, container_id: str) -> None: ...

    async def output(self, container_id: str, *, after: int) -> tuple[list[str], int]:
        return ["INF Registered tunnel connection connIndex=0"], 1


ONE = "11111111-2222-4333-8444-555555555555"
BOUND = "ref@0.0"


async def test_a_listing_older_than_the_start_is_no_end(tmp_path: Path) -> None:
    desk = SlowDesk()
    runtime: Any = SimpleNamespace(kind="docker", tunnels=desk)
    report = ContainerReport(container_id=ONE, state="running", runtime_ref="ref", started_at=0.0)
    tunnels = Tunnels(runtime, LogService(tmp_path / "logs", runtime=FakeRuntime()), tmp_path / "wishes", seen=lambda _: report, look_seconds=0.01)
    running = asyncio.create_task(tunnels.run())
    await tunnels.want(ONE, Wish(TOKEN, 1))

    async def up() -> bool:
        return tunnels.state_of(ONE).state in ("connected", "failed")

    await until(up)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await tunnels.close()
    assert (tunnels.state_of(ONE).state, tunnels.state_of(ONE).restarts, desk.begun) == ("connected", 0, 1)


async def test_the_nodes_owner_may_forbid_it_and_a_runtime_without_says_so(tmp_path: Path) -> None:
    """SECURITY A13: what the machine's owner has closed stays closed, whatever the panel asks."""
    one = "11111111-2222-4333-8444-555555555555"
    cases: list[tuple[Any, str]] = [
        (DockerRuntime(policy=LocalPolicy(tunnels=False)), "policy_denied"),
        (ProcessRuntime(root=tmp_path / "process", policy=LocalPolicy(tunnels=False)), "policy_denied"),
        (FakeRuntime(), "unsupported"),
    ]
    for runtime, code in cases:
        tunnels = Tunnels(runtime, LogService(tmp_path / "logs", runtime=runtime), tmp_path / "wishes", seen=lambda _: None)
        with pytest.raises(RuntimeFailure) as refused:
            await tunnels.want(one, Wish(TOKEN, 1))
        assert refused.value.code == code
        assert not (tmp_path / "wishes").exists()
        with pytest.raises(RuntimeFailure, match="id of a container"):
            await tunnels.want("../../etc", Wish("", 1))


def test_what_cloudflared_says() -> None:
    heard = Heard()
    heard.take(["2026-01-02T03:04:05Z INF Registered tunnel connection connIndex=2 ip=192.0.2.1", "", "noise"])
    heard.take(['2026-01-02T03:04:05Z ERR  error="Unable to reach the origin service" connIndex=2 originService=http://localhost:1'])
    assert (heard.up, heard.urls, heard.error.startswith("ERR")) == ({"2"}, [], True)
    heard.take(["2026-01-02T03:04:05Z WRN Connection terminated error=x connIndex=2"])
    assert heard.up == set()
    config = r'INF Updated to new configuration config="{\"ingress\":[{\"hostname\":\"B.example.com\",\"path\":\"x\"},{\"hostname\":\"<b>\"}]}"'
    heard.take([config])
    assert heard.urls == ["https://b.example.com"]
