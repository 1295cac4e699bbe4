"""`make chaos`: every fault, as often as you like, from a seed that can be played again."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys

from tests.chaos.faults import FAULTS
from tests.chaos.play import play
from tests.chaos.servers import postgres_cannot
from tests.e2e.second_engine import cannot


def main() -> int:
    asked = argparse.ArgumentParser(prog="make chaos ARGS=...", description=__doc__, epilog="Faults: " + ", ".join(fault.name for fault in FAULTS))
    asked.add_argument("--seed", type=int, default=None, help="play this game again (default: a new one)")
    asked.add_argument("--rounds", type=int, default=1, help="how often each fault comes (default: once)")
    asked.add_argument("--fault", action="append", help="only those with this word in their name; may be given several times")
    asked.add_argument("--sqlite", action="store_true", help="on the embedded database instead of a PostgreSQL server of its own")
    given = asked.parse_args()
    why = cannot() or ("" if given.sqlite else postgres_cannot())
    if why:
        sys.stderr.write(f"The chaos suite can't run here: {why}.\n")
        return 2
    seed = random.randrange(1_000_000) if given.seed is None else given.seed
    say = lambda words: print(words, flush=True)  # noqa: E731, T201
    say(f"seed {seed}, {'SQLite' if given.sqlite else 'PostgreSQL'}")
    try:
        findings = asyncio.run(play(seed=seed, rounds=given.rounds, names=given.fault, postgres=not given.sqlite, say=say))
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    say(f"{len(findings)} findings; again: make chaos ARGS='--seed {seed} --rounds {given.rounds}'" if findings else "all invariants held")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
