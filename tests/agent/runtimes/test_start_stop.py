"""start, stop, kill, pause."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from agent.protocol.messages import StopSpec
from agent.runtimes.base import RuntimeFailure


async def test_start_runs_it_and_starting_again_changes_nothing(bench: Any) -> None:
    container_id = await bench.create("forever")
    first = await bench.runtime.start(container_id)
    second = await bench.runtime.start(container_id)
    assert (first.state, second.state, second.started_at) == ("running", "running", first.started_at)


async def test_start_of_what_is_not_there_is_refused(bench: Any) -> None:
    with pytest.raises(RuntimeFailure) as caught:
        await bench.runtime.start("5b6ae3c1-0000-4000-8000-000000000000")
    assert caught.value.code == "no_such_container"


async def test_a_command_that_does_not_exist_is_a_failed_start(real_bench: Any) -> None:
    container_id = await real_bench.create("no-such-command")
    with pytest.raises(RuntimeFailure) as caught:
        await real_bench.runtime.start(container_id)
    assert caught.value.code == "start_failed"
    assert await real_bench.state(container_id) != "running"


async def test_the_exit_code_is_kept(bench: Any) -> None:
    container_id = await bench.started("hello-exit-3")
    report = await bench.ended(container_id)
    assert report.exit_code == 3
    assert report.finished_at
    assert not report.oom_killed


async def test_it_can_be_started_again_after_its_end(bench: Any) -> None:
    container_id = await bench.started("hello-exit-3")
    await bench.ended(container_id)
    assert (await bench.runtime.start(container_id)).state in ("running", "exited")
    assert (await bench.ended(container_id)).exit_code == 3


async def test_stop_asks_with_the_signal_and_lets_it_end_by_itself(real_bench: Any) -> None:
    container_id = await real_bench.create("polite")
    reading = asyncio.ensure_future(real_bench.text(container_id))
    await asyncio.sleep(0)
    await real_bench.runtime.start(container_id)
    await real_bench.text(container_id, until_text=b"ready")
    begun = time.monotonic()
    report = await real_bench.runtime.stop(container_id, StopSpec(grace_seconds=10))
    assert (report.state, report.exit_code) == ("exited", 5)
    assert time.monotonic() - begun < 5
    assert (await reading)["stdout"] == b"ready\nbye\n"


async def test_what_ignores_the_signal_is_killed_after_its_grace(bench: Any) -> None:
    """R55: grace, then SIGKILL; done within grace + 10 s."""
    container_id = await bench.started("stubborn")
    await bench.text(container_id, until_text=b"ready")
    begun = time.monotonic()
    report = await bench.runtime.stop(container_id, StopSpec(grace_seconds=0.5))
    took = time.monotonic() - begun
    assert (report.state, report.exit_code) == ("exited", 137)
    assert 0.4 < took < 10


async def test_stop_by_a_line_on_its_console(bench: Any) -> None:
    container_id = await bench.started("console")
    await bench.text(container_id, until_text=b"ready")
    report = await bench.runtime.stop(container_id, StopSpec(command="stop", grace_seconds=10))
    assert (report.state, report.exit_code) == ("exited", 0)


async def test_stopping_what_does_not_run_or_is_gone_is_success(bench: Any) -> None:
    container_id = await bench.create("forever")
    assert (await bench.runtime.stop(container_id, StopSpec())).state == "created"
    await bench.runtime.remove(container_id)
    assert (await bench.runtime.stop(container_id, StopSpec())).state == "removed"
    assert (await bench.runtime.kill(container_id)).state == "removed"


async def test_kill_ends_it_at_once(bench: Any) -> None:
    container_id = await bench.started("stubborn")
    begun = time.monotonic()
    report = await bench.runtime.kill(container_id)
    assert (report.state, report.exit_code) == ("exited", 137)
    assert time.monotonic() - begun < 5
    assert (await bench.runtime.kill(container_id)).state == "exited"


async def test_pause_freezes_and_a_frozen_one_can_be_stopped(bench: Any) -> None:
    container_id = await bench.started("forever")
    assert (await bench.runtime.pause(container_id)).state == "paused"
    assert (await bench.runtime.unpause(container_id)).state == "running"
    assert (await bench.runtime.pause(container_id)).state == "paused"
    begun = time.monotonic()
    report = await bench.runtime.stop(container_id, StopSpec(grace_seconds=3))
    assert report.state == "exited"
    assert time.monotonic() - begun < 8


async def test_what_does_not_run_can_not_be_paused(bench: Any) -> None:
    container_id = await bench.create("forever")
    with pytest.raises(RuntimeFailure) as caught:
        await bench.runtime.pause(container_id)
    assert caught.value.code == "not_running"


async def test_standard_input_reaches_the_main_process_and_stays_open(bench: Any) -> None:
    container_id = await bench.started("console")
    await bench.text(container_id, until_text=b"ready")
    await bench.runtime.write_stdin(container_id, b"one\n")
    await bench.runtime.write_stdin(container_id, b"two\n")
    assert b"one" in (await bench.text(container_id, until_text=b"two"))["stdout"]
    assert await bench.state(container_id) == "running"
    await bench.runtime.kill(container_id)
    with pytest.raises(RuntimeFailure) as caught:
        await bench.runtime.write_stdin(container_id, b"three\n")
    assert caught.value.code == "not_running"
