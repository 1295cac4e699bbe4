"""Session containers: so many may run at a time, over all people (MAX_SESSIONS)."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connections

from accounts.models import User
from containers.models import Container
from containers.services import NewContainer, create_container, power
from lormas.common.errors import Problem, Refused
from nodes.models import Node, Operation

pytestmark = [pytest.mark.django_db, pytest.mark.redis]
SESSION = {"image": "busybox:1", "session": True}


def test_the_next_one_waits_for_a_place_and_a_stopped_one_gives_its_away(
    alice: Any, bob: Any, alice_api: Any, make: Any, agent: Any, settings: Any
) -> None:
    settings.MAX_SESSIONS = 2
    first, _ = make("one", is_session=True)
    second, _ = make("two", user=bob, is_session=True)
    promised = Node.objects.get().allocated_memory_bytes
    refused = alice_api.post("/api/containers", {"name": "three", **SESSION}, format="json")
    assert (refused.status_code, refused.json()["code"], refused.json()["used"], refused.json()["allowed"]) == (422, "too_many_sessions", 2, 2)
    assert "stop one" in refused.json()["detail"]
    assert (Container.objects.count(), Operation.objects.count(), Node.objects.get().allocated_memory_bytes) == (2, 2, promised)
    assert alice_api.post("/api/containers", {"name": "web", "image": "busybox:1"}, format="json").status_code == 201  # no session
    assert alice_api.post("/api/containers", {"name": "later", "start": False, **SESSION}, format="json").status_code == 201

    agent.done(first, "running", started_at="2026-01-01T00:00:00Z")
    power.act(first, "restart", user=alice, actor=alice.as_actor())  # has its place already
    agent.done(first, "running", started_at="2026-01-01T00:00:00Z")
    power.act(first, "stop", user=alice, actor=alice.as_actor())
    agent.done(first, "exited", exit_code=0)
    assert alice_api.post("/api/containers", {"name": "three", **SESSION}, format="json").status_code == 201
    with pytest.raises(Refused) as again:
        power.act(first, "start", user=alice, actor=alice.as_actor())
    assert again.value.code == "too_many_sessions"
    first.refresh_from_db()
    assert (first.desired, first.status, first.operation_id) == ("stopped", "stopped", None)
    Container.objects.filter(pk=second.pk).update(desired="stopped")
    power.act(first, "start", user=alice, actor=alice.as_actor())


@pytest.mark.django_db(transaction=True)
def test_of_ten_at_once_for_the_last_place_one_gets_it(alice: Any, bob: Any, node: Any, settings: Any) -> None:
    """SECURITY J01: each in a thread and a connection of its own, for two people; on PostgreSQL and SQLite."""
    settings.MAX_SESSIONS = 1
    gate = threading.Barrier(10)

    def one(number: int) -> str:
        try:
            gate.wait(60)
            user = User.objects.get(pk=(alice, bob)[number % 2].pk)
            create_container(user=user, actor=user.as_actor(), data=NewContainer(name=f"s-{number}", image="busybox:1", is_session=True))
        except Problem as problem:
            return problem.code
        finally:
            connections.close_all()
        return "made"

    with ThreadPoolExecutor(10) as pool:
        said = list(pool.map(one, range(10)))
    assert sorted(said) == ["made"] + ["too_many_sessions"] * 9
    assert Container.objects.count() == 1
