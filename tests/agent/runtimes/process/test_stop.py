"""Stop, kill, pause, remove: asked first, then made; the whole of it, and nothing else."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from pathlib import Path

import pytest

from agent.protocol.messages import StopSpec
from agent.runtimes.base import ResumePoint, RuntimeFailure
from agent.runtimes.process import ProcessRuntime
from agent.runtimes.process.folders import is_stopped
from agent.runtimes.process.shim import start_time
from tests.agent.runtimes.process.rig import INSTANCE, Taken, created, ended, processes, python, shell, shims, started, take_until, until

POLITE = """
import signal, sys, time
def bye(number, frame):
    print('got', signal.Signals(number).name, flush=True); sys.exit(7)
for number in (signal.SIGTERM, signal.SIGINT): signal.signal(number, bye)
print('ready', flush=True)
while True: time.sleep(0.2)
"""
STUBBORN = POLITE.replace("sys.exit(7)", "pass")


async def said(runtime: ProcessRuntime, container_id: str, word: bytes, taken: Taken | None = None) -> Taken:
    taken = taken or Taken()
    reader = await runtime.output(container_id, taken.resume())
    return taken if word in taken.stdout else await take_until(reader, lambda t: word in t.stdout, into=taken)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
async def test_stop_asks_with_the_signal_and_gives_its_exit_code(runtime: ProcessRuntime, name: str) -> None:
    container_id = await started(runtime, python(POLITE))
    taken = await said(runtime, container_id, b"ready")
    report = await runtime.stop(container_id, StopSpec(signal=name, grace_seconds=20))
    assert (report.state, report.exit_code) == ("exited", 7)
    assert report.finished_at >= report.started_at
    await said(runtime, container_id, f"got {name}".encode(), taken)
    again = await runtime.stop(container_id, StopSpec())
    assert (again.state, again.exit_code) == ("exited", 7)
    assert (await runtime.start(container_id)).state == "running"


async def test_stop_by_a_line_on_its_console(runtime: ProcessRuntime) -> None:
    container_id = await started(runtime, shell("while read line; do echo got $line; [ $line = end ] && exit 5; done"))
    await runtime.write_stdin(container_id, b"hello\n")
    report = await runtime.stop(container_id, StopSpec(command="end", grace_seconds=20))
    assert report.exit_code == 5


async def test_who_does_not_listen_is_killed_after_the_grace_with_all_it_started(runtime: ProcessRuntime) -> None:
    container_id = await started(runtime, shell("trap '' TERM; sleep 600 & setsid sleep 600 & (trap '' TERM; sleep 600) & wait; wait; sleep 600"))
    await until(lambda: len(processes(container_id)) >= 4, what="all of its processes")
    begun = time.monotonic()
    report = await runtime.stop(container_id, StopSpec(grace_seconds=0.5))
    assert 0.4 < time.monotonic() - begun < 8
    assert (report.state, report.exit_code) == ("exited", 137)
    assert not processes(container_id)


async def test_what_outlives_the_main_process_is_killed_with_it(runtime: ProcessRuntime) -> None:
    container_id = await started(runtime, shell("sleep 600 & setsid sleep 600 & exit 0"))
    report = await ended(runtime, container_id)
    assert report.exit_code == 0
    await until(lambda: not processes(container_id), what="the end of what it left")


async def test_a_frozen_container_can_be_stopped(runtime: ProcessRuntime) -> None:
    container_id = await started(runtime, python(POLITE))
    await said(runtime, container_id, b"ready")
    await runtime.pause(container_id)
    report = await runtime.stop(container_id, StopSpec(grace_seconds=20))
    assert report.exit_code == 7


async def test_kill_is_at_once_and_other_signals_are_only_sent(runtime: ProcessRuntime) -> None:
    container_id = await started(runtime, python(STUBBORN))
    taken = await said(runtime, container_id, b"ready")
    report = await runtime.kill(container_id, "SIGTERM")
    assert report.state == "running"
    await said(runtime, container_id, b"got SIGTERM", taken)
    report = await runtime.kill(container_id)
    assert (report.state, report.exit_code) == ("exited", 137)
    assert (await runtime.kill(container_id)).state == "exited"
    assert (await runtime.kill("00000000-0000-0000-0000-000000000000")).state == "removed"
    with pytest.raises(RuntimeFailure) as refused:
        await runtime.kill(await started(runtime, shell("sleep 600")), "SIGNONSENSE")
    assert refused.value.code == "bad_payload"


async def test_a_killed_frozen_container_ends(runtime: ProcessRuntime) -> None:
    container_id = await started(runtime, shell("sleep 600; true"))
    await runtime.pause(container_id)
    assert (await runtime.kill(container_id)).state == "exited"


async def test_pause_freezes_all_of_it_and_unpause_thaws(runtime: ProcessRuntime) -> None:
    container_id = await started(
        runtime, shell("(setsid sh -c 'while :; do echo child; sleep 0.05; done') & while :; do echo main; sleep 0.05; done")
    )
    taken = await said(runtime, container_id, b"child")
    assert (await runtime.pause(container_id)).state == "paused"
    assert (await runtime.pause(container_id)).state == "paused"
    assert [report.state for report in await runtime.list_owned()] == ["paused"]
    await until(lambda: all(map(is_stopped, processes(container_id))), what="a freeze of all")  # one may be in the kernel still when the signal comes
    assert (await runtime.unpause(container_id)).state == "running"
    await until(lambda: not any(map(is_stopped, processes(container_id))), what="a thaw")
    more = len(taken.stdout) + 50
    await take_until(await runtime.output(container_id, taken.resume()), lambda t: len(t.stdout) > more, into=taken)
    await runtime.kill(container_id)
    with pytest.raises(RuntimeFailure) as refused:
        await runtime.pause(container_id)
    assert refused.value.code == "not_running"


async def test_one_that_waits_for_its_stopped_child_to_become_a_program_is_paused(runtime: ProcessRuntime) -> None:
    """A shell is such a one for a moment with each command that it starts."""
    container_id = await started(runtime, python("import ctypes, time; ctypes.CDLL(None).vfork(); time.sleep(600)"))

    await until(lambda: len(processes(container_id)) == 2, what="its child")
    assert (await runtime.pause(container_id)).state == "paused"
    assert all(map(is_stopped, processes(container_id)))
    assert [report.state for report in await runtime.list_owned()] == ["paused"]
    assert (await runtime.unpause(container_id)).state == "running"
    await runtime.kill(container_id)
    assert not processes(container_id)


async def test_remove_ends_it_and_takes_its_data_unless_kept(runtime: ProcessRuntime, data_dir: Path) -> None:
    container_id = await started(runtime, shell("echo precious > file; sleep 600"))
    data = runtime.data_dir(container_id)
    await until(lambda: (data / "file").exists() and (data / "file").read_text(), what="its file")
    await runtime.remove(container_id, keep_data=True)
    assert not processes(container_id)
    assert await runtime.inspect(container_id) is None
    assert await runtime.list_owned() == []
    assert (data / "file").read_text() == "precious\n"

    await created(runtime, shell("cat file"), container_id=container_id)
    reader = await runtime.output(container_id, ResumePoint())
    await runtime.start(container_id)
    await take_until(reader, lambda taken: taken.stdout == b"precious\n")
    await runtime.remove(container_id)
    assert not data.exists()
    await runtime.remove(container_id)
    await runtime.remove("00000000-0000-0000-0000-000000000000")
    leftovers = [path for path in data_dir.rglob("*") if container_id in path.name or path.name.startswith(".")]
    assert leftovers == []


async def test_removing_never_follows_a_link_out_of_the_folder(runtime: ProcessRuntime, tmp_path: Path) -> None:
    """SECURITY B06."""
    outside = tmp_path / "canary"
    outside.mkdir()
    (outside / "file").write_text("alive")
    container_id = await started(runtime, shell(f"ln -s {outside} link; echo done; sleep 600"))
    await said(runtime, container_id, b"done")
    await runtime.remove(container_id)
    assert (outside / "file").read_text() == "alive"


async def test_a_pid_that_is_somebody_elses_by_now_is_never_signalled(runtime: ProcessRuntime, data_dir: Path) -> None:
    """The record says pid N runs; N is a stranger that began later."""
    container_id = await started(runtime, shell("sleep 600"))
    report = await runtime.inspect(container_id)
    assert report is not None
    record = next(data_dir.rglob(f"{container_id}/run.json"))
    ours = json.loads(record.read_text())
    while True:  # /proc tells birth in ticks of 10 ms; a real heir of a pid comes after the death of its holder, much later
        stranger = await asyncio.create_subprocess_exec("sleep", "600", start_new_session=True)
        if start_time(stranger.pid) not in (ours["shim_start"], ours["pid_start"]):
            break
        stranger.kill()
        await stranger.wait()
    try:
        shim = int(report.runtime_ref)
        os.kill(shim, signal.SIGKILL)
        await until(lambda: not shims(data_dir), what="the shim's end")
        found = json.loads(record.read_text())
        record.write_text(json.dumps({**found, "pid": stranger.pid, "shim_pid": stranger.pid}))
        assert (await runtime.kill(container_id)).state == "exited"
        await runtime.stop(container_id, StopSpec(grace_seconds=0))
        with pytest.raises(RuntimeFailure):
            await runtime.pause(container_id)
        assert stranger.returncode is None
        assert Path("/proc", str(stranger.pid), "stat").read_bytes().rpartition(b")")[2].split()[0] in (b"S", b"R")
        await runtime.remove(container_id)
        assert Path("/proc", str(stranger.pid)).exists()
    finally:
        stranger.kill()
        await stranger.wait()


async def test_a_killed_shim_takes_its_container_along_and_is_told(runtime: ProcessRuntime, data_dir: Path) -> None:
    """Nobody would read its output or learn its exit code any more; and a second start must not make a twin."""
    container_id = await started(runtime, shell("sleep 600 & setsid sleep 600 & sleep 600; true"))
    await until(lambda: len(processes(container_id)) >= 4, what="all of its processes")
    report = await runtime.inspect(container_id)
    assert report is not None
    os.kill(int(report.runtime_ref), signal.SIGKILL)
    report = await ended(runtime, container_id)
    assert report.exit_code is None
    assert report.error
    old = set(processes(container_id))
    await runtime.start(container_id)
    await until(lambda: not old & set(processes(container_id)), what="the end of the old run's processes")
    await until(lambda: len(processes(container_id)) >= 4, what="the new run")
    await runtime.remove(container_id)
    await until(lambda: not processes(container_id), what="the end of everything")


async def test_a_reboot_is_no_crash(runtime: ProcessRuntime, data_dir: Path) -> None:
    """SECURITY R14: what ran before the machine was restarted has ended, whoever has its pid now."""
    container_id = await started(runtime, shell("sleep 600"))
    record = next(data_dir.rglob(f"{container_id}/run.json"))
    found = record.read_text()
    record.write_text(json.dumps({**json.loads(found), "boot_id": "another-boot"}))
    report = await runtime.inspect(container_id)
    assert report is not None
    assert (report.state, report.exit_code, report.cause) == ("exited", None, "engine")
    record.write_text(found)


async def test_containers_of_another_panel_are_not_seen_nor_touched(runtime: ProcessRuntime, data_dir: Path) -> None:
    """SECURITY A11."""
    container_id = await started(runtime, shell("sleep 600"))
    other = ProcessRuntime.from_config(data_dir=data_dir)
    await other.open(instance="panel-2")
    assert await other.list_owned() == []
    assert await other.inspect(container_id) is None
    await other.remove(container_id)
    await other.kill(container_id)
    await other.stop(container_id, StopSpec(grace_seconds=0))
    assert await other.stats([container_id]) == []
    for verb in (other.start(container_id), other.pause(container_id), other.write_stdin(container_id, b"x"), other.exec(container_id, ["true"])):
        with pytest.raises(RuntimeFailure):
            await verb
    with pytest.raises(RuntimeFailure) as refused:
        await created(other, shell("true"), container_id=container_id)
    assert refused.value.code == "name_taken"
    await other.close()
    report = await runtime.inspect(container_id)
    assert report is not None
    assert report.state == "running"


async def test_a_listing_that_can_not_be_made_whole_fails(runtime: ProcessRuntime, data_dir: Path) -> None:
    """SECURITY R11: never empty, never a part."""
    container_id = await created(runtime, shell("true"))
    await created(runtime, shell("true"))
    file = next(data_dir.rglob(f"{container_id}/spec.json"))
    kept = file.read_bytes()
    file.write_bytes(b"{")
    with pytest.raises(RuntimeFailure):
        await runtime.list_owned()
    file.write_bytes(kept)
    assert len(await runtime.list_owned()) == 2

    folder = data_dir / "process" / "containers"
    folder.rename(folder.with_name("away"))
    with pytest.raises(RuntimeFailure):
        await runtime.list_owned()
    with pytest.raises(RuntimeFailure) as down:
        await runtime.info()
    assert down.value.code == "engine_down"
    folder.with_name("away").rename(folder)
    assert len(await runtime.list_owned()) == 2
    assert (await runtime.info()).isolates is False


async def test_a_root_that_can_not_be_made_is_engine_down(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    runtime = ProcessRuntime(root=tmp_path / "file" / "root")
    with pytest.raises(RuntimeFailure) as refused:
        await runtime.open(instance=INSTANCE)
    assert refused.value.code == "engine_down"
