"""What the engine really holds of a container that we made."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from agent.protocol.messages import Limits, Mount, PortBinding
from agent.runtimes.docker import oom
from tests.sizes import bytes_of

pytestmark = pytest.mark.docker

SPECS: dict[str, dict[str, Any]] = {
    "plain": {},
    "with everything": {
        "env": {"A": "b\nc"},
        "user": "1000:1000",
        "tty": True,
        "hostname": "box",
        "mounts": [Mount(kind="data", target="/data"), Mount(kind="tmpfs", target="/cache", size_bytes=1024 * 1024)],
        "ports": [PortBinding(container_port=80, host_port=31999)],
    },
    "no limits asked": {"limits": Limits(cpus=0, memory_bytes=0, pids=0)},
    "negative limits": {"limits": Limits(cpus=-1, memory_bytes=-1, pids=-1, swap_bytes=-1)},
    "no network": {"network_mode": "none"},
}


@pytest.mark.parametrize("name", SPECS)
async def test_defaults_are_always_set(docker_bench: Any, name: str) -> None:
    """A05 A06 A09 A10 J09: limits, log size, no-new-privileges, dropped capabilities, own namespaces, json-file only."""
    container_id = await docker_bench.create("forever", **SPECS[name])
    item = await docker_bench.runtime._finder.item(container_id)
    host = item["HostConfig"]
    assert host["PidsLimit"] > 0
    assert host["Memory"] >= 6 * 1024 * 1024
    assert host["MemorySwap"] >= host["Memory"]
    assert host["NanoCpus"] > 0
    assert host["LogConfig"] == {"Type": "json-file", "Config": {"max-size": "10485760", "max-file": "3"}}
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert {"NET_RAW", "MKNOD", "SYS_CHROOT", "SETPCAP", "SETFCAP", "AUDIT_WRITE"} <= set(host["CapDrop"])
    assert not host["CapAdd"]
    assert host["Privileged"] is False
    assert (host["PidMode"], host["UTSMode"], host["UsernsMode"], host["IpcMode"]) == ("", "", "", "private")
    assert host["NetworkMode"] == ("none" if name == "no network" else "lormas")
    assert not host["Binds"]
    assert not host["Devices"]
    assert not host["ExtraHosts"]
    assert not host["Dns"]
    assert host["RestartPolicy"]["Name"] == "no"
    assert host["OomKillDisable"] in (False, None)
    assert all(mount["Type"] in ("volume", "tmpfs") for mount in host.get("Mounts") or [])


async def test_root_can_still_become_a_user_and_own_its_data(docker_bench: Any, collect: Any) -> None:
    """What entrypoints of ordinary images do: chown the data, then drop to a user."""
    container_id = await docker_bench.started(mounts=[Mount(kind="data", target="/data")])
    become = "echo u:x:1000:1000::/:/bin/sh >> /etc/passwd && start-stop-daemon -S -p /tmp/pid -c u -x /bin/id -- -u"
    script = f"touch /data/f && chown 1000:1000 /data/f && chmod 600 /data/f && cat /data/f && {become}"
    session = await docker_bench.runtime.exec(container_id, ["sh", "-c", script])
    found = await collect(session)
    assert found["stdout"] == b"1000\n", found
    assert await session.wait() == 0


async def test_the_fork_limit_holds(docker_bench: Any, collect: Any) -> None:
    """A09."""
    container_id = await docker_bench.started(limits=Limits(pids=12))
    session = await docker_bench.runtime.exec(container_id, ["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do sleep 5 & done; wait"])
    assert b"fork" in (await collect(session))["stderr"]


async def test_a_flood_of_output_takes_so_much_of_the_engines_disk_and_no_more(docker_bench: Any) -> None:
    """J09: four times what is kept is written, and the engine's own files never have more than three of ten megabytes (and what is just rotated)."""
    line = "x" * 8191
    flood = "line=$(printf %8191s | tr ' ' x); n=0; while [ $n -lt 15000 ]; do echo $line; n=$((n+1)); done"
    container_id = await docker_bench.started(command=["sh", "-c", flood])
    item = await docker_bench.runtime._finder.item(container_id)
    folder = Path(item["LogPath"]).parent
    if not folder.is_dir():
        pytest.skip("the engine's disk is not this machine's")
    most = 0
    async with asyncio.timeout(120):
        while await docker_bench.state(container_id) == "running":
            most = max(most, bytes_of(folder.glob("*-json.log*")))
            await asyncio.sleep(0.05)
    assert 15_000 * len(line) > 4 * 30 * 1000**2 > 2 * most > 20 * 1000**2, most
    assert most < 42 * 1024**2


async def test_too_much_memory_kills_it_and_is_told(docker_bench: Any) -> None:
    container_id = await docker_bench.started(command=["sh", "-c", "tail /dev/zero"], limits=Limits(memory_bytes=16 * 1024 * 1024))
    report = await docker_bench.ended(container_id)
    assert report.exit_code == 137
    assert report.oom_killed


async def test_containers_can_not_talk_to_each_other_directly(docker_bench: Any, collect: Any) -> None:
    server = await docker_bench.started(command=["sh", "-c", "echo hi > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"])
    other = await docker_bench.started()
    item = await docker_bench.runtime._finder.item(server)
    address = item["NetworkSettings"]["Networks"]["lormas"]["IPAddress"]
    session = await docker_bench.runtime.exec(other, ["wget", "-T", "2", "-q", "-O", "-", f"http://{address}:8080/"])
    found = await collect(session)
    assert found["stdout"] == b""
    assert await session.wait() != 0


async def test_that_it_was_the_memory_is_known_although_the_engine_says_so_late_or_never(docker_bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 23 it never sets its flag if the kernel's word comes after the end; a SIGKILL by hand ends as such a container does, and is none."""
    runtime = docker_bench.runtime
    limits = Limits(memory_bytes=16 * 1024 * 1024)
    eater = await docker_bench.started(command=["sh", "-c", "tail /dev/zero"], limits=limits)
    await docker_bench.ended(eater)
    item = await runtime._finder.item(eater)
    item["State"]["OOMKilled"] = False
    assert oom.in_doubt(item)
    assert await oom.told(runtime._wire, item)

    other = await docker_bench.started(command=["sh", "-c", "sleep 3600"], limits=limits)
    docker_bench.outside("kill", (await runtime._finder.item(other))["Id"])
    assert not (await docker_bench.ended(other)).oom_killed
    item = await runtime._finder.item(other)
    assert oom.in_doubt(item)
    monkeypatch.setattr(oom, "LATE_SECONDS", 3600.0)  # the signal answers at once: nothing is waited for
    assert not await oom.told(runtime._wire, item)


def test_it_is_in_doubt_only_where_a_limit_was_and_the_end_is_new() -> None:
    def item(*, memory: int = 1, **state: Any) -> dict[str, Any]:
        found = {"Running": False, "OOMKilled": False, "ExitCode": 137, "FinishedAt": "2026-01-01T00:00:10.5Z", **state}
        return {"State": found, "HostConfig": {"Memory": memory}}

    now = 1767225611.0
    assert oom.in_doubt(item(), now)
    assert not oom.in_doubt(item(), now + 121)
    assert not oom.in_doubt(item(memory=0), now)
    for state in ({"Running": True}, {"OOMKilled": True}, {"ExitCode": 0}, {"FinishedAt": ""}, {"FinishedAt": "0001-01-01T00:00:00Z"}):
        assert not oom.in_doubt(item(**state), now), state
