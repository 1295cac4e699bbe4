"""`/api/nodes`, `/api/clusters`, `/api/placement/preview`, `/api/operations`: shapes, codes, doors."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from rest_framework.test import APIClient

from agent.protocol.commands import StartPayload
from audit.models import Entry
from nodes import commands, operations, tokens
from nodes.models import Command, Node

pytestmark = [pytest.mark.django_db, pytest.mark.redis]


@pytest.fixture
def api() -> Any:
    def client(user: Any) -> APIClient:
        made = APIClient()
        made.force_authenticate(user)
        return made

    return client


def test_a_registered_node_shows_its_token_once_with_the_command_that_joins(api: Any, olga: Any, settings: Any, tmp_path: Path) -> None:
    settings.DATA_DIR = tmp_path
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent" / "lormas-0.1.0-py3-none-any.whl").write_bytes(b"wheel")
    answer = api(olga).post("/api/nodes", {"name": "edge-1", "labels": {"zone": "a"}, "taints": [{"key": "gpu", "effect": "NoSchedule"}]})
    body = answer.json()
    assert answer.status_code == 201, body
    assert set(body) == {"id", "name", "token", "created_at", "install"}
    assert tokens.node_of(body["token"]).pk == uuid.UUID(body["id"])
    assert f"{settings.PUBLIC_URL}/agent/lormas-0.1.0-py3-none-any.whl" in body["install"]["command"]
    assert f"--panel {settings.PUBLIC_URL}" in body["install"]["command"]
    assert "--token" not in body["install"]["command"], "arguments show in the process list"
    shown = api(olga).get(answer.headers["Location"]).json()
    assert (shown["status"], shown["labels"], shown["taints"][0]["effect"], shown["is_online"]) == ("PENDING", {"zone": "a"}, "NoSchedule", False)
    assert body["token"] not in str(shown)
    assert body["token"] not in str(list(Entry.objects.values()))
    wheel = APIClient().get("/agent/lormas-0.1.0-py3-none-any.whl")
    assert (wheel.status_code, b"".join(wheel)) == (200, b"wheel")
    assert APIClient().get("/agent/agent.json").status_code == 404


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"name": ""}, 400, "name"),
        ({"name": "-rf"}, 400, "name"),
        ({"name": "a b"}, 400, "name"),
        ({"nmae": "x"}, 400, "nmae"),
        ({"labels": {"a b": "x"}}, 400, "labels.a b"),
        ({"taints": [{"key": "x", "effect": "Nope"}]}, 400, "taints.0.effect"),
        ({"port_first": 100, "port_last": 50}, 400, "port_last"),
        ({"max_pods": -1}, 400, "max_pods"),
        ({"cluster": str(uuid.uuid4())}, 400, "cluster"),
        ({"name": "TAKEN"}, 409, "name"),
    ],
)
def test_bad_nodes_are_refused_and_leave_no_row(api: Any, olga: Any, make_node: Any, change: dict[str, Any], status: int, field: str) -> None:
    make_node("taken")
    answer = api(olga).post("/api/nodes", {"name": "fine", **change}, format="json")
    assert (answer.status_code, [error["field"] for error in answer.json()["errors"]]) == (status, [field])
    assert Node.objects.count() == 1


def test_doors(api: Any, olga: Any, alice: Any, root: Any, make_node: Any) -> None:
    """Unseen is 404, seen but not allowed is 403, stranger is 401."""
    node = make_node()
    base = f"/api/nodes/{node.pk}"
    assert APIClient().get("/api/nodes").status_code == 401
    assert api(alice).get("/api/nodes").status_code == 403
    for method, path in (("get", base), ("patch", base), ("delete", base), ("patch", f"{base}/token"), ("patch", f"{base}/status")):
        assert getattr(api(alice), method)(path, {}, format="json").status_code == 404, path
    assert api(olga).delete(base).status_code == 403
    assert api(root).delete(base).status_code == 204
    assert api(root).get(base).status_code == 404


def test_list_filters_search_order_and_aliases(api: Any, olga: Any, make_node: Any) -> None:
    make_node("alpha", gateway="x")
    make_node("beta", status="NOT_READY", gateway="x")
    make_node("gamma", status="INACTIVE", is_schedulable=False)
    client = api(olga)

    def names(path: str) -> list[str]:
        return [row["name"] for row in client.get(path).json()["results"]]

    assert names("/api/nodes?ordering=-name") == ["gamma", "beta", "alpha"]
    assert names("/api/workers") == ["alpha", "beta", "gamma"]
    assert names("/api/nodes?status=INACTIVE") == ["gamma"]
    assert names("/api/nodes?search=bet") == ["beta"]
    assert names("/api/nodes?is_schedulable=false") == ["gamma"]
    assert (names("/api/nodes/online"), names("/api/nodes/offline")) == (["alpha", "beta"], ["gamma"])
    stats = client.get("/api/nodes/stats").json()
    assert (stats["total"], stats["online"], stats["by_status"]["NOT_READY"], stats["capacity"]["cpu_cores"]) == (3, 2, 1, 12.0)
    assert client.get("/api/nodes?status=NOPE").status_code == 400
    enveloped = client.get("/api/v1/nodes?limit=1").json()
    assert (enveloped["success"], enveloped["data"]["pagination"]["total"]) == (True, 3)


def test_token_rotates_with_grace(api: Any, olga: Any, make_node: Any) -> None:
    """R43."""
    node = make_node()
    first = tokens.issue(node)
    second = api(olga).patch(f"/api/nodes/{node.pk}/token?grace_seconds=60").json()["token"]
    assert tokens.node_of(first).pk == tokens.node_of(second).pk == node.pk
    third = api(olga).patch(f"/api/nodes/{node.pk}/token").json()["token"]
    for dead in (first, second):
        with pytest.raises(tokens.BadToken):
            tokens.node_of(dead)
    assert tokens.node_of(third).pk == node.pk
    assert api(olga).patch(f"/api/nodes/{node.pk}/token?grace_seconds=x").status_code == 400


def test_schedulable_toggles_and_status_moves_only_where_it_can(api: Any, olga: Any, make_node: Any) -> None:
    node = make_node()
    base, client = f"/api/nodes/{node.pk}", api(olga)
    assert client.patch(f"{base}/schedulable").json()["is_schedulable"] is False
    assert client.patch(f"{base}/schedulable", {"is_schedulable": False}, format="json").json()["is_schedulable"] is False
    assert client.patch(f"{base}/schedulable").json()["is_schedulable"] is True
    assert client.patch(f"{base}/status", {"status": "MAINTENANCE", "reason": "disks"}, format="json").json()["status_reason"] == "disks"
    refused = client.patch(f"{base}/status", {"status": "PENDING"}, format="json")
    assert (refused.status_code, refused.json()["code"], "NOT_READY" in refused.json()["allowed"]) == (409, "illegal_move", True)
    assert client.patch(f"{base}/status", {"status": "ACTIVE"}, format="json").status_code == 409, "no agent is connected"
    assert client.patch(f"{base}/status", {"status": "GONE"}, format="json").status_code == 400


def test_clusters_hold_nodes_and_an_overcommit(api: Any, olga: Any, root: Any, make_node: Any) -> None:
    client = api(olga)
    made = client.post("/api/clusters", {"name": "east", "strategy": "binpack", "overcommit_cpu": 2.0}, format="json")
    assert made.status_code == 201, made.json()
    base = made.headers["Location"]
    node = make_node()
    client.patch(f"/api/nodes/{node.pk}", {"cluster": made.json()["id"]}, format="json")
    assert [row["name"] for row in client.get(f"{base}/nodes").json()["results"]] == ["n1"]
    assert client.get(f"{base}/capacity").json()["total"] == 1
    assert client.delete(base).json()["code"] == "cluster_in_use"
    assert client.post("/api/clusters", {"name": "EAST"}, format="json").status_code in (201, 409)
    assert client.post("/api/clusters", {"name": "east"}, format="json").status_code in (400, 409)
    assert client.patch(base, {"overcommit_cpu": 0}, format="json").status_code == 400
    client.patch(f"/api/nodes/{node.pk}", {"cluster": None}, format="json")
    assert client.delete(base).status_code == 204


def test_preview_ranks_and_says_why_not(api: Any, olga: Any, make_node: Any, settings: Any) -> None:
    settings.CPU_OVERCOMMIT = 1.0
    make_node("big", cpu_cores=16.0)
    make_node("small", cpu_cores=1.0)
    make_node("down", status="INACTIVE", status_reason="Nothing heard for 50 s.")
    answer = api(olga).post("/api/placement/preview", {"cpus": 2, "memory_bytes": 1024}, format="json").json()
    assert [c["name"] for c in answer["candidates"]] == ["big"]
    assert {r["name"]: r["rule"] for r in answer["rejected"]} == {"small": "cpu", "down": "status"}
    assert Node.objects.get(name="big").current_pods == 0


def test_operations_are_ones_own_and_cancel_only_before_a_node_took_them(api: Any, alice: Any, bob: Any, olga: Any, make_node: Any) -> None:
    node = make_node()
    operation = operations.open_operation("container.start", user=alice, deadline_seconds=60)
    command = commands.enqueue(node, "container.start", payload=StartPayload(), operation=operation)
    path = f"/api/operations/{operation.pk}"
    assert [row["id"] for row in api(alice).get("/api/operations").json()["results"]] == [str(operation.pk)]
    assert api(bob).get("/api/operations").json()["count"] == 0
    assert (api(bob).get(path).status_code, api(bob).post(f"{path}/cancel").status_code) == (404, 404)
    assert api(olga).get(path).json()["status"] == "queued"
    commands.mark_sent([command.pk])
    assert api(alice).post(f"{path}/cancel").json()["code"] == "running_on_node"
    Command.objects.filter(pk=command.pk).update(state="queued")
    cancelled = api(alice).post(f"{path}/cancel").json()
    assert (cancelled["status"], cancelled["error"]["code"]) == ("cancelled", "cancelled")
    command.refresh_from_db()
    assert command.state == "cancelled"
    assert api(alice).post(f"{path}/cancel").status_code == 409
    assert api(alice).get(f"{path}?wait=61").status_code == 400
    assert api(alice).get(f"{path}?wait=1").json()["status"] == "cancelled"
