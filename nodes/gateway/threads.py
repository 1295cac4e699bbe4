"""Database work of the gateway: a small thread pool, each job gives its connection back at its end (`give_back`)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from lormas.common.database import give_back

P = ParamSpec("P")
T = TypeVar("T")

_pool = ThreadPoolExecutor(max_workers=4, thread_name_prefix="gateway-db")


async def in_database(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `function` in the pool and give its connection back afterwards."""

    def job() -> T:
        try:
            return function(*args, **kwargs)
        finally:
            give_back()

    return await asyncio.get_running_loop().run_in_executor(_pool, job)
