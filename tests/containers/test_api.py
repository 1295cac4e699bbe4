"""`/api/containers`: shapes, codes, doors."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from containers.models import Container, Port
from nodes.models import Command, Node, Operation

pytestmark = [pytest.mark.django_db, pytest.mark.redis]


@pytest.fixture
def api() -> Any:
    def client(user: Any) -> APIClient:
        made = APIClient()
        made.force_authenticate(user)
        return made

    return client


GOOD = {
    "name": "web",
    "image": "busybox:stable",
    "command": ["httpd", "-f"],
    "env": ["A=1"],
    "ports": [8080],
    "limits": {"cpus": 0.5, "memory_bytes": 67108864},
}


def test_create_from_an_image_answers_201_with_id_session_and_operation(api: Any, alice: Any, node: Node) -> None:
    answer = api(alice).post("/api/containers", GOOD)
    body = answer.json()
    assert answer.status_code == 201, body
    assert body["id"] == body["session_id"]
    assert body["operation"]["kind"] == "container.create"
    assert body["status"] == "creating"
    assert body["ports"][0]["container_port"] == 8080
    assert answer.headers["Location"] == f"/api/containers/{body['id']}"


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"nmae": "x"}, 400, "nmae"),
        ({"name": "../etc"}, 400, "name"),
        ({"name": ""}, 400, "name"),
        ({"name": "x" * 65}, 400, "name"),
        ({"name": 5.5, "image": ["x"]}, 400, "image"),
        ({"image": "Upper:tag"}, 400, "image"),
        ({"image": "x; rm -rf /"}, 400, "image"),
        ({"image": "--privileged"}, 400, "image"),
        ({"image": None}, 400, "image"),
        ({"env": {"A B": "1"}}, 400, "env"),
        ({"env": {"LD_PRELOAD": "x"}}, 400, "env"),
        ({"env": ["no-equals"]}, 400, "env"),
        ({"env": {"A": "x\u0000"}}, 400, None),
        ({"labels": {"lormas.instance": "forged"}}, 400, "labels"),
        ({"ports": [0]}, 400, "ports"),
        ({"ports": [70000]}, 400, "ports"),
        ({"ports": ["80/sctp"]}, 400, "ports"),
        ({"ports": [{"container": 80, "hots": 1}]}, 400, "ports"),
        ({"limits": {"cpus": -1}}, 400, "limits.cpus"),
        ({"limits": {"memory_bytes": 1024}}, 400, "limits.memory_bytes"),
        ({"limits": {"cpu": 1}}, 400, "limits.cpu"),
        ({"limits": {"cpus": 999}}, 422, None),
        ({"ports": [{"container": 80, "host": 22}]}, 422, None),
        ({"mounts": [{"kind": "bind", "source": "/", "target": "/host"}]}, 403, "mounts"),
        ({"mounts": [{"kind": "volume", "source": "other", "target": "/x"}]}, 400, "mounts"),
        ({"mounts": [{"kind": "data", "target": "/x", "driver_opts": {"type": "none", "o": "bind", "device": "/"}}]}, 400, "mounts"),
        ({"mounts": [{"kind": "data", "target": "/x", "VolumeOptions": {"DriverConfig": {"Name": "local"}}}]}, 400, "mounts"),
        ({"volumes": {"x": {"driver_opts": {"o": "bind"}}}}, 400, "volumes"),
        ({"node": "00000000-0000-0000-0000-000000000000"}, 404, "node"),
        ({"egg": "00000000-0000-0000-0000-000000000000", "command": []}, 404, None),
        ({"command": {"a": 1}}, 400, "command"),
        ({"restart_policy": "sometimes"}, 400, "restart_policy"),
    ],
)
def test_bad_input_says_what_is_wrong_and_leaves_nothing(
    api: Any, alice: Any, node: Node, change: dict[str, Any], status: int, field: str | None
) -> None:
    """A01, A02, A11, A12, C01, C07, C08"""
    answer = api(alice).post("/api/containers", {**GOOD, **change})
    body = answer.json()
    assert answer.status_code == status, body
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert body["detail"]
    if field is not None:
        assert any(error["field"].startswith(field) for error in body["errors"]), body
    nothing_left(node)


def nothing_left(node: Node) -> None:
    """No row, port, command, operation or promise of capacity stays behind a refusal."""
    node.refresh_from_db()
    assert [Container.objects.count(), Port.objects.count(), Command.objects.count(), Operation.objects.count()] == [0, 0, 0, 0]
    assert (node.current_pods, node.allocated_cpus, node.allocated_memory_bytes) == (0, 0, 0)


def test_an_offline_node_and_one_that_is_not_yours_to_see_leave_nothing(api: Any, alice: Any, root: Any, node: Node) -> None:
    """D01"""
    unseen = api(alice).post("/api/containers", {**GOOD, "node": str(node.pk)})
    assert unseen.status_code == 404, unseen.json()
    assert [error["field"] for error in unseen.json()["errors"]] == ["node"]
    nothing_left(node)
    Node.objects.filter(pk=node.pk).update(status="INACTIVE", status_reason="No heartbeat.", gateway="")
    offline = api(root).post("/api/containers", {**GOOD, "node": str(node.pk)})
    assert offline.status_code == 503, offline.json()
    assert "since" in offline.json()["detail"]
    nothing_left(node)


def test_a_taken_port_and_a_second_action_leave_nothing_more_than_there_was(api: Any, alice: Any, root: Any, running: Container, node: Node) -> None:
    """A12, R21"""
    taken = {"container": 80, "host": 30005}
    assert api(alice).post("/api/containers", {**GOOD, "name": "first", "ports": [taken]}).status_code == 201
    assert api(alice).post(f"/api/containers/{running.pk}/stop").status_code == 202

    def rows() -> list[int]:
        node.refresh_from_db()
        return [Container.objects.count(), Port.objects.count(), Command.objects.count(), Operation.objects.count(), node.current_pods]

    before = rows()
    second = api(root).post("/api/containers", {**GOOD, "name": "second", "ports": [taken], "node": str(node.pk)})
    assert (second.status_code, second.json()["code"]) == (409, "port_taken"), second.json()
    assert rows() == before
    again = api(alice).post(f"/api/containers/{running.pk}/restart")
    assert again.status_code == 423, again.json()
    assert again.json()["operation"]
    assert rows() == before


def test_strangers_see_nothing_and_viewers_change_nothing(api: Any, running: Container, alice: Any, bob: Any, charlie: Any, olga: Any) -> None:
    """D01, D11"""
    address = f"/api/containers/{running.pk}"
    assert api(alice).get(address).status_code == 200
    for method, path in [("get", ""), ("patch", ""), ("delete", ""), ("post", "/stop"), ("get", "/logs"), ("post", "/exec"), ("get", "/stats")]:
        answer = getattr(api(bob), method)(address + path, {} if method != "get" else None)
        assert answer.status_code == 404, (method, path)
    assert api(olga).get(address).status_code == 200
    assert api(charlie).post("/api/containers", GOOD).status_code == 403
    assert APIClient().get(address).status_code == 401
    assert api(bob).get("/api/containers").json()["count"] == 0
    assert api(olga).get("/api/containers").json()["count"] == 1


def test_power_answers_202_with_the_operation_and_423_while_it_runs(api: Any, running: Container, alice: Any, agent: Any) -> None:
    first = api(alice).post(f"/api/containers/{running.pk}/stop", {"timeout_seconds": 2})
    assert first.status_code == 202
    assert first.headers["Location"] == f"/api/operations/{first.json()['operation']['id']}"
    second = api(alice).post(f"/api/containers/{running.pk}/restart")
    assert second.status_code == 423
    assert second.json()["operation"] == first.json()["operation"]["id"]
    agent.done(running, "exited", exit_code=0)
    wrong = api(alice).post(f"/api/containers/{running.pk}/pause")
    assert wrong.status_code == 409
    assert (wrong.json()["state"], wrong.json()["allowed"]) == ("stopped", ["delete", "restart", "start"])
    assert api(alice).post(f"/api/containers/{running.pk}/explode").status_code == 404
    assert api(alice).post(f"/api/containers/{running.pk}/start", {"timeout": 3}).status_code == 400


def test_the_list_filters_searches_and_orders_by_declared_fields_only(api: Any, make: Any, alice: Any, node: Node) -> None:
    """C11, J02"""
    make("beta", labels={"tier": "web"})
    make("alpha")
    get = api(alice).get
    assert [c["name"] for c in get("/api/containers?ordering=name").json()["results"]] == ["alpha", "beta"]
    assert [c["name"] for c in get("/api/containers?search=alp").json()["results"]] == ["alpha"]
    assert [c["name"] for c in get("/api/containers?label=tier%3Dweb").json()["results"]] == ["beta"]
    assert get(f"/api/containers?node={node.pk}&status=creating").json()["count"] == 2
    everything = f"status=creating&status=running&node={node.pk}&owner={alice.pk}&search=a&ordering=-name"
    pages = [get(f"/api/containers?{everything}&page_size=1&page={number}").json() for number in (1, 2)]
    assert [(page["count"], [c["name"] for c in page["results"]]) for page in pages] == [(2, ["beta"]), (2, ["alpha"])]
    assert get("/api/containers?status=exploded").status_code == 400
    assert get("/api/containers?ordering=owner__password").status_code == 400
    assert get("/api/containers?page_size=100000").status_code == 400
    assert get("/api/containers?node=x").status_code == 400


def test_a_list_costs_the_same_number_of_queries_for_2_and_for_20(
    api: Any, make: Any, alice: Any, node: Node, django_assert_max_num_queries: Any
) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    counts = []
    for size in (2, 20):
        Container.objects.all().delete()
        for index in range(size):
            Container.objects.create(name=f"c{index}", owner=alice, node=node, image="x", status="running")
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert len(api(alice).get("/api/containers?page_size=50").json()["results"]) == size
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_logs_of_a_node_that_is_not_connected_answer_503_with_since(api: Any, running: Container, alice: Any) -> None:
    answer = api(alice).get(f"/api/containers/{running.pk}/logs")
    assert answer.status_code == 503
    assert answer.json()["code"] == "node_offline"
    assert answer.json()["since"]
    assert api(alice).get(f"/api/containers/{running.pk}/logs?tail=99999999").status_code == 400
    assert api(alice).get(f"/api/containers/{running.pk}/logs?follow=1").status_code == 400


def test_changes_take_effect_and_say_whether_a_restart_is_needed(api: Any, running: Container, alice: Any) -> None:
    patch = api(alice).patch
    renamed = patch(f"/api/containers/{running.pk}", {"name": "shop"}).json()
    assert (renamed["name"], renamed["needs_restart"]) == ("shop", False)
    changed = patch(f"/api/containers/{running.pk}", {"env": {"MODE": "x"}}).json()
    assert (changed["env"], changed["needs_restart"]) == ({"MODE": "x"}, True)
    assert patch(f"/api/containers/{running.pk}", {"owner": "someone"}).status_code == 400


def test_stats_history_takes_known_ranges_only(api: Any, running: Container, alice: Any) -> None:
    assert api(alice).get(f"/api/containers/{running.pk}/stats/history?range=24h").json() == {"range": "24h", "points": []}
    assert api(alice).get(f"/api/containers/{running.pk}/stats/history?range=1y").status_code == 400


@pytest.mark.parametrize("wait", ["abc", "61", "-1", "nan"])
def test_a_wait_that_is_refused_has_done_nothing(api: Any, alice: Any, running: Container, wait: str) -> None:
    answers = [
        api(alice).post(f"/api/containers/{running.pk}/stop?wait={wait}"),
        api(alice).delete(f"/api/containers/{running.pk}?wait={wait}"),
        api(alice).post(f"/api/containers?wait={wait}", {**GOOD, "name": "other"}),
    ]
    assert [answer.status_code for answer in answers] == [400, 400, 400]
    running.refresh_from_db()
    assert (running.status, running.desired) == ("running", "running")
    assert running.running_operation is None
    assert Container.objects.count() == 1


@pytest.mark.parametrize("change", [{"name": 5}, {"image": 1.5}, {"description": 3}])
def test_a_number_is_no_text(api: Any, alice: Any, node: Node, change: dict[str, Any]) -> None:
    answer = api(alice).post("/api/containers", {**GOOD, **change})
    assert answer.status_code == 400
    assert [error["field"] for error in answer.json()["errors"]] == list(change)
    assert Container.objects.count() == 0
