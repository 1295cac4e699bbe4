"""Heartbeat and resources by HTTP, for agents without a socket: by node token only."""

from __future__ import annotations

from typing import Any

import pytest

from accounts.models import User
from lormas.common import clock
from nodes import tokens
from nodes.models import Node

pytestmark = [pytest.mark.django_db, pytest.mark.redis]
RESOURCES = {"allocated_cpus": 1.5, "allocated_memory_bytes": 1024, "allocated_storage_bytes": 2048, "current_pods": 3}


def test_a_beat_makes_a_node_active_with_its_facts_and_load(api: Any, make_node: Any) -> None:
    node = make_node(status="PENDING", cpu_cores=0)
    body = {
        "agent_version": "0.1.0",
        "sent_at_unix": clock.unix(),
        "facts": {"hostname": "edge", "cpu_cores": 2, "total_memory_bytes": 10, "kernel_version": "6.1"},
        "usage": {"cpu_percent": 12.5, "storage_used_bytes": 5},
    }
    answer = api(bearer=tokens.issue(node)).post(f"/api/nodes/{node.pk}/heartbeat", body)
    assert answer.status_code == 200, answer.content
    assert answer.json()["status"] == "ACTIVE"
    row = Node.objects.get(pk=node.pk)
    assert (row.hostname, row.cpu_cores, row.kernel_version, row.usage["cpu_percent"], row.is_online) == ("edge", 2, "6.1", 12.5, True)
    assert row.signals["socket"]["level"] == "warning" and row.signals["clock"]["level"] == "ok"
    down = api(bearer=tokens.issue(node)).post(f"/api/nodes/{node.pk}/heartbeat", {"engine_ok": False, "engine_error": "socket refused"})
    assert down.json()["status"] == "NOT_READY" and "socket refused" in down.json()["status_reason"]


def test_resources_are_taken_from_nodes_without_a_socket_only(api: Any, make_node: Any) -> None:
    node = make_node()
    answer = api(bearer=tokens.issue(node)).post(f"/api/workers/{node.pk}/resources/", RESOURCES)
    assert (answer.status_code, answer.json()) == (200, RESOURCES)
    assert Node.objects.get(pk=node.pk).current_pods == 3
    Node.objects.filter(pk=node.pk).update(session_epoch=1)
    refused = api(bearer=tokens.issue(node)).post(f"/api/nodes/{node.pk}/resources", {**RESOURCES, "current_pods": 0})
    assert (refused.status_code, refused.json()["code"]) == (409, "kept_by_panel")
    assert Node.objects.get(pk=node.pk).current_pods == 3


def test_no_person_and_no_other_node_gets_in(api: Any, make_node: Any, root: Any) -> None:
    """D05: identity is the token's; another node's id is as one that does not exist."""
    node, other = make_node("a"), make_node("b")
    for act, body in (("heartbeat", {}), ("resources", RESOURCES)):
        address = f"/api/nodes/{node.pk}/{act}"
        assert api().post(address, body).status_code == 401
        assert api(bearer="nonsense").post(address, body).status_code == 401
        assert api(bearer=tokens.issue(other)).post(address, body).status_code == 404
        assert api(root).post(address, body).status_code == 403
    assert api(bearer=tokens.issue(node)).get("/api/nodes").status_code == 401, "a node's token opens nothing else"
    assert api(bearer=tokens.issue(node)).post("/api/containers", {"name": "x", "image": "y"}).status_code == 401
    assert User.objects.filter(pk=root.pk).exists()


@pytest.mark.parametrize(
    "body",
    [{"usage": {"cpu_percent": "many"}}, {"facts": {"cpu_cores": []}}, {"nonsense": 1}, {"sent_at_unix": -1}, {"agent_version": "x" * 33}],
)
def test_a_malformed_beat_is_refused_and_changes_nothing(api: Any, make_node: Any, body: dict[str, Any]) -> None:
    node = make_node(status="PENDING", last_heartbeat=None)
    answer = api(bearer=tokens.issue(node)).post(f"/api/nodes/{node.pk}/heartbeat", body)
    assert answer.status_code == 400 and answer.headers["Content-Type"].startswith("application/problem+json")
    assert Node.objects.get(pk=node.pk).last_heartbeat is None


def test_a_replaced_token_is_dead_when_its_grace_is_over(api: Any, make_node: Any, olga: Any, clock_at: Any) -> None:
    """R43."""
    from nodes import services

    node = make_node()
    old = tokens.issue(node)
    new = services.rotate_token(node, actor=olga.as_actor(), grace_seconds=60)
    address = f"/api/nodes/{node.pk}/heartbeat"
    assert [api(bearer=t).post(address, {}).status_code for t in (old, new)] == [200, 200]
    clock_at(seconds=61)
    assert [api(bearer=t).post(address, {}).status_code for t in (old, new)] == [401, 200]
