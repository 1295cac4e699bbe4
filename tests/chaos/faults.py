"""What can be broken, each with its healing: a literal table, so that a seed names the same faults for ever."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.chaos.world import World

Act = Callable[[World], Awaitable[None]]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """`inject`, then people go on for `seconds`, then `heal`. `rows` are those of SECURITY.md that it plays."""

    name: str
    inject: Act
    heal: Act
    seconds: float
    rows: str
    postgres: bool = False
    ends_foreign: bool = False
    """The engine's end ends containers, ours and others': only the identity of foreign ones is compared then."""


async def _nothing(world: World) -> None:
    """Whoever broke it also heals it: the supervisor, or the fault is over at once."""


def _signal(program: str, number: signal.Signals) -> Act:
    async def act(world: World) -> None:
        await asyncio.to_thread(world.signal, program, number)

    return act


async def _agent_kill(world: World) -> None:
    await asyncio.to_thread(world.agent.kill)


async def _agent_start(world: World) -> None:
    await asyncio.to_thread(world.agent.start)


async def _agent_stop(world: World) -> None:
    world.agent.signal(signal.SIGSTOP)


async def _agent_cont(world: World) -> None:
    world.agent.signal(signal.SIGCONT)


async def _engine_term(world: World) -> None:
    await asyncio.to_thread(world.engine.terminate)


async def _engine_kill(world: World) -> None:
    await asyncio.to_thread(world.engine.kill)


async def _engine_start(world: World) -> None:
    await asyncio.to_thread(world.engine.start)


async def _engine_live(world: World) -> None:
    """Containers run on while their engine is replaced."""
    await asyncio.to_thread(world.engine.reload, live_restore=True)
    await asyncio.to_thread(world.start_foreign)
    await asyncio.to_thread(world.engine.terminate)


async def _engine_live_over(world: World) -> None:
    await asyncio.to_thread(world.engine.start)
    assert all(runs for _, _, runs in (await asyncio.to_thread(world.foreign)).values()), "they run on through this restart"


async def _engine_freeze(world: World) -> None:
    world.engine.freeze()


async def _engine_thaw(world: World) -> None:
    world.engine.thaw()


async def _redis_kill(world: World) -> None:
    await asyncio.to_thread(world.redis.kill)


async def _redis_start(world: World) -> None:
    await asyncio.to_thread(world.redis.start)


async def _redis_flush(world: World) -> None:
    await asyncio.to_thread(world.redis.flush)


async def _postgres_stop(world: World) -> None:
    assert world.postgres is not None
    await asyncio.to_thread(world.postgres.stop)


async def _postgres_start(world: World) -> None:
    assert world.postgres is not None
    await asyncio.to_thread(world.postgres.start)


async def _partition(world: World) -> None:
    world.link.blocked = True
    world.link.cut()


async def _swallow(world: World) -> None:
    world.link.swallow()


async def _heal_link(world: World) -> None:
    world.link.heal()


async def _repeat_and_reorder(world: World) -> None:
    world.link.repeat = world.link.reorder = 0.4


FAULTS: tuple[Fault, ...] = (
    Fault(name="panel killed", inject=_signal("web", signal.SIGKILL), heal=_nothing, seconds=2, rows="R01 R02 R36"),
    Fault(name="panel stopped for a while", inject=_signal("web", signal.SIGSTOP), heal=_signal("web", signal.SIGCONT), seconds=4, rows="R10"),
    Fault(name="worker killed", inject=_signal("worker", signal.SIGKILL), heal=_nothing, seconds=2, rows="R25"),
    Fault(name="worker stopped for a while", inject=_signal("worker", signal.SIGSTOP), heal=_signal("worker", signal.SIGCONT), seconds=4, rows="R22"),
    Fault(name="agent killed", inject=_agent_kill, heal=_agent_start, seconds=1, rows="R03 R04"),
    Fault(name="agent stopped for a while", inject=_agent_stop, heal=_agent_cont, seconds=4, rows="R07"),
    Fault(name="engine restarted by SIGTERM", inject=_engine_term, heal=_engine_start, seconds=1, rows="R12", ends_foreign=True),
    Fault(name="engine restarted by SIGKILL", inject=_engine_kill, heal=_engine_start, seconds=1, rows="R12", ends_foreign=True),
    Fault(name="engine restarted with live-restore", inject=_engine_live, heal=_engine_live_over, seconds=1, rows="R12", ends_foreign=False),
    Fault(name="engine hangs", inject=_engine_freeze, heal=_engine_thaw, seconds=6, rows="R13"),
    Fault(name="Redis killed and empty", inject=_redis_kill, heal=_redis_start, seconds=3, rows="R24"),
    Fault(name="Redis flushed", inject=_redis_flush, heal=_nothing, seconds=2, rows="R24"),
    Fault(name="PostgreSQL restarted, immediate", inject=_postgres_stop, heal=_postgres_start, seconds=2, rows="R27", postgres=True),
    Fault(name="partition", inject=_partition, heal=_heal_link, seconds=5, rows="R05"),
    Fault(name="half-open link", inject=_swallow, heal=_nothing, seconds=5, rows="R06"),
    Fault(name="messages repeated and reordered", inject=_repeat_and_reorder, heal=_heal_link, seconds=5, rows="R18 R19 R20"),
)


def choose(names: list[str] | None, *, postgres: bool) -> list[Fault]:
    """By words of their names, or all that can be played here. Raises ValueError for a word that no fault has."""
    there = [fault for fault in FAULTS if postgres or not fault.postgres]
    if not names:
        return there
    found = []
    for word in names:
        matching = [fault for fault in there if word.lower() in fault.name.lower()]
        if not matching:
            raise ValueError(f"No fault is called {word!r}; there are: {', '.join(fault.name for fault in there)}.")
        found += matching
    return found
