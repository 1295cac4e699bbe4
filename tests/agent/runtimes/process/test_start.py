"""Create and start: what a process gets, what it must not get, and who is refused."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from agent.protocol.messages import Limits, Mount, PortBinding
from agent.runtimes.base import ResumePoint, RuntimeFailure
from agent.runtimes.process import ProcessRuntime
from tests.agent.runtimes.process.rig import MARK, created, ended, free_port, processes, python, shell, spec_of, started, take_all, until


async def environment_seen(runtime: ProcessRuntime, **more: object) -> tuple[dict[str, str], str]:
    container_id = await created(runtime, python("import json,os;print(json.dumps([dict(os.environ),os.getcwd()]))"), **more)
    reader = await runtime.output(container_id, ResumePoint())
    await runtime.start(container_id)
    found = json.loads((await take_all(reader)).stdout)
    return found[0], found[1]


async def test_it_is_created_not_started_and_then_runs(runtime: ProcessRuntime) -> None:
    spec = spec_of(shell("sleep 600"))
    report = await runtime.create(spec, epoch=3, operation_id="op-7")
    assert (report.state, report.epoch, report.operation_id, report.image) == ("created", 3, "op-7", "none")
    assert not processes(spec.container_id)
    report = await runtime.start(spec.container_id)
    assert report.state == "running"
    assert report.started_at.endswith("Z")
    assert processes(spec.container_id)
    again = await runtime.start(spec.container_id)
    assert (again.state, again.runtime_ref) == ("running", report.runtime_ref)


async def test_a_second_create_gives_what_is_there(runtime: ProcessRuntime) -> None:
    spec = spec_of(shell("sleep 600"))
    await runtime.create(spec, epoch=1, operation_id="first")
    report = await runtime.create(spec, epoch=2, operation_id="second")
    assert (report.operation_id, report.epoch) == ("first", 1)
    assert len(await runtime.list_owned()) == 1


async def test_without_a_process_command_entrypoint_and_command_are_used(runtime: ProcessRuntime) -> None:
    container_id = await created(runtime, [], entrypoint=["sh", "-c"], command=["echo made of two"])
    reader = await runtime.output(container_id, ResumePoint())
    await runtime.start(container_id)
    assert (await take_all(reader)).stdout == b"made of two\n"
    with pytest.raises(RuntimeFailure) as refused:
        await created(runtime, [])
    assert refused.value.code == "invalid_spec"


async def test_nothing_of_the_agents_environment_is_inside(runtime: ProcessRuntime, monkeypatch: pytest.MonkeyPatch) -> None:
    """SECURITY C05, I07: neither in the environment of the process, nor of its shim, nor on a command line."""
    monkeypatch.setenv("LORMAS_NODE_TOKEN", "canary-of-the-agent")
    monkeypatch.setenv("DATABASE_URL", "canary-of-the-agent")
    environment, _ = await environment_seen(runtime, env={"SECRET_OF_THE_CONTAINER": "canary-of-the-container"})
    assert "canary-of-the-agent" not in str(environment)
    assert environment["SECRET_OF_THE_CONTAINER"] == "canary-of-the-container"

    container_id = await started(runtime, shell("sleep 600"), env={"SECRET_OF_THE_CONTAINER": "canary-of-the-container"})
    report = await runtime.inspect(container_id)
    assert report is not None
    shim = Path("/proc", report.runtime_ref)
    everything = b"".join(Path("/proc", str(pid), "environ").read_bytes() for pid in processes(container_id))
    assert b"canary-of-the-agent" not in everything + (shim / "environ").read_bytes()
    lines = (shim / "cmdline").read_bytes() + b"".join(Path("/proc", str(pid), "cmdline").read_bytes() for pid in processes(container_id))
    assert b"canary" not in lines
    session = await runtime.exec(container_id, shell("env"))
    seen = b"".join([output.data async for output in session])
    assert b"canary-of-the-agent" not in seen
    assert b"canary-of-the-container" in seen


async def test_values_reach_the_process_as_they_are(runtime: ProcessRuntime) -> None:
    """SECURITY C07: no shell has touched them."""
    tricky = {"A": "$HOME `id` $(id)", "B": "a\nb\n", "C": "'\"\\", "D": "", "E": "grüße 🐈", "F": " #x=y "}
    environment, _ = await environment_seen(runtime, env=tricky)
    assert {name: environment[name] for name in tricky} == tricky


async def test_home_temporary_files_and_data_are_inside_its_folder(runtime: ProcessRuntime) -> None:
    environment, folder = await environment_seen(runtime, env={"HOME": "/home/container", "PATH": ""})
    data = environment["LORMAS_DATA_DIR"]
    assert folder == data == str(runtime.data_dir(environment[MARK]))
    assert environment["HOME"] == data
    assert Path(environment["TMPDIR"]).is_dir()
    assert Path(environment["TMPDIR"]).is_relative_to(runtime.data_dir(environment[MARK]).parents[1])
    assert environment["PATH"]


async def test_a_working_folder_in_the_data_mount_is_mapped(runtime: ProcessRuntime) -> None:
    environment, folder = await environment_seen(runtime, working_dir="/home/container/app/bin")
    assert folder == environment["LORMAS_DATA_DIR"] + "/app/bin"
    environment, folder = await environment_seen(runtime, working_dir="/somewhere/else")
    assert folder == environment["LORMAS_DATA_DIR"]
    environment, folder = await environment_seen(runtime, working_dir="/home/container/../../../etc")
    assert folder == environment["LORMAS_DATA_DIR"]


async def test_the_port_it_is_told_is_the_host_port(runtime: ProcessRuntime) -> None:
    host = free_port()
    environment, _ = await environment_seen(
        runtime,
        env={"PORT": "8080", "SERVER_PORT": "8080", "OTHER": "8080", "SERVER_IP": "172.18.0.1"},
        ports=[PortBinding(container_port=8080, host_port=host, host_ip="127.0.0.1")],
    )
    assert (environment["PORT"], environment["SERVER_PORT"], environment["OTHER"]) == (str(host), str(host), "8080")
    assert environment["SERVER_IP"] == "127.0.0.1"
    environment, _ = await environment_seen(runtime, env={"PORT": "9"}, ports=[PortBinding(container_port=8080, host_port=host)])
    assert environment["PORT"] == "9"


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
async def test_a_port_in_use_is_said_at_start(runtime: ProcessRuntime, protocol: str) -> None:
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    with socket.socket(socket.AF_INET, kind) as rival:
        rival.bind(("127.0.0.1", 0))
        if protocol == "tcp":
            rival.listen()
        port = PortBinding(container_port=80, host_port=rival.getsockname()[1], protocol=protocol)  # type: ignore[arg-type]
        container_id = await created(runtime, shell("sleep 600"), ports=[port])
        with pytest.raises(RuntimeFailure) as refused:
            await runtime.start(container_id)
        assert refused.value.code == "port_taken"
        report = await runtime.inspect(container_id)
        assert report is not None
        assert report.state == "created"
        assert not processes(container_id)
    assert (await runtime.start(container_id)).state == "running"


async def test_a_command_that_is_not_there_is_said_at_start(runtime: ProcessRuntime) -> None:
    container_id = await created(runtime, ["/no/such/program"])
    with pytest.raises(RuntimeFailure) as refused:
        await runtime.start(container_id)
    assert refused.value.code == "start_failed"
    assert "/no/such/program" in refused.value.detail
    report = await runtime.inspect(container_id)
    assert report is not None
    assert report.state != "running"
    with pytest.raises(RuntimeFailure) as refused:
        await runtime.start("00000000-0000-0000-0000-000000000000")
    assert refused.value.code == "no_such_container"


@pytest.mark.parametrize("bad", ["../x", "a/b", "", ".", "..", ".hidden", "a\0b", "x" * 300])
async def test_a_name_that_is_no_folder_name_is_refused(runtime: ProcessRuntime, data_dir: Path, bad: str) -> None:
    """SECURITY B01: ids never become paths outside of the root."""
    with pytest.raises(RuntimeFailure):
        await runtime.create(
            spec_of(shell("true"), container_id="ok").__class__(container_id=bad, name="x", image="x", command=["true"]), epoch=1, operation_id="o"
        )
    assert not [path for path in data_dir.parent.iterdir() if path != data_dir]


@pytest.mark.parametrize(
    "forbidden",
    [
        {"privileged": True},
        {"network_mode": "host"},
        {"cap_add": ["SYS_ADMIN"]},
        {"devices": ["/dev/kvm"]},
        {"mounts": [Mount(kind="bind", source="/", target="/host")]},
    ],
)
async def test_what_the_node_forbids_is_refused_here_too(runtime: ProcessRuntime, forbidden: dict) -> None:
    """SECURITY A05, A06, A07, A13."""
    with pytest.raises(RuntimeFailure) as refused:
        await created(runtime, shell("true"), **forbidden)
    assert refused.value.code == "policy_denied"
    assert await runtime.list_owned() == []


async def test_it_may_have_many_files_but_leaves_no_core(runtime: ProcessRuntime) -> None:
    container_id = await created(runtime, shell("ulimit -n; ulimit -c"))
    reader = await runtime.output(container_id, ResumePoint())
    await runtime.start(container_id)
    files, core = (await take_all(reader)).stdout.split()
    assert int(files) >= 1024
    assert core == b"0"


async def test_too_much_memory_ends_it_and_is_said(runtime: ProcessRuntime) -> None:
    container_id = await started(runtime, python("b=bytearray(200<<20)\nimport time;time.sleep(600)"), limits=Limits(memory_bytes=64 << 20))
    report = await ended(runtime, container_id)
    assert report.oom_killed
    assert "memory" in report.error


async def test_too_many_processes_end_it(runtime: ProcessRuntime) -> None:
    """SECURITY A09."""
    container_id = await started(runtime, shell("for i in $(seq 30); do sleep 600 & done; wait"), limits=Limits(pids=10))
    report = await ended(runtime, container_id)
    assert "processes" in report.error
    await until(lambda: not processes(container_id), what="the end of all of them")


async def test_no_other_descriptor_of_the_agent_is_inside(runtime: ProcessRuntime, tmp_path: Path) -> None:
    leak = os.open(tmp_path / "leak", os.O_RDWR | os.O_CREAT)
    os.set_inheritable(leak, True)
    try:
        container_id = await created(runtime, python("import os;print(sorted(os.listdir('/proc/self/fd'),key=int))"))
        reader = await runtime.output(container_id, ResumePoint())
        await runtime.start(container_id)
        found = (await take_all(reader)).stdout.decode()
    finally:
        os.close(leak)
    assert found.strip() == "['0', '1', '2', '3']"  # 3: the listing itself
