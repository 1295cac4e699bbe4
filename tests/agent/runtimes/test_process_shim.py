"""The process runtime's shim: what outlives the agent, and what is killed with what."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from agent.protocol.messages import Limits, Mount, StopSpec
from agent.runtimes.base import ResumePoint, RuntimeFailure
from agent.runtimes.process import ProcessRuntime, shim
from agent.runtimes.process.runtime import ProcessRuntime as Inner
from tests.agent.runtimes.conftest import until

ROOT = Path(__file__).parents[3]


def run_of(bench: Any, container_id: str) -> Any:
    return bench.runtime._folders.run(container_id)


def alive(pid: int) -> bool:
    return shim.start_time(pid) is not None


async def gone(pid: int, *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while alive(pid):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


AGENT = """
import asyncio, sys
from pathlib import Path
from agent.protocol.messages import ContainerSpec
from agent.runtimes.process import ProcessRuntime
async def main():
    runtime = ProcessRuntime(root=Path(sys.argv[1]))
    await runtime.open(instance="i")
    spec = ContainerSpec(container_id="one", name="x", image="x", command=["sh", "-c", "echo hi; sleep 0.8; echo later; exit 6"])
    await runtime.create(spec, epoch=1, operation_id="o")
    await runtime.start("one")
    sys.stdout.write("ready\\n"); sys.stdout.flush()
    await asyncio.sleep(60)
asyncio.run(main())
"""


async def test_killing_the_agent_leaves_the_container_its_output_and_its_exit_code(tmp_path: Path, poll: Any) -> None:
    """R03: kill -9 of the agent; nothing of the container is touched or lost."""
    process = subprocess.Popen(
        [sys.executable, "-c", AGENT, str(tmp_path)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    os.killpg(os.getpgid(process.pid), 0)
    process.kill()
    process.wait()
    runtime = ProcessRuntime(root=tmp_path)
    await runtime.open(instance="i")
    report = await runtime.inspect("one")
    assert report is not None
    assert report.state == "running"

    async def ended() -> bool:
        seen = await runtime.inspect("one")
        return seen is not None and seen.state == "exited"

    await poll(ended)
    assert (await runtime.inspect("one")).exit_code == 6  # type: ignore[union-attr]
    reader = await runtime.output("one", ResumePoint())
    assert b"".join([item.data async for item in reader]) == b"hi\nlater\n"  # type: ignore[union-attr]
    await runtime.remove("one")
    assert not list((tmp_path / "containers").iterdir())


async def test_what_the_command_left_behind_is_killed_with_it(process_bench: Any) -> None:
    """As in an engine: the container ends with its main process, daemons in sessions of their own too."""
    script = "setsid sleep 4711 & sleep 4712 & read go; exit 0"
    container_id = await process_bench.started(command=["sh", "-c", script])
    shim_pid = run_of(process_bench, container_id).shim_pid

    async def all_there() -> list[int]:
        family = [pid for pid, _ in shim.tree(shim_pid)]
        return family if len(family) >= 3 else []

    family = await until(all_there)
    await process_bench.runtime.write_stdin(container_id, b"go\n")
    assert (await process_bench.ended(container_id)).exit_code == 0
    for pid in [*family, shim_pid]:
        await gone(pid)


async def test_a_daemon_that_forked_twice_is_counted_and_killed(process_bench: Any) -> None:
    script = "(setsid sh -c 'sleep 4713 &' &) ; sleep 4714"
    container_id = await process_bench.started(command=["sh", "-c", script])

    async def all_there() -> bool:
        (sample,) = await process_bench.runtime.stats([container_id])
        return bool(sample.pids >= 3)

    await until(all_there)
    family = [pid for pid, _ in shim.tree(run_of(process_bench, container_id).shim_pid)]
    await process_bench.runtime.kill(container_id)
    for pid in family:
        await gone(pid)


async def test_killing_the_shim_ends_the_container_and_is_told(process_bench: Any, poll: Any) -> None:
    container_id = await process_bench.started("forever")
    run = run_of(process_bench, container_id)
    os.kill(run.shim_pid, signal.SIGKILL)
    await gone(run.pid)
    report = await process_bench.runtime.inspect(container_id)
    assert (report.state, report.exit_code, report.cause) == ("exited", None, "external")
    assert "supervisor" in report.error
    assert (await process_bench.runtime.start(container_id)).state == "running"


async def test_a_pid_that_somebody_else_has_by_now_gets_no_signal(process_bench: Any) -> None:
    """A pid is only a number: the start time must fit too."""
    bystander = subprocess.Popen(["sleep", "60"], start_new_session=True)
    try:
        container_id = await process_bench.started("hello-exit-3")
        await process_bench.ended(container_id)
        file = process_bench.runtime._folders.of(container_id) / "run.json"
        record = json.loads(file.read_text())
        del record["exit_code"]
        file.write_text(json.dumps({**record, "shim_pid": bystander.pid, "pid": bystander.pid}))
        assert (await process_bench.runtime.inspect(container_id)).state == "exited"
        await process_bench.runtime.kill(container_id)
        await process_bench.runtime.stop(container_id, StopSpec(grace_seconds=0.1))
        await process_bench.runtime.remove(container_id)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


async def test_a_restart_of_the_machine_is_told_from_an_exit(process_bench: Any) -> None:
    """R14."""
    container_id = await process_bench.started("hello-exit-3")
    await process_bench.ended(container_id)
    file = process_bench.runtime._folders.of(container_id) / "run.json"
    record = json.loads(file.read_text())
    del record["exit_code"]
    file.write_text(json.dumps({**record, "boot_id": "another"}))
    report = await process_bench.runtime.inspect(container_id)
    assert (report.state, report.cause, report.exit_code) == ("exited", "engine", None)
    assert "restarted" in report.error


async def test_too_much_memory_kills_it_and_is_told(process_bench: Any) -> None:
    script = "import time; data = bytearray(200_000_000); data[::4096] = b'x' * len(data[::4096]); time.sleep(60)"
    container_id = await process_bench.started(command=[sys.executable, "-c", script], limits=Limits(memory_bytes=64 * 1024 * 1024))
    report = await process_bench.ended(container_id)
    assert (report.exit_code, report.oom_killed) == (137, True)


async def test_too_many_processes_are_killed(process_bench: Any) -> None:
    container_id = await process_bench.started(command=["sh", "-c", "for i in 1 2 3 4 5 6 7 8 9; do sleep 100 & done; wait"], limits=Limits(pids=5))
    report = await process_bench.ended(container_id)
    assert report.error == "Killed: too many processes."


async def test_the_agents_own_secrets_do_not_reach_the_command(process_bench: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORMAS_NODE_TOKEN", "canary")
    container_id = await process_bench.started(command=["env"], env={"MINE": "yes"})
    await process_bench.ended(container_id)
    text = (await process_bench.text(container_id))["stdout"].decode()
    assert "canary" not in text
    assert "MINE=yes" in text
    session = await process_bench.runtime.exec(await process_bench.started(), ["env"])
    assert b"canary" not in b"".join([item.data async for item in session])


async def test_folders_of_a_data_mount_are_folders_of_the_data(process_bench: Any) -> None:
    container_id = await process_bench.started(
        command=["sh", "-c", "pwd; echo $HOME; echo $LORMAS_DATA_DIR; exec sleep 100"],
        mounts=[Mount(kind="data", target="/home/container")],
        working_dir="/home/container/server",
    )
    data = process_bench.runtime.data_dir(container_id)
    text = (await process_bench.text(container_id, until_text=f"{data}\n{data}\n".encode()))["stdout"].decode()
    assert text == f"{data}/server\n{data}\n{data}\n"
    session = await process_bench.runtime.exec(container_id, ["pwd"], working_dir="/home/container")
    assert b"".join([item.data async for item in session]).decode().strip() == str(data)
    with pytest.raises(RuntimeFailure):
        await process_bench.runtime.exec(container_id, ["pwd"], working_dir="/home/container/no/such")


async def test_a_terminal_as_main_process(process_bench: Any) -> None:
    container_id = await process_bench.started(command=["sh", "-c", "test -t 0 && echo tty; read line; echo got $line"], tty=True)
    await process_bench.text(container_id, until_text=b"tty")
    await process_bench.runtime.write_stdin(container_id, b"word\n")
    await process_bench.ended(container_id)
    assert b"got word" in (await process_bench.text(container_id))["stdout"]


async def test_a_reader_who_never_comes_costs_only_so_much_disk_and_is_told_the_number(tmp_path: Path) -> None:
    """F10, J09: the spool is bounded; what fell out is a gap with its count."""
    runtime = Inner(root=tmp_path, segment_bytes=20_000, spool_bytes=100_000)
    await runtime.open(instance="i")
    from agent.protocol.messages import ContainerSpec

    script = 'n=0; while [ $n -lt 30000 ]; do n=$((n+1)); echo "line $n"; done'
    await runtime.create(ContainerSpec(container_id="one", name="x", image="x", command=["sh", "-c", script]), epoch=1, operation_id="o")
    await runtime.start("one")
    while (await runtime.inspect("one")).state != "exited":  # type: ignore[union-attr]
        await asyncio.sleep(0.05)
    spooled = sum(path.stat().st_size for path in (tmp_path / "containers/one/spool/1").iterdir())
    assert spooled < 250_000
    reader = await runtime.output("one", ResumePoint())
    items = [item async for item in reader]  # type: ignore[union-attr]
    gap = items[0]
    lines = b"".join(item.data for item in items[1:]).split(b"\n")[:-1]
    whole = [line for line in lines if line.startswith(b"line ")]
    assert gap.lines is not None
    assert gap.lines + len(lines) == 30_000
    assert whole[-1] == b"line 30000"
    await runtime.remove("one")


async def test_standard_input_that_is_not_read_does_not_hang_anybody(process_bench: Any) -> None:
    container_id = await process_bench.started("forever")
    begun = time.monotonic()
    with pytest.raises(RuntimeFailure):
        for _ in range(40):
            await process_bench.runtime.write_stdin(container_id, b"x" * 60_000)
    assert time.monotonic() - begun < 20
    assert (await process_bench.runtime.kill(container_id)).exit_code == 137


async def test_a_ports_owner_can_start_again_at_once(process_bench: Any, port: int, poll: Any) -> None:
    """A port in TIME_WAIT is free for us, as it is for the command."""
    from agent.protocol.messages import PortBinding

    script = f"import socket; s = socket.create_server(('0.0.0.0', {port})); c, _ = s.accept(); c.close()"
    container_id = await process_bench.started(command=[sys.executable, "-c", script], ports=[PortBinding(container_port=80, host_port=port)])

    async def talked() -> bool:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
                connection.recv(1)
        except OSError:
            return False
        return True

    await poll(talked)
    await process_bench.ended(container_id)
    assert (await process_bench.runtime.start(container_id)).state == "running"
