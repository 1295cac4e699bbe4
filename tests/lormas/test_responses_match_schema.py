"""What the API answers is what its document says: real responses, refusals among them, against `GET /api/schema/` (SURFACE section 1)."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from drf_spectacular.generators import SchemaGenerator
from jsonschema import Draft202012Validator
from rest_framework.test import APIClient

from audit.services import SYSTEM
from containers.models import Container
from eggs.services import import_bundled
from nodes.models import Node, Operation
from nodes.services import register_node
from tests.containers import conftest as played

pytestmark = [pytest.mark.django_db, pytest.mark.redis]

node, agent, make, running = played.node, played.agent, played.make, played.running


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    made: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)
    return made


class Checked:
    """A client that refuses to go on after an answer that the document does not describe."""

    def __init__(self, user: Any, document: dict[str, Any]) -> None:
        self.client = APIClient()
        if user is not None:
            self.client.force_authenticate(user)
        self.document = document
        # What no `{parameter}` matches comes first: /api/nodes/stats is not /api/nodes/{node_id}.
        self.routes = sorted(
            ((re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)), path) for path in document["paths"]), key=lambda route: route[1].count("{")
        )

    def __call__(self, method: str, address: str, body: Any = None) -> Any:
        answer = getattr(self.client, method)(address, body) if body is not None else getattr(self.client, method)(address)
        plain = address.partition("?")[0].rstrip("/")
        path = next(path for pattern, path in self.routes if pattern.fullmatch(plain))
        described = self.document["paths"][path][method]["responses"]
        said = f"{method.upper()} {address} -> {answer.status_code}"
        assert str(answer.status_code) in described, f"{said}; described are {sorted(described)}: {answer.content[:300]!r}"
        content = described[str(answer.status_code)].get("content") or {}
        if not content:
            assert answer.content == b"", said
            return answer
        kind = answer.headers["Content-Type"].partition(";")[0]
        assert kind in content, f"{said} as {kind}; described are {sorted(content)}"
        if kind.endswith("json"):
            schema = {**content[kind]["schema"], "components": self.document["components"]}
            wrong = [f"{error.json_path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(answer.json())]
            assert wrong == [], said
        return answer


@pytest.fixture
def ask(document: dict[str, Any], alice: Any) -> Checked:
    return Checked(alice, document)


@pytest.fixture
def ask_root(document: dict[str, Any], root: Any) -> Checked:
    return Checked(root, document)


GOOD = {"name": "web", "image": "busybox:stable", "command": "httpd -f", "env": ["A=1"], "ports": [8080]}


def test_containers_from_their_making_to_their_end(ask: Checked, node: Node, agent: Any) -> None:
    made = ask("post", "/api/containers", GOOD)
    assert made.status_code == 201
    container = Container.objects.get(pk=made.json()["id"])
    base = f"/api/containers/{container.pk}"
    assert ask("post", f"{base}/start").status_code == 423
    agent.done(container, "running", started_at="2026-01-01T00:00:00Z")
    for address in (base, "/api/containers", "/api/containers?status=running&search=we&ordering=-name", f"{base}/stats/history?range=24h"):
        assert ask("get", address).status_code == 200
    assert ask("get", f"{base}/stats").status_code == 200, "also before the first sample"
    assert ask("get", f"{base}/logs/stream").status_code == 200
    assert ask("patch", base, {"description": "x", "env": {"B": "2"}}).status_code == 200
    assert ask("post", f"{base}/start").status_code == 409
    assert ask("post", f"{base}/stop", {"timeout_seconds": 1}).status_code == 202
    agent.done(container, "exited", exit_code=143)
    assert ask("delete", base).status_code in (200, 202)


def test_a_sample_is_as_described(ask: Checked, running: Container, node: Node) -> None:
    from agent.protocol import messages as wire
    from containers.stats import take_in

    take_in(node.pk, wire.StatsReport(sampled_at_unix=1, node=wire.NodeUsage(), containers=[wire.ContainerStats(container_id=str(running.pk))]))
    for path in ("", "/stats", "/stats/history?range=1h", "/stats/history?range=7d"):
        assert ask("get", f"/api/containers/{running.pk}{path}").status_code == 200


def test_refusals_of_containers_are_problems_that_the_document_knows(ask: Checked, running: Container, node: Node) -> None:
    base = f"/api/containers/{running.pk}"
    stranger = f"/api/containers/{uuid.uuid4()}"
    for method, address, body, status in [
        ("post", "/api/containers", {}, 400),
        ("post", "/api/containers", {**GOOD, "name": "a", "limits": {"cpus": 400}}, 422),
        ("post", "/api/containers", {**GOOD, "name": "a", "ports": [{"container": 80, "host": 99}]}, 422),
        ("post", "/api/containers", GOOD, 409),
        ("post", "/api/containers", {**GOOD, "name": "a", "egg": str(uuid.uuid4()), "command": ""}, 404),
        ("get", "/api/containers?ordering=x", None, 400),
        ("get", "/api/containers?page=99", None, 404),
        ("get", stranger, None, 404),
        ("post", f"{stranger}/start", None, 404),
        ("patch", base, {"image": "--privileged"}, 400),
        ("patch", base, {"startup": "Nobody"}, 400),
        ("post", f"{base}/unpause", None, 409),
        ("get", f"{base}/logs?tail=-1", None, 400),
        ("get", f"{base}/logs", None, 503),
        ("post", f"{base}/logs", {"message": "x"}, 503),
        ("delete", f"{base}/logs", None, 503),
        ("get", f"{base}/logs/download", None, 503),
        ("post", f"{base}/exec", {"command": "true"}, 503),
        ("post", f"{base}/command", {"command": "x"}, 503),
        ("get", f"{base}/stats/history?range=9h", None, 400),
        ("post", f"{base}/restore", None, 404),
    ]:
        answer = ask(method, address, body)
        assert answer.status_code == status, (method, address, answer.content)
    Node.objects.filter(pk=node.pk).update(status="INACTIVE")
    assert ask("post", f"{base}/stop").status_code == 503


def test_nobody_signed_in(document: dict[str, Any]) -> None:
    ask = Checked(None, document)
    for address in ("/api/containers", "/api/nodes", "/api/operations", "/api/eggs"):
        assert ask("get", address).status_code == 401


def test_nodes(ask_root: Checked, ask: Checked, node: Node) -> None:
    made = ask_root(
        "post", "/api/nodes", {"name": "node-9", "labels": {"disk": "ssd"}, "taints": [{"key": "a", "value": "b", "effect": "NoSchedule"}]}
    )
    assert made.status_code == 201
    base = f"/api/nodes/{made.json()['id']}"
    for address in (
        "/api/nodes",
        "/api/nodes?status=PENDING&search=node",
        base,
        "/api/nodes/stats",
        "/api/nodes/online",
        "/api/nodes/offline",
        "/api/workers",
    ):
        assert ask_root("get", address).status_code == 200
    assert ask_root("patch", base, {"description": "x", "max_pods": 5}).status_code == 200
    assert ask_root("patch", f"{base}/schedulable").status_code == 200
    assert ask_root("patch", f"{base}/token").status_code == 200
    assert ask_root("patch", f"{base}/status", {"status": "MAINTENANCE"}).status_code in (200, 409)
    assert ask_root("patch", f"{base}/status", {"status": "x"}).status_code == 400
    assert ask_root("post", "/api/nodes", {"name": "node-9"}).status_code in (400, 409)
    assert ask_root("get", f"/api/nodes/{uuid.uuid4()}").status_code == 404
    assert ask("post", "/api/nodes", {"name": "mine"}).status_code == 403
    assert ask_root("post", "/api/placement/preview", {"cpus": 400}).status_code == 200
    assert ask_root("delete", base).status_code in (200, 204)


def test_eggs(ask_root: Checked, ask: Checked) -> None:
    import_bundled()
    listed = ask("get", "/api/eggs")
    assert listed.json()["count"] >= 3
    base = f"/api/eggs/{listed.json()['results'][0]['id']}"
    for address in (base, f"{base}/versions", f"{base}/export?format=PTDL_v2", f"{base}/export?format=PLCN_v3"):
        assert ask_root("get", address).status_code == 200
    assert ask("post", f"{base}/preview", {"values": {}}).status_code == 200
    assert ask_root("post", "/api/eggs/import", {"meta": {"version": "PTDL_v9"}}).status_code in (400, 422)
    assert ask("delete", base).status_code == 403
    assert ask("get", f"/api/eggs/{uuid.uuid4()}").status_code == 404


def test_operations(ask: Checked, make: Any, agent: Any) -> None:
    container, operation = make("web")
    base = f"/api/operations/{operation.pk}"
    assert ask("get", base).json()["status"] == "queued"
    assert ask("get", "/api/operations?status=queued").json()["count"] == 1
    agent.failed(container, "pull_failed", "no such image")
    assert ask("get", base).json()["error"]["code"] == "pull_failed"
    assert ask("post", f"{base}/cancel").status_code in (200, 409)
    assert ask("get", f"/api/operations/{uuid.uuid4()}").status_code == 404
    assert Operation.objects.count() == 1


def test_the_rest_that_answers_without_a_node(ask_root: Checked) -> None:
    register_node(name="node-1", actor=SYSTEM)
    for address in (
        "/api/roles",
        "/api/permissions",
        "/api/users",
        "/api/audit",
        "/api/auth/session",
        "/api/auth/providers",
        "/api/whoami",
        "/api/health",
        "/api/clusters",
    ):
        if address in ask_root.document["paths"]:
            assert ask_root("get", address).status_code == 200, address
