"""Nodes, a panel process, and database work from async tests."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.nodes.rig import Panel, panel_of_a_module


@pytest.fixture
def make_node(db: None) -> Callable[..., Any]:
    """A registered node with 4 cores, 8 GiB, 100 GB; ACTIVE unless told otherwise."""
    from audit.services import SYSTEM
    from nodes.models import Node
    from nodes.services import register_node

    def make(name: str = "n1", **fields: Any) -> Any:
        node, _ = register_node(name=name, actor=SYSTEM)
        values = {"status": "ACTIVE", "cpu_cores": 4.0, "total_memory_bytes": 8 * 1024**3, "total_storage_bytes": 100 * 10**9, **fields}
        Node.objects.filter(pk=node.pk).update(**values)
        node.refresh_from_db()
        return node

    return make


@pytest.fixture
def registered(transactional_db: None) -> tuple[Any, str]:
    """A node that no agent has joined yet, and its token."""
    from audit.services import SYSTEM
    from nodes.services import register_node

    return register_node(name="n1", actor=SYSTEM)


panel_process = panel_of_a_module()


@pytest.fixture
def panel(transactional_db: None, panel_process: Panel) -> Panel:
    """A real daphne on the test's database."""
    import redis
    from django.conf import settings

    client = redis.Redis.from_url(settings.REDIS_URL)
    for key in client.scan_iter("*:agent-bad-token:*"):  # counted by panels of earlier tests
        client.delete(key)
    if not panel_process.alive:
        panel_process.start()
    panel_process.mark()
    return panel_process


@pytest.fixture
def in_thread() -> Callable[..., Awaitable[Any]]:
    """Run database work from an async test."""
    from django.db import connections

    async def run(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        def job() -> Any:
            try:
                return function(*args, **kwargs)
            finally:
                connections.close_all()

        return await asyncio.to_thread(job)

    return run


@pytest.fixture
def until(in_thread: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """Poll a database question from an async test until it gives something true."""

    async def wait(question: Callable[[], Any], *, seconds: float = 60, what: str = "") -> Any:
        end = asyncio.get_running_loop().time() + seconds
        while True:
            found = await in_thread(question)
            if found:
                return found
            if asyncio.get_running_loop().time() > end:
                raise AssertionError(f"not within {seconds} s: {what or question}")
            await asyncio.sleep(0.05)

    return wait


@pytest.fixture
def api() -> Callable[[Any], Any]:
    """A client of the API that is signed in as somebody; None: as nobody."""
    from rest_framework.test import APIClient

    def client(user: Any = None, *, bearer: str = "") -> APIClient:
        made = APIClient()
        if user is not None:
            made.force_authenticate(user)
        if bearer:
            made.credentials(HTTP_AUTHORIZATION=f"Bearer {bearer}")
        return made

    return client


@pytest.fixture
def clock_at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`clock_at(hours=3)`: the panel's clock is that far ahead from now on."""
    from datetime import timedelta

    from lormas.common import clock

    real = clock.now

    def move(**ahead: float) -> None:
        monkeypatch.setattr(clock, "now", lambda: real() + timedelta(**ahead))

    return move
