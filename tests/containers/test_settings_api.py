"""Settings, revisions and drift by API: shapes, codes, doors; drift against a played node."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from containers import logs
from containers.models import Container
from nodes.models import Command, Node

pytestmark = [pytest.mark.django_db, pytest.mark.redis]


@pytest.fixture
def api() -> Any:
    def client(user: Any) -> APIClient:
        made = APIClient()
        made.force_authenticate(user)
        return made

    return client


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the node answers to `container.drift`; questions are kept behind it."""
    said: list[Any] = [[]]

    def ask(container: Any, kind: str, payload: Any = None, *, timeout_seconds: float = 10) -> dict[str, Any]:
        said.append((kind, payload))
        if kind == "exec.run":
            return {"exit_code": 3, "stdout": "hi\n", "stderr": "", "duration_seconds": 0.1, "truncated": False, "timed_out": False}
        return {"differences": said[0]}

    monkeypatch.setattr(logs, "ask", ask)
    return said


def test_settings_are_read_changed_and_tell_when_each_change_counts(api: Any, alice: Any, running: Container) -> None:
    address = f"/api/containers/{running.pk}/settings"
    before = api(alice).get(address).json()
    assert (before["image"], before["auto_start"], before["pending"], before["revision"], before["limits"]["pids"]) == (
        "busybox:stable", True, False, 1, 512,
    )  # fmt: skip
    body = {"image": "busybox:2", "limits": {"pids": 99}, "auto_start": False, "ports": ["30004:80", 443], "readiness": {"done": ["up"]}}
    tried = api(alice).post(f"{address}/preview", body, format="json").json()
    assert tried["needs_restart"] and tried["effects"]["auto_start"] == "now" and tried["effects"]["ports"] == "recreate"
    assert api(alice).get(address).json() == before
    after = api(alice).put(address, body, format="json").json()
    assert (after["effects"], after["pending"], after["revision"]) == (tried["effects"], True, 2)
    assert [(p["container_port"], p["is_primary"]) for p in after["ports"]] == [(80, True), (443, False)]
    assert after["limits"]["pids"] == 99 and after["readiness"]["done"] == ["up"]


def test_apply_now_restarts_what_runs(api: Any, alice: Any, running: Container, agent: Any) -> None:
    answer = api(alice).put(f"/api/settings/{running.pk}", {"env": {"A": "1"}, "apply": "now"}, format="json").json()
    assert (answer["operation"]["kind"], answer["needs_restart"]) == ("container.restart", False)
    assert agent.open_command(running).kind == "container.create"


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"imgae": "x"}, 400, "imgae"),
        ({"image": "Upper:tag"}, 400, "image"),
        ({"limits": {"memory_bytes": 5}}, 400, "limits.memory_bytes"),
        ({"limits": {"cpu": 1}}, 400, "limits.cpu"),
        ({"ports": ["1:2:3"]}, 400, "ports"),
        ({"ports": ["40000:80"]}, 422, "ports.0.host"),
        ({"startup": "fast"}, 400, "startup"),
        ({"startup_script": "x" * 65537}, 400, "startup_script"),
        ({"apply": "soon"}, 400, "apply"),
        ({"limits": {"memory_bytes": 2**49}}, 422, "limits.memory_bytes"),
    ],
)
def test_what_is_wrong_is_refused_by_its_field_and_nothing_is_written(
    api: Any, alice: Any, running: Container, body: Any, status: int, field: str
) -> None:
    address = f"/api/containers/{running.pk}/settings"
    before = api(alice).get(address).json()
    answer = api(alice).put(address, {"description": "changed", **body}, format="json")
    assert answer.status_code == status, answer.json()
    assert any(error["field"].startswith(field) for error in answer.json()["errors"]), answer.json()
    assert api(alice).get(address).json() == before


def test_strangers_see_nothing_and_viewers_change_nothing(api: Any, charlie: Any, running: Container) -> None:
    """D01"""
    for method, tail in (("get", "settings"), ("put", "settings"), ("post", "settings/preview"), ("post", "settings/startup-script"),
                         ("post", "settings/execute-script"), ("get", "revisions"), ("post", "revisions/1/rollback"), ("get", "drift"),
                         ("post", "drift/reapply"), ("post", "drift/adopt")):  # fmt: skip
        assert getattr(api(charlie), method)(f"/api/containers/{running.pk}/{tail}", {}, format="json").status_code == 404, tail


def test_a_startup_script_is_stored_and_run_now_with_its_output(api: Any, alice: Any, running: Container, engine: list[Any]) -> None:
    address = f"/api/containers/{running.pk}/settings"
    nothing = api(alice).post(f"{address}/execute-script", {}, format="json")
    assert (nothing.status_code, nothing.json()["code"]) == (400, "no_script")
    assert api(alice).post(f"{address}/startup-script", {"script": "echo hi\n"}, format="json").json()["startup_script"] == "echo hi\n"
    done = api(alice).post(f"{address}/execute-script", {}, format="json").json()
    assert (done["exit_code"], done["stdout"]) == (3, "hi\n")
    assert engine[-1][1].argv == ["/bin/sh", "-c", "echo hi\n"]  # C01: a shell of the container, never one of ours


def test_revisions_are_listed_and_rolled_back(api: Any, alice: Any, running: Container) -> None:
    address = f"/api/containers/{running.pk}"
    assert api(alice).get(f"{address}/revisions").json()["results"] == []
    api(alice).patch(address, {"env": {"A": "1"}}, format="json")
    rows = api(alice).get(f"{address}/revisions").json()["results"]
    assert [(r["number"], r["changes"]) for r in rows] == [(2, [{"field": "env.A", "before": None, "after": "1"}]), (1, [])]
    back = api(alice).post(f"{address}/revisions/1/rollback", {"apply": "now"}, format="json").json()
    assert (back["revision"], back["operation"]["kind"]) == (3, "container.restart")
    assert api(alice).post(f"{address}/revisions/9/rollback", {}, format="json").status_code == 404


def test_drift_is_told_reapplied_or_taken_over(api: Any, alice: Any, running: Container, node: Node, engine: list[Any], agent: Any) -> None:
    Node.objects.filter(pk=node.pk).update(capabilities=["update"])
    address = f"/api/containers/{running.pk}/drift"
    assert api(alice).post(f"{address}/reapply").json()["code"] == "no_drift"
    engine[0] = [["cpus", 0.5, 0.25], ["env.HAND", None, "made"], ["labels.x", None, "y"]]
    found = {one["field"]: one["adoptable"] for one in api(alice).get(address).json()["differences"]}
    assert found == {"cpus": True, "env.HAND": True, "labels.x": False}
    assert api(alice).post(f"{address}/adopt", {"fields": ["labels.x"]}, format="json").json()["code"] == "not_adoptable"
    assert api(alice).post(f"{address}/adopt", {"fields": ["memory_bytes"]}, format="json").json()["code"] == "no_such_difference"
    taken = api(alice).post(f"{address}/adopt", {}, format="json").json()
    assert taken["revision"] == 2
    running.refresh_from_db()
    assert (running.cpus, running.env) == (0.25, {"HAND": "made"})
    engine[0] = [["cpus", 0.25, 0.5]]
    Container.objects.filter(pk=running.pk).update(spec_changed=False)
    assert api(alice).post(f"{address}/reapply").json()["operation"]["kind"] == "container.update"
    agent.done(running, "running")
    engine[0] = [["image", "a", "b"]]
    assert api(alice).post(f"{address}/reapply").json()["operation"]["kind"] == "container.restart"
    assert Command.objects.filter(subject_id=running.pk, kind="container.create").count() == 2
