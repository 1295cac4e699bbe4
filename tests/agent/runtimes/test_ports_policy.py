"""Ports, and what the node's own policy forbids whatever the panel says."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from agent.protocol.messages import Mount, PortBinding
from agent.runtimes.base import RuntimeFailure


async def test_a_published_port_answers(docker_bench: Any, port: int, poll: Any) -> None:
    container_id = await docker_bench.started(
        command=["sh", "-c", "echo found > /tmp/index.html; exec httpd -f -p 8080 -h /tmp"], ports=[PortBinding(container_port=8080, host_port=port)]
    )

    async def answers() -> bool:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            data = await asyncio.wait_for(reader.read(), 5)
            writer.close()
        except OSError:
            return False
        return b"found" in data

    await poll(answers)
    assert (await docker_bench.runtime.inspect(container_id)).ports[0].host_port == port


async def test_a_process_is_told_the_host_port(process_bench: Any, port: int) -> None:
    container_id = await process_bench.started(
        command=["sh", "-c", "echo $PORT $SERVER_PORT $LORMAS_PORT_25565 $OTHER"],
        env={"SERVER_PORT": "25565", "OTHER": "25565"},
        ports=[PortBinding(container_port=25565, host_port=port)],
    )
    await process_bench.ended(container_id)
    assert (await process_bench.text(container_id))["stdout"].decode() == f"{port} {port} {port} 25565\n"


async def test_a_port_that_is_in_use_is_told(bench: Any, port: int) -> None:
    """A12: one port, one winner."""
    ports = [PortBinding(container_port=8080, host_port=port)]
    if bench.kind == "fake":
        await bench.started(ports=ports)
        container_id = await bench.create(ports=ports)
        with pytest.raises(RuntimeFailure) as caught:
            await bench.runtime.start(container_id)
    else:
        with socket.socket() as holder:
            holder.bind(("0.0.0.0", port))
            holder.listen()
            container_id = await bench.create(ports=ports)
            with pytest.raises(RuntimeFailure) as caught:
                await bench.runtime.start(container_id)
        assert await bench.state(container_id) == "created"
        assert (await bench.runtime.start(container_id)).state == "running"
    assert caught.value.code == "port_taken"


DENIED: dict[str, dict[str, Any]] = {
    "privileged": {"privileged": True},
    "host network": {"network_mode": "host"},
    "another container's network": {"network_mode": "container:abc"},
    "capability": {"cap_add": ["NET_ADMIN"]},
    "all capabilities": {"cap_add": ["ALL"]},
    "device": {"devices": ["/dev/kvm"]},
    "bind": {"mounts": [Mount(kind="bind", target="/host", source="/")]},
    "engine socket": {"mounts": [Mount(kind="bind", target="/s", source="/var/run/docker.sock")]},
    "odd mount": {"mounts": [Mount(kind="volume", target="/s", source="other")]},  # type: ignore[arg-type]
}


@pytest.mark.parametrize("what", DENIED)
async def test_the_nodes_policy_can_not_be_overruled_by_the_panel(bench: Any, what: str) -> None:
    """A01 A05 A06 A07 A13: refused by the agent itself, and nothing is made."""
    spec = bench.spec("forever", **DENIED[what])
    with pytest.raises(RuntimeFailure) as caught:
        await bench.runtime.create(spec, epoch=1, operation_id="op-1")
    assert caught.value.code == "policy_denied"
    assert await bench.runtime.list_owned() == []


INVALID: dict[str, dict[str, Any]] = {
    "relative mount": {"mounts": [Mount(kind="data", target="data")]},
    "mount with ..": {"mounts": [Mount(kind="data", target="/data/../etc")]},
    "mount on the root": {"mounts": [Mount(kind="data", target="/")]},
    "port out of range": {"ports": [PortBinding(container_port=80, host_port=70000)]},
    "port twice": {"ports": [PortBinding(container_port=80, host_port=30000), PortBinding(container_port=81, host_port=30000)]},
    "address": {"ports": [PortBinding(container_port=80, host_port=30000, host_ip="evil.example")]},
    "variable name": {"env": {"A=B": "c"}},
    "NUL": {"env": {"A": "b\0c"}},
}


@pytest.mark.parametrize("what", INVALID)
async def test_what_is_not_well_formed_is_refused(bench: Any, what: str) -> None:
    with pytest.raises(RuntimeFailure) as caught:
        await bench.runtime.create(bench.spec("forever", **INVALID[what]), epoch=1, operation_id="op-1")
    assert caught.value.code == "invalid_spec"


def test_the_policy_file_opens_only_what_it_names(tmp_path: Any) -> None:
    from agent.runtimes.policy import LocalPolicy, load_policy

    assert load_policy(tmp_path) == LocalPolicy()
    (tmp_path / "policy.json").write_text('{"cap_add": ["cap_net_admin"], "bind_prefixes": ["/srv/shared"], "port_min": 20000}')
    policy = load_policy(tmp_path)
    assert (policy.cap_add, policy.bind_prefixes, policy.port_min, policy.privileged) == (frozenset({"NET_ADMIN"}), ("/srv/shared",), 20000, False)
    for broken in ("{", '{"privilegd": true}', '{"privileged": "yes"}'):
        (tmp_path / "policy.json").write_text(broken)
        with pytest.raises(RuntimeFailure):
            load_policy(tmp_path)


def test_a_bind_prefix_is_a_folder_and_not_the_start_of_a_name() -> None:
    """B02: /srv/app10 is not under /srv/app1."""
    from agent.protocol.messages import ContainerSpec
    from agent.runtimes.policy import LocalPolicy, check

    policy = LocalPolicy(bind_prefixes=("/srv/app1",))

    def mount(source: str) -> ContainerSpec:
        return ContainerSpec(container_id="x", name="x", image="x", mounts=[Mount(kind="bind", target="/d", source=source)])

    check(mount("/srv/app1/data"), policy)
    check(mount("/srv/app1"), policy)
    for source in ("/srv/app10", "/srv/app1/../app2", "/srv", "srv/app1"):
        with pytest.raises(RuntimeFailure):
            check(mount(source), policy)
