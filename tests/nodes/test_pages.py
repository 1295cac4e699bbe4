"""Pages of nodes, clusters, jobs, registries and keys: who opens them, what their forms do, what strangers' names become."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from lormas.common import clock
from nodes import drains, leases
from nodes.models import Cluster, Command, Drain, JobRun, MaintenanceWindow, Node, OnboardingKey, Operation, Orphan, Registry
from nodes.services import move_status
from tests.console import conftest as pages
from tests.console.test_pages import harmless

pytestmark = [pytest.mark.django_db, pytest.mark.redis]
node, pending, web, sign_in, egg = pages.node, pages.pending, pages.web, pages.sign_in, pages.egg
SignIn = Callable[[Any], Client]


@pytest.fixture
def cluster(node: Any) -> Cluster:
    made = Cluster.objects.create(name="eu", labels={"region": "eu"}, overcommit_cpu=2)
    Node.objects.filter(pk=node.pk).update(cluster=made)
    return made


@pytest.fixture
def registry(db: None) -> Registry:
    return Registry.objects.create(name="ours", server="r.example.org", username="ci", password="x")


# (address, status for: nobody, alice a member, charlie a viewer, olga the operator, root)
PAGES = [
    ("/nodes/{node}/timeline", 302, 404, 404, 200, 200),
    ("/nodes/{node}/timeline?range=7d&kind=status", 302, 404, 404, 200, 200),
    ("/nodes/{pending}/timeline", 302, 404, 404, 200, 200),
    ("/nodes/{node}/labels", 302, 404, 404, 200, 200),
    ("/nodes/{node}/drain", 302, 404, 404, 200, 200),
    ("/nodes/{node}/stock", 302, 404, 404, 200, 200),
    ("/nodes/{node}/stock?kind=volumes", 302, 404, 404, 200, 200),
    ("/nodes/{node}/stock?kind=secrets", 302, 404, 404, 404, 404),
    ("/nodes/{pending}/prune", 302, 404, 404, 503, 503),
    ("/nodes/{node}/activity", 302, 404, 404, 200, 200),
    ("/nodes/{node}/access", 302, 404, 404, 200, 200),
    ("/nodes/keys", 302, 403, 403, 200, 200),
    ("/placement", 302, 403, 403, 200, 200),
    ("/placement?cpus=1&memory_gib=2&labels=a%3Db&tolerates=gpu&near=app%3Ddb", 302, 403, 403, 200, 200),
    ("/placement?cpus=many", 302, 403, 403, 400, 400),
    ("/clusters", 302, 403, 403, 200, 200),
    ("/clusters/new", 302, 403, 403, 200, 200),
    ("/clusters/{cluster}", 302, 404, 404, 200, 200),
    ("/clusters/{cluster}/edit", 302, 404, 404, 200, 200),
    ("/clusters/{cluster}/delete", 302, 404, 404, 200, 200),
    ("/clusters/{cluster}/access", 302, 404, 404, 200, 200),
    ("/registries", 302, 403, 403, 200, 200),
    ("/registries/{registry}", 302, 403, 403, 200, 200),
    ("/jobs", 302, 403, 403, 200, 200),
    ("/jobs/nodes.sync", 302, 403, 403, 200, 200),
    ("/jobs/no.such", 302, 403, 403, 404, 404),
]


@pytest.fixture
def no_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """The node of these tests has no agent behind its row."""
    from nodes import stock

    monkeypatch.setattr(stock, "ASK_SECONDS", 0.2)


def test_each_page_opens_for_whom_it_is_meant_is_harmless_and_refuses_the_others(
    node: Any, pending: Any, cluster: Any, registry: Any, alice: Any, charlie: Any, olga: Any, root: Any, sign_in: SignIn, no_engine: None
) -> None:
    """D01-D03, F02, H01, H03."""
    wrong = []
    for address, *expected in PAGES:
        url = address.format(node=node.pk, pending=pending.pk, cluster=cluster.pk, registry=registry.pk)
        for user, status in zip((None, alice, charlie, olga, root), expected, strict=True):
            answer = (sign_in(user) if user else Client()).get(url)
            if answer.status_code != status:
                wrong.append(f"{url} for {user}: {answer.status_code}, not {status}")
            harmless(answer.content.decode())
    assert wrong == []


POSTS = [
    "/nodes/{node}/labels",
    "/nodes/{node}/drain",
    "/nodes/{node}/undrain",
    "/nodes/{node}/upgrade",
    "/nodes/{node}/maintenance",
    "/nodes/{node}/pull",
    "/nodes/{node}/remove",
    "/nodes/{node}/prune",
    "/clusters/new",
    "/clusters/{cluster}/edit",
    "/clusters/{cluster}/delete",
    "/clusters/{cluster}/maintenance",
    "/registries",
    "/registries/{registry}",
    "/registries/{registry}/delete",
    "/nodes/keys",
    "/jobs/nodes.sync/run",
]


def test_nobody_without_the_right_changes_anything_by_a_form(
    node: Any, cluster: Any, registry: Any, alice: Any, charlie: Any, sign_in: SignIn
) -> None:
    """D07, D11: a refusal has no side effect."""
    before = [m.objects.count() for m in (Cluster, Registry, Command, Operation, Drain, MaintenanceWindow, OnboardingKey, JobRun)]
    for address in POSTS:
        url = address.format(node=node.pk, cluster=cluster.pk, registry=registry.pk)
        body = {"name": cluster.name, "minutes": 5, "label_key": "x", "label_value": "y", "image": "x", "kind": "images", "id": "x"}
        for user in (alice, charlie):
            assert sign_in(user).post(url, body).status_code in (403, 404), url
        assert Client().post(url, body).status_code == 302, url
    assert before == [m.objects.count() for m in (Cluster, Registry, Command, Operation, Drain, MaintenanceWindow, OnboardingKey, JobRun)]
    assert Node.objects.get(pk=node.pk).labels == {}


def test_labels_and_taints_are_edited_in_rows_and_who_has_to_leave_is_told_before(node: Any, web: Any, olga: Any, sign_in: SignIn) -> None:
    client = sign_in(olga)
    address = f"/nodes/{node.pk}/labels"
    body = {
        "label_key": ["zone", "", "disk"],
        "label_value": ["eu", "", "ssd"],
        "taint_key": [""],
        "taint_value": [""],
        "taint_effect": ["NoSchedule"],
    }
    assert client.post(address, body).status_code == 302
    assert Node.objects.get(pk=node.pk).labels == {"zone": "eu", "disk": "ssd"}
    assert client.post(address, {}).status_code == 400, "a form that lost its rows wipes nothing"
    assert Node.objects.get(pk=node.pk).labels == {"zone": "eu", "disk": "ssd"}
    bad = client.post(address, {**body, "label_key": ["a b", "", ""]})
    assert bad.status_code == 400 and 'value="a b"' in bad.content.decode(), "nothing typed is lost"
    twice = client.post(address, {**body, "label_key": ["zone", "zone", ""]})
    assert twice.status_code == 400 and "there twice" in twice.content.decode()
    evicting = {**body, "taint_key": ["bad-disk"], "taint_value": [""], "taint_effect": ["NoExecute"]}
    asked = client.post(address, evicting)
    assert asked.status_code == 200 and "web-1" in asked.content.decode() and "at once" in asked.content.decode()
    assert Node.objects.get(pk=node.pk).taints == []
    assert client.post(address, {**evicting, "sure": "1"}).status_code == 302
    assert Node.objects.get(pk=node.pk).taints == [{"key": "bad-disk", "value": "", "effect": "NoExecute"}]


def test_the_drain_wizard_shows_what_goes_and_then_how_far_it_is(node: Any, web: Any, olga: Any, sign_in: SignIn) -> None:
    client = sign_in(olga)
    address = f"/nodes/{node.pk}/drain"
    shown = client.get(address).content.decode()
    assert "web-1" in shown and "No other node can take it now." in shown and "It is down until" in shown
    assert client.post(address, {"minutes": "0"}).status_code == 400
    assert client.post(address, {"minutes": "30", "message": "New disks"}).status_code == 302
    drains.advance_all()
    going = client.get(address).content.decode()
    assert "Draining" in going and "New disks" in going and "is stopping" in going
    fragment = client.get(address, headers={"X-Live": "1"}).content.decode()
    assert fragment.startswith('<div id="drain"')
    assert "being drained" in client.get(f"/nodes/{node.pk}").content.decode()
    assert client.post(f"/nodes/{node.pk}/undrain", {"keep": "1"}).status_code == 302
    assert Drain.objects.get().state == "cancelled" and not Node.objects.get(pk=node.pk).is_schedulable
    assert client.post(f"/nodes/{node.pk}/undrain").status_code == 302
    assert Node.objects.get(pk=node.pk).is_schedulable


def test_a_window_is_planned_and_called_off_on_the_page(node: Any, cluster: Any, olga: Any, sign_in: SignIn) -> None:
    client = sign_in(olga)
    start = (clock.now() + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M")
    end = (clock.now() + timedelta(days=1, hours=2)).strftime("%Y-%m-%dT%H:%M")
    for base in (f"/nodes/{node.pk}", f"/clusters/{cluster.pk}"):
        assert client.post(f"{base}/maintenance", {"starts_at": start, "ends_at": end, "reason": "Kernel"}).status_code == 302
        refused = client.post(f"{base}/maintenance", {"starts_at": end, "ends_at": start, "reason": "Kernel"})
        assert refused.status_code == 400 and "Must be after its start." in refused.content.decode()
    assert MaintenanceWindow.objects.count() == 2
    assert client.get(f"/nodes/{node.pk}/timeline").content.decode().count("Kernel") == 2, "its own and its cluster's"
    for window in MaintenanceWindow.objects.all():
        assert client.post(f"/maintenance/{window.pk}/cancel").status_code == 302
    assert set(MaintenanceWindow.objects.values_list("state", flat=True)) == {"cancelled"}


def test_a_cluster_is_made_changed_and_removed_with_its_name(node: Any, root: Any, sign_in: SignIn) -> None:
    client = sign_in(root)
    form = {"name": "eu", "strategy": "binpack", "overcommit_cpu": "2", "overcommit_memory": "1", "overcommit_storage": "1", "failover": "never"}
    assert client.post("/clusters/new", {**form, "overcommit_cpu": "0"}).status_code == 400
    made = client.post("/clusters/new", {**form, "labels": "region=eu"})
    assert made.status_code == 302
    cluster = Cluster.objects.get()
    assert (cluster.strategy, cluster.overcommit_cpu, cluster.labels) == ("binpack", 2.0, {"region": "eu"})
    taken = client.post("/clusters/new", form)
    assert taken.status_code == 400 and "Taken" in taken.content.decode()
    assert client.post(f"/clusters/{cluster.pk}/edit", {**form, "name": "eu-2"}).status_code == 302
    Node.objects.filter(pk=node.pk).update(cluster=cluster)
    shown = client.get(f"/clusters/{cluster.pk}").content.decode()
    assert "of 16 cores promised" in shown and "fra-1" in shown
    assert client.post(f"/clusters/{cluster.pk}/delete", {"name": "eu-2"}).status_code == 409
    Node.objects.update(cluster=None)
    assert client.post(f"/clusters/{cluster.pk}/delete", {"name": "wrong"}).status_code == 400
    assert client.post(f"/clusters/{cluster.pk}/delete", {"name": "eu-2"}).status_code == 302
    assert not Cluster.objects.exists()


def test_a_key_is_shown_once_and_a_registrys_password_never(root: Any, sign_in: SignIn) -> None:
    client = sign_in(root)
    assert client.post("/nodes/keys", {"name": "rack", "hours": "24", "max_uses": "5"}).status_code == 302
    first, second = client.get("/nodes/keys").content.decode(), client.get("/nodes/keys").content.decode()
    assert re.search(r"LORMAS_JOIN_KEY=lorj_[\w-]{20,}", first) and "LORMAS_JOIN_KEY" not in second
    assert client.post(f"/nodes/keys/{OnboardingKey.objects.get().pk}/revoke").status_code == 302
    assert client.post("/nodes/keys", {"name": "", "hours": "24", "max_uses": "5"}).status_code == 400
    made = client.post("/registries", {"name": "ours", "server": "r.example.org", "username": "ci", "password": "s3cret-word"})
    assert made.status_code == 302
    row = Registry.objects.get()
    assert "s3cret-word" not in client.get("/registries").content.decode() + client.get(f"/registries/{row.pk}").content.decode()
    kept = row.password
    assert client.post(f"/registries/{row.pk}", {"name": "renamed", "server": "r.example.org", "username": "ci", "password": ""}).status_code == 302
    row.refresh_from_db()
    assert (row.name, row.password) == ("renamed", kept)
    wrong = client.post("/registries", {"name": "x", "server": "http://nope", "password": "p4ss-word"})
    assert wrong.status_code == 400 and "p4ss-word" not in wrong.content.decode()
    assert client.post(f"/registries/{row.pk}/delete").status_code == 302 and not Registry.objects.exists()


def test_a_job_runs_at_once_by_hand_and_its_history_is_shown(root: Any, olga: Any, sign_in: SignIn) -> None:
    assert "Run now" not in sign_in(olga).get("/jobs").content.decode()
    assert sign_in(olga).post("/jobs/nodes.maintenance/run").status_code == 403
    client = sign_in(root)
    assert client.post("/jobs/nodes.maintenance/run").status_code == 302
    assert Operation.objects.get(kind="job.run").target_label == "Begin and end maintenance windows"
    JobRun.objects.create(job="nodes.maintenance", started_at=clock.now(), status="failed", error="the disk is on fire")
    assert "the disk is on fire" in client.get("/jobs/nodes.maintenance").content.decode()
    leases.take("job:nodes.maintenance", seconds=60)
    assert client.post("/jobs/nodes.maintenance/run").status_code == 409


def test_why_here_and_why_not_there(node: Any, root: Any, sign_in: SignIn, make_node: Any) -> None:
    make_node("tiny", max_pods=0)
    shown = sign_in(root).get("/placement?cpus=1").content.decode()
    assert "fra-1" in shown and "the emptiest comes first" in shown
    assert "tiny" in shown and "It holds 0 of at most 0 containers." in shown
    nowhere = sign_in(root).get("/placement?labels=zone%3Dmoon").content.decode()
    assert "It fits nowhere" in nowhere and "It lacks the label zone=moon." in nowhere


HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>'


def test_what_strangers_named_stays_text(node: Any, web: Any, cluster: Any, registry: Any, root: Any, sign_in: SignIn, monkeypatch: Any) -> None:
    """H01."""
    from nodes import events, stock

    Node.objects.filter(pk=node.pk).update(
        labels={HOSTILE: HOSTILE},
        taints=[{"key": HOSTILE, "value": HOSTILE, "effect": "NoSchedule"}],
        signals={"disk": {"level": "bad", "cause": HOSTILE, "since": 1.0, "checked": 1.0}},
    )
    node.refresh_from_db()
    move_status(node, to="NOT_READY", reason=HOSTILE)
    events.note(node, "orphan", HOSTILE, level="error")
    Orphan.objects.create(node=node, container_id=web.pk, image=HOSTILE, state="x", first_seen=clock.now(), last_seen=clock.now())
    MaintenanceWindow.objects.create(node=node, starts_at=clock.now(), ends_at=clock.now() + timedelta(hours=1), reason=HOSTILE)
    Cluster.objects.filter(pk=cluster.pk).update(name=HOSTILE[:64], description=HOSTILE, labels={HOSTILE: HOSTILE})
    Registry.objects.filter(pk=registry.pk).update(name=HOSTILE[:64], username=HOSTILE)
    JobRun.objects.create(job="nodes.sync", started_at=clock.now(), status="failed", error=HOSTILE, actor_label=HOSTILE, trigger="person")
    item = {"id": HOSTILE, "name": HOSTILE, "tags": [HOSTILE, HOSTILE], "driver": HOSTILE, "in_use": False, "ours": True, "container_id": HOSTILE}
    monkeypatch.setattr(stock, "_ask", lambda *args: {"items": [item]})
    client = sign_in(root)
    own = [f"/nodes/{node.pk}{tab}" for tab in ("", "/timeline", "/labels", "/stock", "/prune?kind=volumes", "/drain")]
    others = ["/clusters", f"/clusters/{cluster.pk}", f"/clusters/{cluster.pk}/edit", "/registries", f"/registries/{registry.pk}"]
    for address in (*own, *others, "/jobs/nodes.sync", "/placement", "/nodes/keys"):
        answer = client.get(address)
        assert answer.status_code == 200, address
        html = answer.content.decode()
        assert "<img src=x" not in html and "<script>" not in html and '"><' + "script" not in html, address
