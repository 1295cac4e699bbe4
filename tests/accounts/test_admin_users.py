"""Administrators' work on accounts: never above themselves, never on their own standing, never the last one away."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from rest_framework.test import APIClient

from accounts import people
from accounts.models import ApiKey, AuthSession, Role, User
from audit.models import Entry
from lormas.common.errors import Problem
from tests.accounts.conftest import PASSWORD, bearer

pytestmark = pytest.mark.redis


def client_of(user: Any) -> APIClient:
    client = APIClient()
    client.force_authenticate(user)
    return client


@pytest.fixture
def second(roles: Any) -> Any:
    """Another administrator."""
    return User.objects.create_user("second@example.org", PASSWORD, username="second", role=roles["administrator"])


@pytest.fixture
def manager(roles: Any) -> Any:
    """Manages accounts and roles, and holds little else."""
    role = Role.objects.create(slug="hr", name="HR", capabilities=["users.view", "users.manage", "roles.manage", "containers.view"])
    return User.objects.create_user("hr@example.org", PASSWORD, username="hr", role=role)


@pytest.fixture
def boss(db: None) -> Any:
    return User.objects.create_superuser("boss@example.org", PASSWORD, username="boss")


def test_an_account_is_made_and_its_first_password_must_be_changed(root: Any, api: APIClient) -> None:
    """E05, I01: told once, in no list and no journal."""
    made = client_of(root).post("/api/users", {"email": "New@Example.org", "name": "New", "role": "operator"}, format="json")
    assert made.status_code == 201, made.content
    password = made.json()["password"]
    assert made.headers["Cache-Control"] == "no-store"
    assert (made.json()["email"], made.json()["username"], made.json()["role"]["slug"]) == ("new@example.org", "new", "operator")
    assert password not in client_of(root).get("/api/users").content.decode() + str(list(Entry.objects.values()))
    tokens = api.post("/api/auth/sign-in", {"email": "new@example.org", "password": password}, format="json").json()
    assert api.get("/api/containers", headers=bearer(tokens["access"])).status_code == 403
    given = client_of(root).post("/api/users", {"email": "x@example.org", "password": "a fine long phrase"}, format="json").json()
    assert (given["password"], given["must_change_password"], given["role"]["slug"]) == (None, True, "member")


@pytest.mark.parametrize(
    ("wish", "field", "status"),
    [
        ({"email": "ALICE@example.org"}, "email", 409),
        ({"username": "Alice"}, "username", 409),
        ({"password": "123"}, "password", 422),
        ({"role": "no-such"}, "role", 422),
        ({"role": "3f2504e0-4f89-41d3-9a0c-0305e82c3301"}, "role", 422),
        ({"is_superuser": True}, "is_superuser", 400),
        ({"token_generation": 3}, "token_generation", 400),
        ({"username": "a@b"}, "username", 400),
    ],
)
def test_a_wrong_wish_makes_no_account(root: Any, alice: Any, wish: dict[str, Any], field: str, status: int) -> None:
    """D13: 400 what no request may look like, 422 what a rule refuses, 409 what is taken."""
    answer = client_of(root).post("/api/users", {"email": "new@example.org", **wish}, format="json")
    assert answer.status_code == status
    assert field in {error["field"] for error in answer.json()["errors"]}
    assert User.objects.count() == 2


MUTATIONS = (
    ("post", "/api/users", {"email": "x@example.org"}),
    ("patch", "/api/users/{bob}", {"name": "x"}),
    ("put", "/api/users/{bob}", {"email": "x@example.org", "username": "x"}),
    ("delete", "/api/users/{bob}", None),
    ("post", "/api/users/bulk", {"ids": ["{bob}"], "action": "delete"}),
)


@pytest.mark.parametrize(("method", "path", "sent"), MUTATIONS)
def test_only_those_who_manage_accounts_change_them(alice: Any, bob: Any, olga: Any, roles: Any, method: str, path: str, sent: Any) -> None:
    """D07, D11: nothing happens on a 403."""
    looker = Role.objects.create(slug="looker", name="Looker", capabilities=["users.view"])
    looking = User.objects.create_user("looker@example.org", PASSWORD, username="looker", role=looker)
    before = list(User.objects.order_by("pk").values())
    sent = {"ids": [str(bob.pk)], "action": "delete"} if path.endswith("bulk") else sent
    for person, status in ((None, 401), (alice, 403), (olga, 403), (looking, 403)):
        client = client_of(person) if person else APIClient()
        assert getattr(client, method)(path.format(bob=bob.pk), sent, format="json").status_code == status
    assert list(User.objects.order_by("pk").values()) == before


def test_an_account_is_changed_and_the_journal_says_from_what_to_what(root: Any, alice: Any, bob: Any) -> None:
    path, client = f"/api/users/{alice.pk}", client_of(root)
    changed = client.patch(path, {"name": "Al", "username": "al", "email": "AL@example.org", "role": "viewer"}, format="json").json()
    assert (changed["name"], changed["username"], changed["email"], changed["role"]["slug"]) == ("Al", "al", "al@example.org", "viewer")
    entry = Entry.objects.get(action="accounts.user_role")
    assert (entry.before, entry.after, entry.actor_id) == ({"role": "member"}, {"role": "viewer"}, str(root.pk))
    assert client.patch(path, {"username": "BOB"}, format="json").status_code == 409
    assert client.patch(path, {"email": "bob@example.org"}, format="json").status_code == 409
    assert client.patch("/api/users/3f2504e0-4f89-41d3-9a0c-0305e82c3301", {"name": "x"}, format="json").status_code == 404


def test_a_deactivated_account_loses_its_sessions_for_good(root: Any, alice: Any, sign_in: Any, api: APIClient, client: Any) -> None:
    """E03, D10: also after it is activated again."""
    pair = sign_in(alice)
    client.force_login(alice)
    path = f"/api/users/{alice.pk}"
    assert client_of(root).patch(path, {"is_active": False}, format="json").json()["is_active"] is False
    assert AuthSession.objects.get().revoked_why == "deactivated"
    assert api.post("/api/auth/sign-in", {"email": alice.email, "password": PASSWORD}, format="json").status_code == 401
    assert client_of(root).patch(path, {"is_active": True}, format="json").status_code == 200
    assert api.get("/api/whoami", headers=bearer(pair["access"])).status_code == 401
    assert client.get("/api/whoami").status_code == 401
    assert sign_in(alice)


def test_nobody_changes_their_own_standing(root: Any, second: Any, boss: Any) -> None:
    """D08."""
    for person in (root, boss):
        client, path = client_of(person), f"/api/users/{person.pk}"
        for change in ({"role": "viewer"}, {"is_active": False}):
            assert client.patch(path, change, format="json").json()["code"] == "own_account"
        assert client.delete(path).json()["code"] == "own_account"
        for action in ("deactivate", "delete"):
            assert client.post("/api/users/bulk", {"ids": [str(person.pk)], "action": action}, format="json").status_code == 403
        assert client.patch(path, {"name": "Me"}, format="json").status_code == 200


@pytest.mark.parametrize("target", ["olga", "root", "boss"])
def test_lower_never_touches_higher(request: Any, manager: Any, alice: Any, roles: Any, target: str) -> None:
    """D08: nor gives what they lack."""
    higher = request.getfixturevalue(target)
    before = User.objects.filter(pk=higher.pk).values().get()
    client, path = client_of(manager), f"/api/users/{higher.pk}"
    for change in ({"email": "mine@example.org"}, {"role": "viewer"}, {"is_active": False}, {"username": "x"}):
        assert client.patch(path, change, format="json").json()["code"] == "higher_rights"
    assert client.delete(path).status_code == 403
    assert User.objects.filter(pk=higher.pk).values().get() == before


def test_nobody_gives_a_role_with_rights_they_lack(manager: Any, roles: Any) -> None:
    """D08: neither at creation, nor later, nor in bulk."""
    Role.objects.create(slug="plain", name="Plain", capabilities=["containers.view"])
    low = User.objects.create_user("low@example.org", PASSWORD, username="low", role=None)
    client = client_of(manager)
    for role in ("administrator", "operator", "member"):
        assert client.post("/api/users", {"email": "n@example.org", "role": role}, format="json").json()["code"] == "capability_not_held"
        assert client.patch(f"/api/users/{low.pk}", {"role": role}, format="json").json()["code"] == "capability_not_held"
        sent = {"ids": [str(low.pk)], "action": "assign_role", "role": role}
        assert client.post("/api/users/bulk", sent, format="json").status_code == 403
    assert client.patch(f"/api/users/{low.pk}", {"role": "plain"}, format="json").status_code == 200
    Role.objects.filter(slug="hr").update(capabilities=["users.view", "users.manage", "containers.view"])
    manager.refresh_from_db()
    fresh = client_of(User.objects.get(pk=manager.pk))
    assert fresh.patch(f"/api/users/{low.pk}", {"role": "hr"}, format="json").json()["capability"] == "roles.manage"


def test_a_key_reaches_no_further_than_its_scopes(root: Any, alice: Any, roles: Any) -> None:
    """D08: an administrator's key with users.manage alone is no way to the top."""
    root.api_key = ApiKey(user=root, name="ci", scopes=["users.view", "users.manage", "roles.manage"])
    client = client_of(root)
    assert client.patch(f"/api/users/{alice.pk}", {"email": "mine@example.org"}, format="json").json()["code"] == "higher_rights"
    assert client.post("/api/users", {"email": "n@example.org", "role": "administrator"}, format="json").status_code == 403
    assert client.patch(f"/api/users/{root.pk}", {"email": "mine@example.org"}, format="json").json()["code"] == "own_account"
    assert client.post("/api/roles", {"name": "Top", "capabilities": ["containers.any"]}, format="json").status_code == 403


def test_the_last_administrator_stays(root: Any, roles: Any) -> None:
    twin = Role.objects.create(slug="twin", name="Twin", capabilities=roles["administrator"].capabilities)
    other = User.objects.create_user("twin@example.org", PASSWORD, username="twin", role=twin)
    client, path = client_of(other), f"/api/users/{root.pk}"
    for change in ({"is_active": False}, {"role": "member"}):
        assert client.patch(path, change, format="json").json()["code"] == "last_administrator"
    assert client.delete(path).json()["code"] == "last_administrator"
    User.objects.create_user("third@example.org", PASSWORD, username="third", role=roles["administrator"])
    assert client.patch(path, {"role": "member"}, format="json").status_code == 200


def test_in_bulk_the_last_two_administrators_do_not_go_together(root: Any, second: Any, roles: Any) -> None:
    twin = Role.objects.create(slug="twin", name="Twin", capabilities=roles["administrator"].capabilities)
    other = User.objects.create_user("twin@example.org", PASSWORD, username="twin", role=twin)
    answer = client_of(other).post("/api/users/bulk", {"ids": [str(root.pk), str(second.pk)], "action": "deactivate"}, format="json")
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (409, "last_administrator")
    assert User.objects.filter(is_active=True).count() == 3


WAYS_OUT: dict[str, Callable[[Any, Any], Any]] = {
    "role": lambda by, target: people.update_person(by, target.pk, changes={"role": "member"}, actor=by.as_actor()),
    "deactivated": lambda by, target: people.update_person(by, target.pk, changes={"is_active": False}, actor=by.as_actor()),
    "deleted": lambda by, target: people.delete_person(by, target.pk, actor=by.as_actor()),
    "deactivated in bulk": lambda by, target: people.bulk(by, ids=[target.pk], action="deactivate", actor=by.as_actor()),
    "deleted in bulk": lambda by, target: people.bulk(by, ids=[target.pk], action="delete", actor=by.as_actor()),
    "role in bulk": lambda by, target: people.bulk(by, ids=[target.pk], action="assign_role", role="member", actor=by.as_actor()),
}


def at_once(way: Callable[[Any, Any], Any], *pairs: tuple[Any, Any]) -> list[str]:
    """Each first one does it to the second, all at the same time: what came of it, sorted."""
    outcomes: list[str] = []
    start = threading.Barrier(len(pairs))

    def act(by: Any, target: Any) -> None:
        start.wait(60)
        try:
            way(by, target)
            outcomes.append("done")
        except Problem as problem:
            outcomes.append(problem.errors[0].code if problem.code == "bulk_refused" else problem.code)
        finally:
            connection.close()

    threads = [threading.Thread(target=act, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(outcomes)


@pytest.mark.django_db(transaction=True)
def test_of_administrators_who_are_deposed_at_once_one_stays(roles: Any) -> None:
    """D08: on either database; by each other, and by two others whose own role holds as much."""
    twin = Role.objects.create(slug="twin", name="Twin", capabilities=roles["administrator"].capabilities)
    number = itertools.count()

    def person(role: Any) -> Any:
        name = f"p{next(number)}"
        return User.objects.create(email=f"{name}@example.org", username=name, role=role)

    for name, way in WAYS_OUT.items():
        User.objects.all().delete()
        one, other = person(roles["administrator"]), person(roles["administrator"])
        assert at_once(way, (one, other), (other, one)) == ["done", "forbidden"], f"{name}: each other"
        assert User.objects.filter(people.administrators()).count() == 1, name
        User.objects.all().delete()
        one, other = person(roles["administrator"]), person(roles["administrator"])
        assert at_once(way, (person(twin), one), (person(twin), other)) == ["done", "last_administrator"], f"{name}: by two others"
        assert User.objects.filter(people.administrators()).count() == 1, name


def test_bulk_does_all_or_nothing(root: Any, alice: Any, bob: Any, boss: Any) -> None:
    client = client_of(root)
    refused = client.post("/api/users/bulk", {"ids": [str(alice.pk), str(bob.pk), str(boss.pk)], "action": "deactivate"}, format="json")
    assert refused.status_code == 403
    assert [(error["field"], error["code"]) for error in refused.json()["errors"]] == [("ids.2", "higher_rights")]
    unknown = client.post("/api/users/bulk", {"ids": [str(alice.pk), "3f2504e0-4f89-41d3-9a0c-0305e82c3301"], "action": "delete"}, format="json")
    assert (unknown.status_code, unknown.json()["errors"][0]["code"]) == (409, "not_found")
    assert User.objects.filter(is_active=True).count() == 4
    both = [str(alice.pk), str(bob.pk)]
    assert client.post("/api/users/bulk", {"ids": both, "action": "assign_role", "role": "viewer"}, format="json").json()["count"] == 2
    assert client.post("/api/users/bulk", {"ids": both, "action": "assign_role"}, format="json").status_code == 400
    assert client.post("/api/users/bulk", {"ids": both, "action": "delete", "role": "viewer"}, format="json").status_code == 400
    assert client.post("/api/users/bulk", {"ids": both, "action": "promote"}, format="json").status_code == 400
    assert client.post("/api/users/bulk", {"ids": [], "action": "delete"}, format="json").status_code == 400
    done = client.post("/api/users/bulk", {"ids": [*both, both[0]], "action": "delete"}, format="json").json()
    assert (done["count"], sorted(done["ids"])) == (2, sorted(both))
    assert not User.objects.filter(pk__in=both).exists()


def test_who_owns_something_is_not_deleted(root: Any, alice: Any, bob: Any) -> None:
    from django.apps import apps  # not an import: this room lies below containers

    apps.get_model("containers", "Container").objects.create(name="web", owner=alice, image="busybox")
    client = client_of(root)
    answer = client.delete(f"/api/users/{alice.pk}")
    assert (answer.status_code, answer.json()["code"]) == (409, "owns_objects")
    assert client.post("/api/users/bulk", {"ids": [str(bob.pk), str(alice.pk)], "action": "delete"}, format="json").status_code == 409
    assert User.objects.filter(pk__in=[alice.pk, bob.pk]).count() == 2
    assert client.delete(f"/api/users/{bob.pk}").status_code == 204
    assert client.delete(f"/api/users/{bob.pk}").status_code == 404
    assert Entry.objects.get(action="accounts.user_delete").before["email"] == "bob@example.org"


def test_statistics_count(root: Any, alice: Any, bob: Any, sign_in: Any) -> None:
    sign_in(bob)
    User.objects.filter(pk=alice.pk).update(is_active=False)
    body = client_of(root).get("/api/users/stats").json()
    assert {name: body[name] for name in ("total", "active", "inactive", "administrators", "sessions", "keys")} == {
        "total": 3, "active": 2, "inactive": 1, "administrators": 1, "sessions": 1, "keys": 0,
    }  # fmt: skip
    assert {"slug": "member", "name": "Member", "count": 2} in body["by_role"]
    assert client_of(bob).get("/api/users/stats").status_code == 403
