"""Taking over a foreign container, on the panel's side: what is refused before anything happens, rivals, and a takeover that fails."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from accounts.models import Quota
from audit.models import Entry
from containers.models import Container, Port
from containers.services import adoption, power
from containers.spec import Asked
from lormas.common import live
from lormas.common.errors import Conflict, Locked, Refused
from nodes import commands
from nodes.models import Command, Node, Operation

pytestmark = [pytest.mark.django_db, pytest.mark.redis]
REF = "4f" * 32
FOUND: dict[str, Any] = {
    "ref": REF, "name": "shop_db", "image": "postgres:16", "running": True, "command": ["-c", "fsync=on"], "entrypoint": ["/own.sh"],
    "env": {"POSTGRES_PASSWORD": "canary-7"}, "labels": {"team": "a"}, "user": "999",
    "limits": {"cpus": 0.5, "memory_bytes": 256 * 1024**2, "pids": 0},
    "ports": [{"container_port": 5432, "host_port": 5432}, {"container_port": 80, "host_port": 0}],
    "mounts": [{"kind": "volume", "source": "shop_data", "target": "/var/lib/postgresql/data"}],
    "restart": {"Name": "always", "MaximumRetryCount": 0},
    "lost": [["networks", "It leaves the networks shop."]],
}  # fmt: skip


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, node: Node) -> dict[str, Any]:
    """What the node says of its foreign containers."""
    Node.objects.filter(pk=node.pk).update(capabilities=["adopt"])
    said: dict[str, Any] = {"found": dict(FOUND), "reason": ""}

    def ask(node_id: Any, kind: str, *, payload: Any = None, timeout_seconds: float = 10, **_: Any) -> dict[str, Any]:
        if kind == "foreign.list":
            row = {"ref": REF, "name": "shop_db", "image": "postgres:16", "state": "running"}
            return {"containers": [row], "allowed": not said["reason"], "reason": said["reason"]}
        if payload["ref"] != REF:
            raise live.NodeRefused("not_found", "There is no such container.")
        return {"found": said["found"]}

    monkeypatch.setattr(live, "ask_node", ask)
    return said


@pytest.fixture
def api(root: Any) -> APIClient:
    client = APIClient()
    client.force_authenticate(root)
    return client


def test_it_is_looked_at_accepted_and_taken_over(api: APIClient, node: Node, engine: Any, agent: Any) -> None:
    at = f"/api/nodes/{node.pk}/foreign"
    assert api.get(at).json()["containers"][0]["name"] == "shop_db"
    seen = api.get(f"{at}/{REF}/adopt").json()
    assert (seen["proposed_name"], seen["env_names"], seen["lost"][0]["code"], seen["blocking"]) == (
        "shop_db", ["POSTGRES_PASSWORD"], "networks", [],
    )  # fmt: skip
    assert "canary-7" not in api.get(f"{at}/{REF}/adopt").content.decode()
    refused = api.post(f"{at}/{REF}/adopt", {}, format="json")
    assert (refused.status_code, refused.json()["code"], refused.json()["errors"][0]["code"]) == (422, "must_accept", "networks")
    assert not Container.objects.exists() and not Operation.objects.exists()
    answer = api.post(f"{at}/{REF}/adopt", {"accept": True}, format="json")
    assert (answer.status_code, answer.json()["operation"]["kind"]) == (202, "container.adopt")
    made = Container.objects.get()
    assert (made.name, made.image, made.restart_policy, made.cpus, made.pids) == ("shop_db", "postgres:16", "always", 0.5, 512)
    assert [(p.container_port, p.host_port, p.is_primary) for p in made.ports.order_by("-is_primary")] == [(5432, 5432, True), (80, 30000, False)]
    payload = commands.payload_of(agent.open_command(made))
    spec = payload["spec"]
    assert (payload["ref"], payload["start"], payload["restart"]["Name"]) == (REF, True, "always")
    assert (spec["entrypoint"], spec["command"], spec["user"], spec["mounts"][0]["source"]) == (["/own.sh"], ["-c", "fsync=on"], "999", "shop_data")
    assert "canary-7" not in str(list(Entry.objects.values_list("before", "after", "message")))
    with pytest.raises(Locked):  # torn in the middle it would leave neither
        power.act(made, "kill", user=None, actor=made.owner.as_actor())
    agent.done(made, "running", started_at="2026-01-01T00:00:00Z")
    assert made.status == "running"
    twice = api.post(f"/api/containers/{made.pk}/duplicate", {}, format="json")
    assert (twice.status_code, twice.json()["code"]) == (403, "policy_denied")  # two on the same volumes would spoil them


def test_one_that_fails_leaves_nothing_here(api: APIClient, node: Node, engine: Any, agent: Any) -> None:
    before = Node.objects.get(pk=node.pk).allocated_memory_bytes
    operation = api.post(f"/api/nodes/{node.pk}/foreign/{REF}/adopt", {"accept": True}, format="json").json()["operation"]["id"]
    agent.failed(Container.objects.get(), "start_failed", "it could not be started")
    assert not Container.objects.exists() and not Port.objects.exists()
    assert Operation.objects.get(pk=operation).status == "failed"
    assert Node.objects.get(pk=node.pk).allocated_memory_bytes == before
    assert Entry.objects.filter(action="containers.adopt", outcome="failed").exists()
    assert api.post(f"/api/nodes/{node.pk}/foreign/{REF}/adopt", {"accept": True}, format="json").status_code == 202  # may be tried again


def test_of_two_only_one_gets_it(api: APIClient, root: Any, node: Node, engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """SECURITY J01: the second is refused by the constraint, also if it looked before the first had written."""
    made, _ = adoption.adopt(node_of(node), REF, accept=True, user=root, actor=root.as_actor())
    rival = api.post(f"/api/nodes/{node.pk}/foreign/{REF}/adopt", {"accept": True, "name": "other"}, format="json")
    assert (rival.status_code, rival.json()["code"]) == (409, "already_adopted")
    monkeypatch.setattr(Container.objects, "filter", lambda **_: Container.objects.none())
    with pytest.raises(Conflict) as refused:
        adoption.adopt(node_of(node), REF, name="other", accept=True, user=root, actor=root.as_actor())
    assert refused.value.code == "already_adopted"
    monkeypatch.undo()
    assert [one.pk for one in Container.objects.all()] == [made.pk] and Command.objects.count() == 1


def node_of(node: Node) -> Node:
    return Node.objects.get(pk=node.pk)


def test_what_is_refused_before_anything_is_done(api: APIClient, alice: Any, node: Node, engine: Any) -> None:
    """SECURITY A03, A05, A07: what may not be made may not be taken over; only who may use the machine itself may ask (D01)."""
    at = f"/api/nodes/{node.pk}/foreign/{REF}/adopt"
    mine = APIClient()
    mine.force_authenticate(alice)
    assert mine.post(at, {"accept": True}, format="json").status_code in (403, 404)
    engine["found"] = {**FOUND, "blocking": [["privileged", "It is privileged."]]}
    blocked = api.post(at, {"accept": True}, format="json").json()
    assert (blocked["code"], blocked["errors"][0]["code"]) == ("cannot_adopt", "privileged")
    engine["found"] = FOUND
    assert api.post(at, {"accept": True, "limits": {"memory_bytes": 2**44}}, format="json").json()["code"] == "no_room"
    assert api.post(f"/api/nodes/{node.pk}/foreign/{'0' * 64}/adopt", {}, format="json").status_code == 404
    # By the ordinary door nobody names a volume that is there (A02).
    body = {"name": "x", "image": "busybox:1", "mounts": [{"kind": "volume", "source": "shop_data", "target": "/data"}]}
    assert api.post("/api/containers", body, format="json").status_code == 400
    Node.objects.update(capabilities=[])
    assert api.get(f"/api/nodes/{node.pk}/foreign").json()["code"] == "unsupported"
    assert not Container.objects.exists()


def test_it_counts_in_the_quota_of_who_takes_it_over_and_has_no_more_labels_than_others(root: Any, olga: Any, node: Node, engine: Any) -> None:
    """SECURITY J08: the door for what is there already is no way around."""
    Quota.objects.update_or_create(user=olga, defaults={"containers": 1, "memory_bytes": 255 * 1024**2})
    before = Node.objects.get(pk=node.pk).allocated_memory_bytes

    def said(**given: Any) -> tuple[str, list[Any]]:
        with pytest.raises(Refused) as refused:
            adoption.adopt(node_of(node), REF, accept=True, user=olga, actor=olga.as_actor(), **given)
        assert not Container.objects.exists() and not Operation.objects.exists() and Node.objects.get(pk=node.pk).allocated_memory_bytes == before
        return refused.value.code, [one["resource"] for one in refused.value.extra.get("quota", [])] or [one.code for one in refused.value.errors]

    assert said() == ("quota", ["memory_bytes"])
    engine["found"] = {**FOUND, "labels": {f"k{n}": "v" for n in range(65)}}
    assert said() == ("cannot_adopt", ["labels"])
    engine["found"] = {**FOUND, "labels": {"lormas.instance": "x"}, "env": {f"K{n}": "v" for n in range(513)}}
    assert said() == ("cannot_adopt", ["env", "labels"])
    engine["found"] = {**FOUND, "labels": {f"k{n}": "v" for n in range(64)}}
    made, _ = adoption.adopt(node_of(node), REF, accept=True, asked=Asked(memory_bytes=128 * 1024**2), user=olga, actor=olga.as_actor())
    assert (made.owner, len(made.labels)) == (olga, 64)


def test_the_pages_show_what_is_lost_and_want_it_read(root: Any, node: Node, engine: Any) -> None:
    page = Client()
    page.force_login(root)
    at = f"/nodes/{node.pk}/foreign"
    assert "shop_db" in page.get(at).content.decode()
    assert f"{at}" in page.get(f"/containers/on-node/{node.pk}").content.decode()
    text = page.get(f"{at}/{REF}").content.decode()
    assert "It leaves the networks shop." in text and "shop_data" in text and "canary-7" not in text
    again = page.post(f"{at}/{REF}", {"name": "db"})
    assert again.status_code == 400 and "Read what is lost" in again.content.decode()
    assert page.post(f"{at}/{REF}", {"name": "db", "accept": "on"}).status_code == 302
    assert Container.objects.get().name == "db"
    engine["reason"] = "The node's owner has not allowed it."
    assert "disabled" in page.get(at).content.decode()
