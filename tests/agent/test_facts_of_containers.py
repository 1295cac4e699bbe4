"""Reconciling: numbered facts, causes, listings that failed say nothing (SECURITY R11, R14, R15, R20)."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from agent.protocol import messages as wire
from tests.agent.conftest import Inside, command_of
from tests.agent.tiny import TinyRuntime


@contextlib.asynccontextmanager
async def watching(i: Inside) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(i.reconciler.run()), asyncio.create_task(i.reconciler.follow_events())]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.fixture(autouse=True)
def _short_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command's echo lasts two seconds in life; here a moment."""
    monkeypatch.setattr("agent.reconcile.OURS_SECONDS", 0.05)


async def made(i: Inside) -> str:
    container_id = str(uuid.uuid4())
    assert (await i.run(command_of("container.create", container_id))).ok
    await asyncio.sleep(0.2)
    i.sent.clear()
    return container_id


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ([("die", {"state": "exited", "exit_code": 3})], ("exited", "exit", 3)),
        ([("kill", {}), ("die", {"state": "exited", "exit_code": 137})], ("exited", "external", 137)),
        ([("pause", {"state": "paused"})], ("paused", "external", None)),
        ([("destroy", {})], ("removed", "external", None)),
    ],
)
async def test_what_happens_behind_our_back_is_told_with_its_cause(inside: Any, events: Any, expected: Any) -> None:
    """R15."""
    async with inside() as i, watching(i):
        container_id = await made(i)
        for action, changes in events:
            i.runtime.happen(container_id, action, **changes)
        fact = await i.until(lambda: i.of(wire.StateFact)[-1:] or None)
        report = fact[0].report
        assert (report.state, report.cause, report.exit_code) == expected


async def test_a_start_by_hand_is_attached_and_external(inside: Any) -> None:
    async with inside() as i, watching(i):
        container_id = await made(i)
        i.runtime.happen(container_id, "die", state="exited", exit_code=0)
        await i.until(lambda: i.of(wire.StateFact))
        i.sent.clear()
        attached = i.logs.calls.count(("attach", container_id))
        i.runtime.happen(container_id, "start", state="running", started_at="2030-01-01T00:00:00Z")
        fact = await i.until(lambda: i.of(wire.StateFact))
        assert (fact[0].report.state, fact[0].report.cause) == ("running", "external")
        assert i.logs.calls.count(("attach", container_id)) == attached + 1


async def test_events_of_our_own_commands_are_ours(inside: Any) -> None:
    async with inside() as i, watching(i):
        container_id = await made(i)
        i.runtime.on = lambda verb: i.runtime.happen(container_id, "kill") if verb == "stop" else None
        await i.run(command_of("container.stop", container_id))
        assert {fact.report.cause for fact in i.of(wire.StateFact)} == {"command"}


async def test_seq_grows_by_one_with_each_news_and_over_restarts(inside: Any) -> None:
    """R20."""
    runtime = TinyRuntime()
    container_id = str(uuid.uuid4())
    seen: list[int] = []
    for _ in range(3):
        async with inside(runtime) as i:
            for kind in ("container.create", "container.stop", "container.start", "container.stop"):
                result = await i.run(command_of(kind, container_id))
                assert result.report is not None
                seen.append(result.report.seq)
            again = await i.reconciler.observe(container_id, cause="")
            assert again is not None and again.seq == seen[-1], "no news, no number"
    news = sorted(set(seen))
    assert seen == sorted(seen)
    assert news == list(range(1, len(news) + 1))


async def test_facts_come_again_until_acknowledged_and_only_the_newest_of_a_container(inside: Any) -> None:
    runtime = TinyRuntime()
    container_id = str(uuid.uuid4())
    async with inside(runtime) as i:
        await i.run(command_of("container.create", container_id))
        await i.run(command_of("container.stop", container_id))
    async with inside(runtime) as i:
        facts = await i.outbox.unacknowledged_facts()
        assert [(f.report.container_id, f.report.state) for f in facts] == [(container_id, "exited")]
        await i.outbox.facts_acknowledged(facts[0].fact_id - 1)
        assert len(await i.outbox.unacknowledged_facts()) == 1
        await i.outbox.facts_acknowledged(facts[0].fact_id)
        assert await i.outbox.unacknowledged_facts() == []
        await i.run(command_of("container.start", container_id))
        assert (await i.outbox.unacknowledged_facts())[0].fact_id > facts[0].fact_id


async def test_a_failed_listing_changes_nothing(inside: Any) -> None:
    """R11."""
    async with inside() as i:
        await made(i)
        i.runtime.listing_error = "half of it"
        snapshot = await i.reconciler.snapshot()
        assert (snapshot.complete, snapshot.containers, i.of(wire.StateFact)) == (False, [], [])
        assert "half of it" in snapshot.error


async def test_a_listing_that_lacks_one_tells_that_it_is_gone(inside: Any) -> None:
    async with inside() as i:
        container_id = await made(i)
        other = await made(i)
        del i.runtime.reports[container_id]
        snapshot = await i.reconciler.snapshot()
        assert (snapshot.complete, [r.container_id for r in snapshot.containers]) == (True, [other])
        (fact,) = i.of(wire.StateFact)
        assert (fact.report.container_id, fact.report.state, fact.report.cause) == (container_id, "removed", "external")
        i.sent.clear()
        await i.reconciler.snapshot()
        assert i.of(wire.StateFact) == [], "told once"


async def test_what_is_made_while_the_engine_lists_is_named(inside: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """R11, R15: the engine's answer is older than the container; without its name the panel would take it for gone."""
    async with inside() as i:
        old = await made(i)
        list_owned = i.runtime.list_owned

        async def slow() -> list[wire.ContainerReport]:
            found: list[wire.ContainerReport] = await list_owned()
            new.append(await made(i))
            return found

        new: list[str] = []
        monkeypatch.setattr(i.runtime, "list_owned", slow)
        snapshot = await i.reconciler.snapshot()
        assert snapshot.complete
        assert [(r.container_id, r.state, r.seq) for r in snapshot.containers] == [(old, "running", 1), (new[0], "running", 1)]


@pytest.mark.parametrize(
    ("changes", "hint", "cause"),
    [
        ({"exit_code": 0}, "", "exit"),
        ({"exit_code": 137}, "", "external"),
        ({"exit_code": 137, "oom_killed": True}, "", "exit"),
        ({"exit_code": 143}, "engine", "engine"),
    ],
)
async def test_what_ended_while_the_agent_was_away(inside: Any, changes: Any, hint: Any, cause: str) -> None:
    """R14."""
    runtime = TinyRuntime()
    async with inside(runtime) as i:
        container_id = await made(i)
    runtime.happen(container_id, "die", state="exited", **changes)
    async with inside(runtime) as i:
        reports, complete, _ = await i.reconciler.listing(hint)
        assert (complete, reports[0].state, reports[0].cause) == (True, "exited", cause)


async def test_a_listing_from_before_a_look_does_not_overwrite_it(inside: Any) -> None:
    """R20: the listing was read while it ran, the look came when it had ended."""
    async with inside() as i:
        container_id = await made(i)
        stale = dict(i.runtime.reports)
        hold = asyncio.Event()

        async def slow() -> list[wire.ContainerReport]:
            await hold.wait()
            return list(stale.values())

        i.runtime.list_owned = slow
        listing = asyncio.create_task(i.reconciler.listing())
        await asyncio.sleep(0.01)
        i.runtime.reports[container_id] = wire.ContainerReport(container_id=container_id, state="exited", exit_code=1)
        await i.reconciler.observe(container_id, cause="exit")
        hold.set()
        reports, _, _ = await listing
        assert reports[0].state == "exited"
        known = i.outbox.known(container_id)
        assert known is not None and known.report is not None and known.report.state == "exited"


async def test_a_listing_that_tells_less_than_an_inspection_makes_no_news(inside: Any) -> None:
    """Docker's listing has no times: what is known stands, and the numbers do not run away minute by minute."""
    async with inside() as i:
        container_id = await made(i)
        full = i.runtime.reports[container_id]
        assert full.started_at

        async def summaries() -> list[wire.ContainerReport]:
            return [wire.ContainerReport(container_id=container_id, state="running", runtime_ref=full.runtime_ref, epoch=full.epoch)]

        i.runtime.list_owned = summaries
        for _ in range(4):
            reports, complete, _ = await i.reconciler.listing()
            assert (complete, reports[0].started_at, reports[0].operation_id) == (True, full.started_at, full.operation_id)
        assert i.of(wire.StateFact) == []
        i.runtime.reports[container_id] = wire.ContainerReport(container_id=container_id, state="exited", exit_code=3, runtime_ref=full.runtime_ref)

        async def ended() -> list[wire.ContainerReport]:
            return [wire.ContainerReport(container_id=container_id, state="exited", exit_code=3, runtime_ref=full.runtime_ref)]

        i.runtime.list_owned = ended
        await i.reconciler.listing()
        assert [fact.report.exit_code for fact in i.of(wire.StateFact)] == [3]


@pytest.mark.parametrize(("seconds_after", "cause"), [(1.0, "engine"), (30.0, "external"), (-30.0, "external")])
async def test_what_died_while_the_engine_was_away_died_with_it(inside: Any, seconds_after: float, cause: str) -> None:
    """R12: an engine that comes back tells `kill` and `die` of what it ended itself, as if somebody's hand had done that."""
    gone = datetime.now(UTC)
    async with inside() as i, watching(i):
        container_id = await made(i)
        i.runtime.tell("lost", gone)
        i.runtime.tell("resync", gone + timedelta(seconds=10))
        await i.until(lambda: i.of(wire.Snapshot))
        i.runtime.happen(container_id, "kill")
        finished = (gone + timedelta(seconds=seconds_after)).isoformat()
        i.runtime.happen(container_id, "die", state="exited", exit_code=137, finished_at=finished)
        fact = await i.until(lambda: [f for f in i.of(wire.StateFact) if f.report.state == "exited"] or None)
        assert fact[-1].report.cause == cause


async def test_that_it_was_the_memory_stays_known_when_the_engine_forgets_it_and_ends_with_the_next_start(inside: Any) -> None:
    async with inside() as i, watching(i):
        container_id = await made(i)
        i.runtime.happen(container_id, "oom", state="exited", exit_code=137, oom_killed=True)
        await i.until(lambda: [fact for fact in i.of(wire.StateFact) if fact.report.oom_killed])
        i.runtime.happen(container_id, "rename", oom_killed=False)
        i.reconciler.look_soon(container_id)
        assert (await i.reconciler.observe(container_id, cause="")).oom_killed
        i.runtime.happen(container_id, "start", state="running", exit_code=None, started_at="2030-01-01T00:00:00Z")
        fact = await i.until(lambda: [fact for fact in i.of(wire.StateFact) if fact.report.state == "running"])
        assert not fact[0].report.oom_killed
