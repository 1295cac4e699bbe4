"""The keeper: a background loop of each web process that does what is due in the pool, with or without Celery.

It keeps no state that matters: what is due stands in rows, and every piece of work claims its row. Threads do the blocking work, so that one
slow machine holds up nobody else.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any, Final

import structlog
from django.db import DatabaseError, close_old_connections, connections

from lormas.common.database import give_back
from reservations.services import sweep

log = structlog.get_logger(__name__)
TICK_SECONDS: Final = 2.0
THREADS: Final = 6
_running: set[str] = set()
"""Names of the work that this process has in hand."""


def _clean(function: Callable[..., Any], *args: Any) -> Any:
    """Run in a thread that keeps no database connection from one time to the next."""
    close_old_connections()
    try:
        return function(*args)
    finally:
        connections.close_all()


def _work(name: str, function: Callable[..., Any], *args: Any) -> None:
    try:
        _clean(function, *args)
    except DatabaseError as error:
        log.warning("keeper.no_database", work=name, error=str(error))
    except Exception:  # one piece's surprise must not end the keeper
        log.exception("keeper.failed", work=name)
    finally:
        _running.discard(name)


def _start(name: str, function: Callable[..., Any], *args: Any) -> None:
    """In a daemon thread (a panel that stops doesn't wait for machines); where all hands are full, the next tick offers it again."""
    if name not in _running and len(_running) < THREADS:
        _running.add(name)
        threading.Thread(target=_work, args=(name, function, *args), name=f"keeper:{name}", daemon=True).start()


def _look() -> list[str]:
    """Runs in a thread of the loop's, which lives on."""
    try:
        sweep.quick()
        return [str(one) for one in sweep.due()]
    finally:
        give_back()


async def _run() -> None:
    loop = asyncio.get_running_loop()
    while True:
        await asyncio.sleep(TICK_SECONDS)
        try:
            for reservation_id in await loop.run_in_executor(None, _look):
                _start(f"reservation:{reservation_id}", sweep.advance, reservation_id)
            for name, chore in sweep.chores().items():
                _start(name, chore)
        except DatabaseError as error:
            log.warning("keeper.no_database", error=str(error))
            await asyncio.sleep(2)
        except Exception:  # the keeper must outlive whatever it finds
            log.exception("keeper.failed")
            await asyncio.sleep(5)


_tasks: dict[int, asyncio.Task[None]] = {}


def ensure_started() -> None:
    """Start the keeper of this event loop unless it runs. Call from the loop."""
    loop = asyncio.get_running_loop()
    task = _tasks.get(id(loop))
    if task is None or task.done() or task.get_loop() is not loop:
        _tasks.clear()
        _tasks[id(loop)] = loop.create_task(_run(), name="keeper")
