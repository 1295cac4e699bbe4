"""What a console says: ready or not, and what an egg's features look for; also over deaths of the agent (EGGS 6; SECURITY C10, R54)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from agent.console import ConsoleWatch, Matcher, features_in
from agent.logs import LogService
from agent.protocol.messages import ContainerReport, ContainerSpec
from agent.protocol.parts import Readiness
from agent.runtimes.fake import FakeRuntime


@pytest.mark.parametrize(
    ("done", "strip_ansi", "line", "fits"),
    [
        (["Done ("], False, "[12:00] Done (1.2s)! For help", True),
        (["Done ("], False, "[12:00] done (", False),
        (["never", "second"], False, "the second of two", True),
        ([""], False, "anything", True),
        (["Done now"], False, "Done \x1b[32mnow\x1b[0m", False),
        (["Done now"], True, "Done \x1b[32mnow\x1b[0m", True),
        (["Done now"], True, "\x1b]0;title\x07Done now", True),
        (["regex:^\\[\\d+\\] up$"], False, "[42] up", True),
        (["regex:^\\[\\d+\\] up$"], False, "[x] up", False),
        (["regex:(("], False, "says regex:(( itself", True),
        (["regex:(("], False, "nothing", False),
    ],
)
def test_a_line_means_ready(done: list[str], strip_ansi: bool, line: str, fits: bool) -> None:
    assert Matcher(done, strip_ansi=strip_ansi).fits(line) is fits


def test_a_pattern_that_runs_for_ever_is_given_up_and_the_others_stay() -> None:
    """C10"""
    matcher = Matcher(["regex:^(a|aa)+$", "regex:^up$"], strip_ansi=False)
    begun = time.process_time()
    assert not matcher.fits("a" * 60 + "!")
    assert matcher.fits("up")
    assert not matcher.fits("a" * 60 + "!")
    assert time.process_time() - begun < 10


def test_features_are_found_in_any_case() -> None:
    wanted = ["eula", "java_version", "pid_limit"]
    assert features_in("[INFO] You need to agree to the EULA in order to run the server.", wanted) == ["eula"]
    assert features_in("java.lang.UnsupportedClassVersionError: x", wanted) == ["java_version"]
    assert features_in("pthread_create failed (EAGAIN)", ["eula"]) == []


class Notes:
    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    async def get(self, name: str) -> str:
        return self.kept.get(name, "")

    async def put(self, name: str, value: str) -> None:
        self.kept[name] = value


class House:
    """A log store and a watch on it, as an agent that may die has them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.notes = Notes()
        self.changes: list[str] = []

    def up(self) -> None:
        self.logs = LogService(self.folder / "logs", runtime=FakeRuntime(state_file=self.folder / "fake.json"))
        self.watch = ConsoleWatch(self.logs, self.notes, on_change=self.changes.append)

    async def down(self) -> None:
        await self.watch.close()
        await self.logs.close()

    async def say(self, text: str, stream: Any = "application") -> None:
        await self.logs.append("c1", text, stream=stream)

    def report(self, state: Any = "running") -> ContainerReport:
        return self.watch.marked(ContainerReport(container_id="c1", state=state))

    async def becomes(self, readiness: str, features: list[str] | None = None) -> None:
        end = time.monotonic() + 60
        while True:
            report = self.report()
            if report.readiness == readiness and (features is None or report.features == features):
                return
            assert time.monotonic() < end, report
            await asyncio.sleep(0.02)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    made = House(tmp_path)
    made.up()
    yield made
    await made.down()


def spec(**ready: Any) -> ContainerSpec:
    return ContainerSpec(
        container_id="c1", name="x", image="x", readiness=Readiness(**ready) if ready else None, features=["eula", "unknown", "pid_limit"]
    )


async def test_only_its_own_words_after_its_start_count(house: House) -> None:
    await house.say("Done (")
    await house.watch.begin(spec(done=["Done ("]))
    assert house.report().readiness == "waiting"
    await house.say("Done (", "startup")
    await house.say("Done (", "events")
    await house.say("Preparing", "application")
    await asyncio.sleep(0.2)
    assert house.report().readiness == "waiting"
    await house.say("Done (", "error")
    await house.becomes("ready")
    assert house.changes
    assert house.report("exited").readiness == "", "what does not run is not ready"
    await house.watch.begin(spec(done=["Done ("]))
    assert house.report().readiness == "waiting", "each start begins anew"


async def test_what_was_said_while_the_agent_was_dead_is_heard(house: House) -> None:
    """R03"""
    await house.watch.begin(spec(done=["Done ("]))
    await house.down()
    house.up()
    await house.say("Done (")
    await house.say("You need to agree to the EULA in order to run the server. Go to eula.txt for more info.")
    await house.watch.resume(["c1"])
    await house.becomes("ready", ["eula"])
    await house.down()
    house.up()
    await house.watch.resume(["c1"])
    assert (house.report().readiness, house.report().features) == ("ready", ["eula"])
    await house.watch.forget("c1")
    await house.watch.resume(["c1"])
    assert (house.report().readiness, house.report().features) == ("", [])


async def test_it_is_not_waited_for_ever_and_that_is_said(house: House) -> None:
    """R54"""
    await house.watch.begin(spec(done=["never"], timeout_seconds=0.2))
    await house.becomes("late")
    from agent.protocol.commands import LogsQuery

    lines = (await house.logs.read("c1", LogsQuery(tail=10)))["lines"]
    assert [line[2] for line in lines] == ["events"]
    assert "did not come within 0.2 s" in lines[0][3]
    await house.say("unable to create new native thread")
    await house.becomes("late", ["pid_limit"])


async def test_who_waits_for_nothing_is_not_watched(house: House) -> None:
    await house.watch.begin(ContainerSpec(container_id="c1", name="x", image="x", readiness=Readiness(done=[])))
    assert house.report().readiness == ""
    await house.watch.begin(spec())
    await house.say("Done (")
    await house.say("pthread_create failed")
    await house.becomes("", ["pid_limit"])
