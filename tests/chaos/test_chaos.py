"""A short game of chaos: people work, things break, and afterwards every promise is kept (SECURITY R01-R27, R54). `make chaos` plays all of it.

And the other side: what the game looks for, it also finds.
"""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator

import pytest

from tests.chaos import invariants, leaks
from tests.chaos.faults import FAULTS, choose
from tests.chaos.people import Client, Ledger, Person
from tests.chaos.play import play_in
from tests.chaos.servers import postgres_cannot
from tests.chaos.world import World, world
from tests.conftest import REQUIRED
from tests.e2e.second_engine import cannot
from tests.e2e.stack import IMAGE

pytestmark = [pytest.mark.docker, pytest.mark.redis, pytest.mark.slow, pytest.mark.timeout(900)]
SEED = 20261126
SHORT = ["panel killed", "agent killed", "redis killed", "postgresql", "partition", "repeated"]
"""The rest is played by tests of its own (tests/e2e, tests/nodes), and by `make chaos`."""


@pytest.fixture
async def broken_world() -> AsyncIterator[World]:
    if why := cannot() or postgres_cannot():
        if "docker" in REQUIRED and os.geteuid() == 0:
            pytest.fail(f"LORMAS_REQUIRE names docker, but: {why}")
        pytest.skip(why)
    async with world(postgres=True, seed=SEED) as made:
        yield made


async def test_every_promise_is_kept_whatever_breaks_and_what_is_wrong_is_seen(broken_world: World) -> None:
    """R27 and R24, R01, R03, R05, R18, R19, R53: none of the acknowledged operations is lost, no twin, nothing stuck, nothing foreign touched."""
    say = logging.getLogger("chaos").info
    assert await play_in(broken_world, seed=SEED, rounds=1, faults=choose(SHORT, postgres=True), say=say) == []

    ledger = Ledger()
    async with Client(broken_world.url, broken_world.key, ledger) as client:
        people = [Person(f"s{number}", client, seed=number, node_id=broken_world.node_id) for number in range(3)]
        await leaks.work(client, people, steps=6)
        assert await invariants.settled(broken_world, client) == []
        before_work = leaks.held(leaks.pids(broken_world))
        await leaks.work(client, people, steps=12)
        assert await invariants.settled(broken_world, client) == []
        assert await leaks.kept(broken_world, before_work) == [], "R53"
        assert leaks.grown({"web": (8, 20)}, {"web": (9, 99)}) == ["web holds 99 open files after the work, 20 before"]
        assert await invariants.truth(broken_world, client) == []
        before = broken_world.foreign()
        status, made = await client.ask("POST", "/api/containers?wait=60", {"name": "judge", "image": IMAGE, "command": ["sleep", "600"]})
        assert (status, made["status"]) == (201, "running"), made
        label = f"lormas.container={made['id']}"
        twin = broken_world.engine.docker("run", "-d", "--label", label, IMAGE, "sleep", "600")
        broken_world.engine.docker("run", "-d", "--label", "lormas.container=00000000-0000-4000-8000-000000000001", IMAGE, "sleep", "600")
        broken_world.engine.docker("stop", "-t", "0", "somebody-elses")
        ledger.containers["00000000-0000-4000-8000-000000000002"] = "never-made"
        ledger.deleted.add(made["id"])
        ledger.containers[made["id"]] = "judge"
        wrong = await invariants._differences(broken_world, client)
        assert {words.split(":")[0]: words for words in wrong}.keys() == {
            "twins of judge",
            "left over on the engine",
            "judge was deleted and is still listed as running",
            "never-made was acknowledged and is gone",
            "judge is running in the panel, on the engine",
        }
        assert any(words.startswith("twins") and twin[:12] in words for words in wrong)
        assert len(await invariants.foreign(broken_world, FAULTS[0], before)) == 1
        assert broken_world.postgres is not None
        broken_world.postgres.stop()
        status, told = await client.once("GET", "/api/containers")
        assert (status, told["code"]) == (503, "database_unavailable"), told
        broken_world.postgres.start()
        assert (await client.ask("GET", "/api/containers"))[0] == 200

        ledger.operations["00000000-0000-4000-8000-000000000003"] = "start nothing"
        assert "gone: start nothing" in (await invariants.settled(broken_world, client))[0]


def test_a_word_that_no_fault_has_names_those_that_there_are() -> None:
    assert [fault.name for fault in choose(["agent KILLED"], postgres=False)] == ["agent killed"]
    assert len({fault.name for fault in FAULTS}) == len(FAULTS) > 12
    with pytest.raises(ValueError, match="there are: panel killed"):
        choose(["meteor"], postgres=True)
    with pytest.raises(ValueError, match="No fault is called 'postgres'"):
        choose(["postgres"], postgres=False)
