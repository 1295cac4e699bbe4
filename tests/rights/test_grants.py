"""Rights on single objects: given, changed, taken, and dead the second they end."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from accounts import granting, grants
from accounts.models import ApiKey, Role, User
from audit.models import Entry
from containers.access import get_container, visible_containers
from containers.models import ContainerUserGrant
from lormas.common.errors import Forbidden, NotFound
from tests.rights.conftest import client_of, give

pytestmark = [pytest.mark.django_db, pytest.mark.redis]


def path(target: Any, kind: str = "containers") -> str:
    return f"/api/{kind}/{target.pk}/grants"


def test_a_grant_opens_the_container_for_what_it_names_and_for_nothing_else(alice: Any, bob: Any, charlie: Any, web: Any) -> None:
    """D01, D03, D11: bob's role would let him stop his own; on alice's only what she gave counts."""
    assert client_of(bob).get(f"/api/containers/{web.pk}").status_code == 404
    made = client_of(alice).post(path(web), {"user": "bob", "permissions": ["containers.logs"], "reason": "debugging"}, format="json")
    assert made.status_code == 201, made.content
    body = made.json()
    assert (body["user"]["username"], body["permissions"], body["reason"]) == ("bob", ["containers.view", "containers.logs"], "debugging")
    assert "email" not in body["user"]
    assert client_of(alice).get(made.headers["Location"]).json() == body
    client = client_of(bob)
    assert client.get(f"/api/containers/{web.pk}").status_code == 200
    assert [row["name"] for row in client.get("/api/containers").json()["results"]] == ["web"]
    for method, address in (("post", "/stop"), ("post", "/start"), ("delete", ""), ("patch", ""), ("post", "/exec"), ("get", "/grants")):
        answer = getattr(client, method)(f"/api/containers/{web.pk}{address}", {}, format="json")
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), address
    assert client_of(charlie).get(f"/api/containers/{web.pk}").status_code == 404
    entry = Entry.objects.get(action="grants.give")
    assert (entry.actor_id, entry.target_id, entry.after["permissions"]) == (str(alice.pk), str(web.pk), body["permissions"])


def test_a_grant_to_a_role_is_everybodys_who_has_the_role_and_goes_with_it(root: Any, alice: Any, bob: Any, charlie: Any, web: Any) -> None:
    """D09: nothing survives the role, nor the leaving of it."""
    team = Role.objects.create(slug="team", name="Team", capabilities=[])
    User.objects.filter(pk=bob.pk).update(role=team)
    give(alice, web, None, "containers.stop", role=team)
    assert client_of(bob).get(f"/api/containers/{web.pk}").status_code == 200
    assert client_of(charlie).get(f"/api/containers/{web.pk}").status_code == 404
    assert User.objects.get(pk=bob.pk).has_perm("containers.stop", web)
    User.objects.filter(pk=bob.pk).update(role=Role.objects.get(slug="viewer"))
    assert client_of(bob).get(f"/api/containers/{web.pk}").status_code == 404
    assert client_of(root).delete(f"/api/roles/{team.pk}").status_code == 204
    assert granting.on(grants.kind("container"), web) == []


def test_a_grant_goes_with_its_holder_and_with_its_object(root: Any, alice: Any, bob: Any, web: Any) -> None:
    """D09"""
    give(alice, web, bob, "containers.view")
    User.objects.get(pk=bob.pk).delete()
    assert not ContainerUserGrant.objects.exists()


def test_an_expired_grant_is_dead_the_second_it_expires_whether_or_not_it_was_swept(alice: Any, bob: Any, web: Any) -> None:
    give(alice, web, bob, "containers.stop", seconds=60)
    fresh = User.objects.get(pk=bob.pk)
    assert get_container(fresh, web.pk, "containers.stop") == web
    ContainerUserGrant.objects.update(expires_at=timezone.now())
    fresh = User.objects.get(pk=bob.pk)
    with pytest.raises(NotFound):
        get_container(fresh, web.pk)
    assert not visible_containers(fresh).exists()
    assert not fresh.has_perm("containers.view", web)
    assert granting.sweep_expired() == 1
    assert granting.sweep_expired() == 0
    assert not ContainerUserGrant.objects.exists()
    entry = Entry.objects.get(action="grants.expire")
    assert (entry.actor_kind, entry.target_id, entry.before["user"]) == ("system", str(web.pk), "Bob")


def test_nobody_grants_what_they_lack_nor_for_longer_than_they_have_it(alice: Any, bob: Any, charlie: Any, root: Any, web: Any) -> None:
    """D08: a delegated right is handed on neither wider nor longer."""
    delegated = give(alice, web, bob, "containers.logs", "containers.grant", seconds=3600)
    client = client_of(bob)
    wish = {"user": "charlie", "permissions": ["containers.stop"]}
    wide = client.post(path(web), wish, format="json")
    assert (wide.status_code, wide.json()["code"], wide.json()["capabilities"]) == (403, "capability_not_held", ["containers.stop"])
    for end in (None, (timezone.now() + timedelta(hours=2)).isoformat()):
        long = client.post(path(web), {"user": "charlie", "permissions": ["containers.logs"], "expires_at": end}, format="json")
        assert (long.status_code, long.json()["code"]) == (403, "outlives_yours")
    soon = (timezone.now() + timedelta(minutes=5)).isoformat()
    made = client.post(path(web), {"user": "charlie", "permissions": ["containers.logs"], "expires_at": soon}, format="json")
    assert made.status_code == 201
    assert client.patch(made.headers["Location"], {"permissions": ["containers.exec"]}, format="json").status_code == 403
    assert client.patch(made.headers["Location"], {"expires_at": None}, format="json").status_code == 403
    own = client.patch(f"{path(web)}/{delegated.id}", {"expires_at": soon}, format="json")
    assert (own.status_code, own.json()["code"]) == (403, "own_grant")
    assert client_of(root).patch(made.headers["Location"], {"expires_at": None}, format="json").status_code == 200


def test_who_may_not_grant_there_is_refused_and_a_stranger_does_not_learn_that_it_exists(alice: Any, bob: Any, charlie: Any, web: Any) -> None:
    """D07: nothing happens on a 403."""
    give(alice, web, bob, "containers.stop")
    before = list(ContainerUserGrant.objects.values_list("pk", flat=True))
    wish = {"user": "charlie", "permissions": ["containers.view"]}
    assert client_of(bob).post(path(web), wish, format="json").status_code == 403
    assert client_of(charlie).post(path(web), wish, format="json").status_code == 404
    grant = granting.on(grants.kind("container"), web)[0]
    for person, status in ((bob, 403), (charlie, 404)):
        assert client_of(person).delete(f"{path(web)}/{grant.id}").status_code == status
        assert client_of(person).get(path(web)).status_code == status
    assert list(ContainerUserGrant.objects.values_list("pk", flat=True)) == before


@pytest.mark.parametrize(
    ("wish", "field", "status"),
    [
        ({"permissions": ["containers.view"]}, "user", 400),
        ({"user": "bob", "role": "member", "permissions": ["containers.view"]}, "user", 400),
        ({"user": "nobody-here", "permissions": ["containers.view"]}, "user", 422),
        ({"user": "alice", "permissions": ["containers.view"]}, "user", 403),
        ({"role": "no-such", "permissions": ["containers.view"]}, "role", 422),
        ({"user": "bob", "permissions": ["containers.any"]}, "permissions", 400),
        ({"user": "bob", "permissions": ["nodes.view"]}, "permissions", 400),
        ({"user": "bob", "permissions": []}, "permissions", 400),
        ({"user": "bob", "permissions": ["containers.view"], "expires_at": "2001-01-01T00:00:00Z"}, "expires_at", 422),
        ({"user": "bob", "permissions": ["containers.view"], "granted_by": "bob"}, "granted_by", 400),
    ],
)
def test_a_wrong_wish_grants_nothing(alice: Any, bob: Any, web: Any, wish: dict[str, Any], field: str, status: int) -> None:
    """D13"""
    answer = client_of(alice).post(path(web), wish, format="json")
    assert answer.status_code == status, answer.content
    assert field in {error["field"] for error in answer.json()["errors"]}
    assert not ContainerUserGrant.objects.exists()


def test_one_grant_a_holder_which_is_changed_and_taken(alice: Any, bob: Any, web: Any) -> None:
    client = client_of(alice)
    first = client.post(path(web), {"user": bob.email, "permissions": ["containers.logs"]}, format="json")
    again = client.post(path(web), {"user": str(bob.pk), "permissions": ["containers.stop"]}, format="json")
    assert (again.status_code, again.json()["code"], again.json()["grant"]) == (409, "grant_exists", first.json()["id"])
    changed = client.patch(first.headers["Location"], {"permissions": ["containers.stop"]}, format="json").json()
    assert changed["permissions"] == ["containers.view", "containers.stop"]
    entry = Entry.objects.get(action="grants.change")
    assert (entry.before["permissions"][1], entry.after["permissions"][1]) == ("containers.logs", "containers.stop")
    assert client.get(f"{path(web)}?user={bob.pk}").json()["count"] == 1
    assert client.get(f"{path(web)}?role=member").json()["count"] == 0
    assert client.delete(first.headers["Location"]).status_code == 204
    assert client.delete(first.headers["Location"]).status_code == 404
    assert client_of(bob).get(f"/api/containers/{web.pk}").status_code == 404


def test_a_grant_of_another_object_is_not_found_under_this_one(alice: Any, bob: Any, web: Any, node: Any) -> None:
    """D02"""
    from tests.console.conftest import make_container

    other = make_container("other", alice, node)
    grant = give(alice, other, bob, "containers.view")
    client = client_of(alice)
    assert client.get(f"{path(web)}/{grant.id}").status_code == 404
    assert client.delete(f"{path(web)}/{grant.id}").status_code == 404
    assert client.get(f"{path(web)}/{uuid.uuid4()}").status_code == 404
    assert len(granting.on(grants.kind("container"), other)) == 1


def test_a_key_reaches_granted_objects_only_within_its_scopes(alice: Any, bob: Any, web: Any) -> None:
    give(alice, web, bob, "containers.view", "containers.stop")
    user = User.objects.select_related("role").get(pk=bob.pk)
    user.api_key = ApiKey(user=user, name="ci", scopes=["containers.view"])
    assert get_container(user, web.pk) == web
    with pytest.raises(Forbidden):
        get_container(user, web.pk, "containers.stop")
    user.api_key = ApiKey(user=user, name="ci", scopes=["eggs.view"])
    with pytest.raises(NotFound):
        get_container(user, web.pk)


def test_a_deactivated_holder_has_nothing(alice: Any, bob: Any, web: Any) -> None:
    give(alice, web, bob, "containers.view")
    User.objects.filter(pk=bob.pk).update(is_active=False)
    assert not visible_containers(User.objects.get(pk=bob.pk)).exists()


def test_a_node_is_granted_by_itself_or_with_its_cluster(olga: Any, bob: Any, charlie: Any, node: Any) -> None:
    from nodes.models import Cluster, Node

    cluster = Cluster.objects.create(name="eu")
    assert client_of(bob).get(f"/api/nodes/{node.pk}").status_code == 404
    assert client_of(bob).get("/api/nodes").status_code == 403
    made = client_of(olga).post(path(node, "nodes"), {"user": "bob", "permissions": ["nodes.edit"]}, format="json")
    assert made.status_code == 201, made.content
    assert client_of(bob).get("/api/nodes").json()["count"] == 1
    assert client_of(bob).patch(f"/api/nodes/{node.pk}", {"description": "mine"}, format="json").status_code == 200
    assert client_of(bob).patch(f"/api/nodes/{node.pk}/token").status_code == 403
    assert client_of(olga).post(path(cluster, "clusters"), {"user": "charlie", "permissions": ["nodes.view"]}, format="json").status_code == 201
    assert client_of(charlie).get(f"/api/nodes/{node.pk}").status_code == 404
    Node.objects.filter(pk=node.pk).update(cluster=cluster)
    assert client_of(charlie).get(f"/api/nodes/{node.pk}").status_code == 200
    assert client_of(charlie).get(f"/api/clusters/{cluster.pk}").status_code == 200
    assert client_of(charlie).patch(f"/api/nodes/{node.pk}", {"description": "x"}, format="json").status_code == 403
    assert client_of(charlie).get("/api/clusters").json()["count"] == 1


def test_an_operator_can_not_grant_what_only_administrators_hold(olga: Any, bob: Any, node: Any) -> None:
    """D08"""
    answer = client_of(olga).post(path(node, "nodes"), {"user": "bob", "permissions": ["nodes.delete"]}, format="json")
    assert (answer.status_code, answer.json()["code"]) == (403, "capability_not_held")


def test_an_egg_is_granted_to_somebody_whose_role_sees_none(root: Any, bob: Any, egg: Any) -> None:
    User.objects.filter(pk=bob.pk).update(role=Role.objects.create(slug="bare", name="Bare", capabilities=["containers.view"]))
    assert client_of(bob).get("/api/eggs").status_code == 403
    assert client_of(root).post(path(egg, "eggs"), {"user": "bob", "permissions": ["eggs.view"]}, format="json").status_code == 201
    assert [row["id"] for row in client_of(bob).get("/api/eggs").json()["results"]] == [str(egg.pk)]
    assert client_of(bob).get(f"/api/eggs/{egg.pk}/export").status_code == 403


def test_a_node_may_be_named_for_a_container_by_whom_it_was_granted_to(olga: Any, bob: Any, node: Any) -> None:
    """D15"""
    wish = {"name": "mine", "image": "busybox", "node": str(node.pk)}
    assert client_of(bob).post("/api/containers", wish, format="json").status_code == 404
    give(olga, node, bob, "nodes.view", kind="node")
    assert client_of(bob).post("/api/containers", wish, format="json").status_code == 403
    grant = granting.on(grants.kind("node"), node)[0]
    changes = {"permissions": ["containers.choose_node"]}
    granting.change(olga, grants.kind("node"), node, grant.id, changes=changes, actor=olga.as_actor())
    assert client_of(bob).post("/api/containers", wish, format="json").status_code == 201


def test_the_timeline_tells_addresses_only_to_readers_of_the_journal_and_ones_own(alice: Any, bob: Any, root: Any, web: Any) -> None:
    """I06"""
    give(alice, web, bob, "containers.view")
    client = client_of(alice)
    client.patch(f"/api/containers/{web.pk}", {"description": "x"}, format="json", headers={}, REMOTE_ADDR="10.1.2.3")
    for person, seen in ((alice, "10.1.2.3"), (root, "10.1.2.3"), (bob, None)):
        rows = client_of(person).get(f"/api/containers/{web.pk}/activity").json()["results"]
        assert [row["action"] for row in rows] == ["containers.update", "grants.give"]
        assert rows[0]["address"] == seen
    assert client_of(User.objects.get(username="alice")).get(f"/api/containers/{uuid.uuid4()}/activity").status_code == 404
