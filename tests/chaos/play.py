"""One game: people work, a fault comes and goes, everything settles, and what must be true is looked at. Then the next."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable

from tests.chaos import invariants
from tests.chaos.faults import Fault, choose
from tests.chaos.people import Client, Ledger, Person
from tests.chaos.world import World, world

PEOPLE = 5


async def play(
    *, seed: int, rounds: int = 1, names: list[str] | None = None, postgres: bool = True, say: Callable[[str], None] = lambda words: None
) -> list[str]:
    """`rounds` times each chosen fault, in an order that the seed gives. Returns the findings: none is the good end.

    Raises:
        ValueError: a name that no fault has.
    """
    faults = choose(names, postgres=postgres)
    async with world(postgres=postgres, seed=seed) as made:
        return await play_in(made, seed=seed, rounds=rounds, faults=faults, say=say)


async def play_in(made: World, *, seed: int, rounds: int, faults: list[Fault], say: Callable[[str], None]) -> list[str]:
    """The game itself, in a world that is there."""
    dice = random.Random(seed)
    findings: list[str] = []
    ledger = Ledger()
    async with Client(made.url, made.key, ledger) as client:
        people = [Person(f"p{number}", client, seed=dice.randrange(2**32), node_id=made.node_id) for number in range(PEOPLE)]
        for number in range(rounds):
            for fault in dice.sample(faults, len(faults)):
                begun = time.monotonic()
                asked, again = ledger.answered, ledger.repeated
                found = await _one(fault, made, client, people, dice)
                findings += found
                ledger.odd.clear()
                say(
                    f"{'ok ' if not found else 'BAD'} {number + 1}/{rounds} {fault.name:36} {time.monotonic() - begun:5.1f} s,"
                    f" {ledger.answered - asked} answers, {ledger.repeated - again} asked again"
                )
                for words in found and [*found, *await invariants.evidence(made, found)]:
                    say(f"    {words}")
    return findings


async def _one(fault: Fault, made: World, client: Client, people: list[Person], dice: random.Random) -> list[str]:
    await asyncio.to_thread(made.start_foreign)  # those that an earlier restart of the engine ended
    before = await asyncio.to_thread(made.foreign)
    over = asyncio.Event()
    working = asyncio.gather(*(person.run(over) for person in people))
    await asyncio.sleep(dice.uniform(0.5, 1.5))
    await fault.inject(made)
    await asyncio.sleep(fault.seconds)
    await fault.heal(made)
    await asyncio.sleep(dice.uniform(0.2, 1.0))
    over.set()
    await working
    found = await invariants.all_of_them(made, client, fault, before)
    client.ledger.operations.clear()
    return found
