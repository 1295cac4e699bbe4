"""The fake runtime does what its knobs say, and else what it is told."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from agent.protocol.messages import ContainerSpec, StopSpec
from agent.runtimes.base import ResumePoint, RuntimeEvent, RuntimeFailure
from agent.runtimes.fake import FakeRuntime, Knobs


def spec_of(name: str, *words: str) -> ContainerSpec:
    return ContainerSpec(container_id=name, name=name, image="any", command=list(words))


async def opened(**more: object) -> FakeRuntime:
    runtime = FakeRuntime(**more)  # type: ignore[arg-type]
    await runtime.open(instance="panel-1")
    return runtime


async def test_a_verb_is_as_slow_as_told_and_others_are_not() -> None:
    runtime = await opened(knobs=Knobs(slow_seconds={"start": 0.2, "kill": 0.0}))
    await runtime.create(spec_of("a"), epoch=1, operation_id="o")
    await runtime.create(spec_of("b"), epoch=1, operation_id="o")
    begun = time.monotonic()
    starting = asyncio.ensure_future(runtime.start("a"))
    await runtime.kill("b")
    assert not starting.done(), "the other verb did not wait for it"
    await starting
    assert time.monotonic() - begun >= 0.2


async def test_a_verb_that_never_answers_holds_up_only_its_caller() -> None:
    runtime = await opened(knobs=Knobs(hang={"inspect"}))
    await runtime.create(spec_of("a"), epoch=1, operation_id="o")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await runtime.inspect("a")
    assert [report.container_id for report in await runtime.list_owned()] == ["a"]
    runtime.knobs.hang.clear()
    assert await runtime.inspect("a") is not None


async def test_it_fails_at_the_call_and_with_the_code_that_were_named() -> None:
    runtime = await opened(knobs=Knobs(fail={"inspect": {2: "timeout"}, "stop": {0: "engine_error"}}))
    await runtime.create(spec_of("a"), epoch=1, operation_id="o")
    await runtime.inspect("a")
    with pytest.raises(RuntimeFailure) as failed:
        await runtime.inspect("a")
    assert (failed.value.code, failed.value.retryable) == ("timeout", True)
    await runtime.inspect("a")
    for _ in range(3):
        with pytest.raises(RuntimeFailure) as failed:
            await runtime.stop("a", StopSpec())
        assert failed.value.code == "engine_error"


async def test_a_listing_fails_or_lies_as_told() -> None:
    """SECURITY R11: the lies are there to test who believes them."""
    runtime = await opened()
    for number in range(4):
        await runtime.create(spec_of(f"c{number}"), epoch=1, operation_id="o")
    runtime.knobs.listing = "fail"
    with pytest.raises(RuntimeFailure):
        await runtime.list_owned()
    runtime.knobs.listing = "empty"
    assert await runtime.list_owned() == []
    runtime.knobs.listing = "truncated"
    assert len(await runtime.list_owned()) == 2
    runtime.knobs.listing = ""
    assert len(await runtime.list_owned()) == 4


async def test_events_are_told_or_lost() -> None:
    runtime = await opened()
    seen: list[RuntimeEvent] = []

    async def watch() -> None:
        async for event in runtime.events():
            seen.append(event)  # noqa: PERF401 - it never ends

    task = asyncio.ensure_future(watch())
    await asyncio.sleep(0)
    await runtime.create(spec_of("a", "exit 3"), epoch=1, operation_id="o")
    await runtime.start("a")
    async with asyncio.timeout(60):
        while [event.action for event in seen] != ["create", "start", "die"]:
            await asyncio.sleep(0)
    assert seen[-1].exit_code == 3
    runtime.knobs.lose_events = True
    await runtime.remove("a")
    runtime.resync()
    async with asyncio.timeout(60):
        while seen[-1].action != "resync":
            await asyncio.sleep(0)
    assert "destroy" not in [event.action for event in seen]
    task.cancel()


async def test_output_is_the_same_each_time() -> None:
    found = []
    for _ in range(2):
        runtime = await opened()
        await runtime.create(spec_of("a", "print one", "err two", "count 2500", "part end", "exit 0"), epoch=1, operation_id="o")
        reader = await runtime.output("a", ResumePoint())
        await runtime.start("a")
        found.append([(item.stream, item.data) async for item in reader])  # type: ignore[union-attr]
    assert found[0] == found[1]
    stdout = b"".join(data for stream, data in found[0] if stream == "stdout")
    assert stdout == b"one\n" + b"".join(b"line %d\n" % number for number in range(1, 2501)) + b"end"


@pytest.mark.parametrize("kept", [False, True])
async def test_thousands_of_containers_take_seconds(tmp_path: Path, kept: bool) -> None:
    runtime = await opened(state_file=tmp_path / "fake.json" if kept else None)
    begun = time.monotonic()
    for number in range(3000):
        await runtime.create(spec_of(f"c{number}", "print up"), epoch=1, operation_id="o")
        await runtime.start(f"c{number}")
    assert len(await runtime.list_owned()) == 3000
    assert time.monotonic() - begun < 15
    await runtime.close()


async def test_containers_outlive_the_agent_also_one_killed_in_the_middle_of_a_word(tmp_path: Path) -> None:
    file = tmp_path / "fake.json"
    runtime = await opened(state_file=file)
    await runtime.create(spec_of("runs"), epoch=7, operation_id="first")
    await runtime.start("runs")
    await runtime.create(spec_of("ended", "exit 4"), epoch=1, operation_id="second")
    await runtime.start("ended")
    await runtime.create(spec_of("gone"), epoch=1, operation_id="third")
    await runtime.remove("gone")
    async with asyncio.timeout(60):
        while (report := await runtime.inspect("ended")) is None or report.state != "exited":
            await asyncio.sleep(0)
    with file.open("ab") as tail:
        tail.write(b'{"report":{"container_id":"ru')
    again = await opened(state_file=file)
    found = {report.container_id: report for report in await again.list_owned()}
    assert set(found) == {"runs", "ended"}
    assert (found["runs"].state, found["runs"].epoch, found["runs"].operation_id) == ("running", 7, "first")
    assert (found["ended"].state, found["ended"].exit_code) == ("exited", 4)
    assert (await again.stop("runs", StopSpec())).state == "exited"
    await runtime.close()
    await again.close()


async def test_the_file_does_not_grow_with_changes(tmp_path: Path) -> None:
    file = tmp_path / "fake.json"
    runtime = await opened(state_file=file)
    await runtime.create(spec_of("a"), epoch=1, operation_id="o")
    await runtime.start("a")
    for _ in range(1500):
        await runtime.pause("a")
        await runtime.unpause("a")
    assert file.stat().st_size < 500_000
    again = await opened(state_file=file)
    assert [report.state for report in await again.list_owned()] == ["running"]
    await runtime.close()
    await again.close()
