"""Roles of one's own making, out of what one holds."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.models import Role, User
from audit.models import Entry
from tests.accounts.conftest import PASSWORD

pytestmark = pytest.mark.redis


def client_of(user: Any) -> APIClient:
    client = APIClient()
    client.force_authenticate(User.objects.get(pk=user.pk))
    return client


def test_a_role_is_made_changed_and_deleted(root: Any, alice: Any, roles: Any) -> None:
    client = client_of(root)
    made = client.post("/api/roles", {"name": "Log Reader", "capabilities": ["containers.view", "containers.logs"]}, format="json")
    assert (made.status_code, made.json()["slug"], made.json()["built_in"]) == (201, "log-reader", False)
    path = made.headers["Location"]
    assert client.post("/api/roles", {"name": "Log Reader", "capabilities": []}, format="json").json()["code"] == "role_exists"
    assert client.patch(path, {"capabilities": ["containers.view"]}, format="json").json()["capabilities"] == ["containers.view"]
    entry = Entry.objects.get(action="accounts.role_update")
    assert (entry.before, entry.after) == ({"capabilities": ["containers.logs", "containers.view"]}, {"capabilities": ["containers.view"]})
    User.objects.filter(pk=alice.pk).update(role=Role.objects.get(slug="log-reader"))
    assert client.delete(path).json()["code"] == "role_in_use"
    User.objects.filter(pk=alice.pk).update(role=roles["member"])
    assert [client.delete(path).status_code, client.delete(path).status_code] == [204, 404]


@pytest.mark.parametrize(
    "wish",
    [
        {"capabilities": ["no.such"]},
        {"capabilities": "containers.view"},
        {"built_in": True},
        {"name": ""},
        {"name": "日本", "slug": ""},
        {"slug": "a b"},
    ],
)
def test_a_wrong_wish_makes_no_role(root: Any, wish: dict[str, Any]) -> None:
    """D13."""
    body = {"name": "X", "capabilities": [], **wish}
    answer = client_of(root).post("/api/roles", body, format="json")
    assert answer.status_code == 400
    assert Role.objects.count() == 4


def test_the_built_in_ones_stay_as_they_are(root: Any, roles: Any) -> None:
    client = client_of(root)
    for role in roles.values():
        path = f"/api/roles/{role.pk}"
        for answer in (client.patch(path, {"name": "x"}, format="json"), client.delete(path)):
            assert (answer.status_code, answer.json()["code"]) == (409, "built_in_role")
    assert {role.name for role in Role.objects.all()} == {role.name for role in roles.values()}


def test_nobody_makes_or_changes_a_role_beyond_their_own_rights(roles: Any) -> None:
    """D08."""
    mine = Role.objects.create(slug="hr", name="HR", capabilities=["users.view", "roles.manage", "containers.view"])
    strong = Role.objects.create(slug="strong", name="Strong", capabilities=["nodes.delete"])
    weak = Role.objects.create(slug="weak", name="Weak", capabilities=["containers.view"])
    client = client_of(User.objects.create_user("hr@example.org", PASSWORD, username="hr", role=mine))
    wish = {"name": "Mine", "capabilities": ["containers.view", "containers.any"]}
    answer = client.post("/api/roles", wish, format="json")
    assert (answer.status_code, answer.json()["code"], answer.json()["capabilities"]) == (403, "capability_not_held", ["containers.any"])
    assert client.patch(f"/api/roles/{weak.pk}", {"capabilities": ["containers.any"]}, format="json").status_code == 403
    assert client.patch(f"/api/roles/{strong.pk}", {"capabilities": []}, format="json").status_code == 403
    assert client.delete(f"/api/roles/{strong.pk}").status_code == 403
    own = client.patch(f"/api/roles/{mine.pk}", {"description": "x"}, format="json")
    assert (own.status_code, own.json()["code"]) == (403, "own_role")
    assert client.patch(f"/api/roles/{weak.pk}", {"name": "Weaker"}, format="json").status_code == 200


def test_only_those_who_manage_roles_change_them(olga: Any, alice: Any, root: Any) -> None:
    role = Role.objects.create(slug="x", name="X", capabilities=[])
    User.objects.filter(pk=alice.pk).update(role=Role.objects.create(slug="looker", name="Looker", capabilities=["users.view"]))
    for person in (olga, alice):
        client = client_of(person)
        assert client.post("/api/roles", {"name": "Y", "capabilities": []}, format="json").status_code == 403
        assert client.patch(f"/api/roles/{role.pk}", {"name": "Y"}, format="json").status_code == 403
        assert client.delete(f"/api/roles/{role.pk}").status_code == 403
    assert Role.objects.filter(name="X").exists()
