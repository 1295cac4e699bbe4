"""Every route of SURFACE section 2 is there, and what it answers, refusals among them, is what the API's document says."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts import services
from accounts.models import Role, User
from tests.accounts.conftest import PASSWORD, bearer
from tests.console.conftest import make_container, make_node
from tests.lormas.test_responses_match_schema import Checked, document

__all__ = ["document"]
pytestmark = [pytest.mark.django_db, pytest.mark.redis]

SURFACE = """
post sign-up | post register | post sign-in | post login | post refresh | post sign-out | post logout | get session | get me
get profile | put profile | patch profile | put password | get sessions | delete sessions | get sessions/{session_id} | delete sessions/{session_id}
get keys | post keys | get keys/{key_id} | delete keys/{key_id} | get providers
"""
USERS = """
get users | post users | get users/{user_id}
put users/{user_id} | patch users/{user_id} | delete users/{user_id} | get users/stats | post users/bulk
get roles | post roles | get roles/{role_id} | put roles/{role_id} | patch roles/{role_id} | delete roles/{role_id} | get permissions
get audit | post login | get whoami
"""
GRANTED = ("containers", "nodes", "clusters", "eggs", "machines")


def _promised() -> list[tuple[str, str]]:
    found = [
        (prefix, one.split())
        for prefix, text in (("/api/auth/", SURFACE), ("/api/", USERS))
        for one in text.replace("\n", "|").split("|")
        if one.strip()
    ]
    routes = [(method, prefix + path) for prefix, (method, path) in found]
    for kind in GRANTED:
        base = f"/api/{kind}/{{object_id}}/grants"
        routes += [("get", base), ("post", base), ("get", base + "/{grant_id}"), ("delete", base + "/{grant_id}")]
    return routes


def test_every_route_of_the_surface_is_in_the_document(document: dict[str, Any]) -> None:
    missing = [f"{method.upper()} {path}" for method, path in _promised() if method not in document["paths"].get(path, {})]
    assert missing == []
    asked = {name: {one["name"] for one in document["paths"][name]["get"]["parameters"]} for name in ("/api/users", "/api/audit")}
    assert asked["/api/users"] >= {"search", "role", "is_active"}
    assert asked["/api/audit"] >= {"actor", "action", "target_type", "target_id", "since", "until", "format"}


class Asks(Checked):
    """Checked, with a token of a real sign-in in place of a forced one."""

    def __init__(self, user: Any, document: dict[str, Any]) -> None:
        super().__init__(None, document)
        if user is not None:
            self.pair = services.sign_in(user, address=None, user_agent="test")
            self.client.credentials(HTTP_AUTHORIZATION=f"Bearer {self.pair.access}")


@pytest.fixture
def nobody(document: dict[str, Any]) -> Asks:
    return Asks(None, document)


@pytest.fixture
def hers(document: dict[str, Any], alice: Any) -> Asks:
    return Asks(alice, document)


@pytest.fixture
def roots(document: dict[str, Any], root: Any) -> Asks:
    return Asks(root, document)


def test_the_doors_for_those_outside(nobody: Asks, settings: Any, alice: Any) -> None:
    new = {"email": "new@example.org", "password": PASSWORD}
    made = nobody("post", "/api/auth/sign-up", new)
    assert made.status_code == 201
    found, wanted = [], []
    for method, path, body, status in [
        ("post", "sign-up", new, 409),
        ("post", "sign-up", {"email": "x"}, 400),
        ("post", "sign-in", new, 200),
        ("post", "login", {**new, "password": "wrong"}, 401),
        ("post", "sign-in", {}, 400),
        ("post", "refresh", {"refresh": "x"}, 401),
        ("post", "refresh", {"refresh": made.json()["refresh"]}, 200),
        ("post", "refresh", {"refresh": made.json()["refresh"]}, 401),
        ("get", "providers", None, 200),
        ("get", "session", None, 401),
        ("post", "password/forgot", {"email": "alice@example.org"}, 202),
        ("post", "password/forgot", {}, 400),
        ("post", "password/reset", {"token": "x", "password": PASSWORD}, 422),
        ("post", "verify", {"token": "x"}, 400),
        ("post", "verify/again", {"email": "alice@example.org"}, 202),
    ]:
        found.append((method, path, nobody(method, f"/api/auth/{path}", body).status_code))
        wanted.append((method, path, status))
    assert [pair for pair in zip(found, wanted, strict=True) if pair[0] != pair[1]] == []
    assert nobody("post", "/api/login", {"username": "alice", "password": PASSWORD}).json().keys() == {"access_token", "token_type", "expires_in"}
    assert nobody("get", "/api/whoami").status_code == 401
    settings.SIGNUP_ENABLED = False
    off = nobody("post", "/api/auth/sign-up", {**new, "email": "late@example.org"})
    assert (off.status_code, off.json()["code"]) == (403, "sign_up_disabled")
    assert not User.objects.filter(email="late@example.org").exists()


def test_what_people_do_to_their_own_account(hers: Asks, alice: Any) -> None:
    unknown = uuid.uuid4()
    key = hers("post", "/api/auth/keys", {"name": "ci", "scopes": ["containers.view"]}).json()
    found, wanted = [], []
    for method, path, body, status in [
        ("get", "session", None, 200),
        ("get", "me", None, 200),
        ("get", "profile", None, 200),
        ("patch", "profile", {"name": "Alice B."}, 200),
        ("patch", "profile", {"email": "other@example.org", "name": "Alice"}, 400),
        ("put", "password", {"old_password": "wrong", "password": "a new long phrase"}, 422),
        ("get", "keys", None, 200),
        ("get", f"keys/{key['id']}", None, 200),
        ("post", "keys", {"name": "ci", "scopes": ["users.manage"]}, 403),
        ("delete", f"keys/{key['id']}", None, 204),
        ("delete", f"keys/{unknown}", None, 404),
        ("get", "sessions", None, 200),
        ("get", f"sessions/{hers.pair.session.pk}", None, 200),
        ("get", f"sessions/{unknown}", None, 404),
        ("delete", f"sessions/{unknown}", None, 404),
        ("delete", "sessions", None, 204),
        ("get", "connections", None, 200),
        ("delete", "connections/77", None, 404),
        ("get", "second-factor", None, 200),
        ("post", "second-factor/totp", None, 201),
        ("put", "second-factor/totp", {"code": "000000"}, 400),
        ("delete", "second-factor/totp", None, 404),
        ("delete", "second-factor/passkeys/77", None, 404),
        ("post", "second-factor/recovery-codes", None, 409),
        ("post", "confirm", {"password": "wrong"}, 422),
        ("post", "confirm", {"password": PASSWORD}, 200),
        ("post", "tickets", {"action": "socket"}, 201),
        ("post", "sign-out", {}, 204),
        ("get", "session", None, 401),
    ]:
        found.append((method, path, hers(method, f"/api/auth/{path}", body).status_code))
        wanted.append((method, path, status))
    assert [pair for pair in zip(found, wanted, strict=True) if pair[0] != pair[1]] == []


def test_one_session_is_read_and_all_others_end_by_one_call(hers: Asks, alice: Any, bob: Any, document: dict[str, Any]) -> None:
    """D01, E03: whoever asks stays; nobody else's are told of or ended."""
    other, foreign = Asks(alice, document), Asks(bob, document)
    read = hers("get", f"/api/auth/sessions/{other.pair.session.pk}").json()
    assert (read["id"], read["current"]) == (str(other.pair.session.pk), False)
    assert hers("get", f"/api/auth/sessions/{foreign.pair.session.pk}").status_code == 404
    assert hers("delete", "/api/auth/sessions").status_code == 204
    assert [one("get", "/api/whoami").status_code for one in (hers, other, foreign)] == [200, 401, 200]
    assert hers("get", f"/api/auth/sessions/{other.pair.session.pk}").status_code == 404, "it is over"
    key = hers("post", "/api/auth/keys", {"name": "ci", "scopes": ["containers.view"]}).json()["key"]
    assert APIClient().delete("/api/auth/sessions", headers=bearer(key)).status_code == 403, "a key is nobody in person"
    assert hers("get", "/api/whoami").status_code == 200


def test_administrators_work(roots: Asks, hers: Asks, root: Any, bob: Any) -> None:
    unknown = str(uuid.uuid4())
    made = roots("post", "/api/users", {"email": "carol@example.org", "role": "member"})
    assert made.status_code == 201, made.content
    carol = made.json()["id"]
    role = roots("post", "/api/roles", {"name": "Watchers", "capabilities": ["containers.view"]}).json()["id"]
    builtin = Role.objects.get(slug="viewer").pk
    found, wanted = [], []
    for method, path, body, status in [
        ("get", "users?search=carol&role=member&is_active=true", None, 200),
        ("get", "users?is_active=perhaps", None, 400),
        ("post", "users", {"email": "carol@example.org", "role": "member"}, 409),
        ("post", "users", {"email": "dave@example.org", "role": "no such role"}, 422),
        ("get", "users/stats", None, 200),
        ("get", f"users/{carol}", None, 200),
        ("patch", f"users/{carol}", {"name": "Carol"}, 200),
        ("patch", f"users/{unknown}", {"name": "x"}, 404),
        ("patch", f"users/{root.pk}", {"role": "viewer"}, 403),
        ("post", "users/bulk", {"ids": [carol, str(bob.pk)], "action": "deactivate"}, 200),
        ("post", "users/bulk", {"ids": [carol, str(bob.pk)], "action": "activate"}, 200),
        ("post", "users/bulk", {"ids": [carol, unknown], "action": "activate"}, 409),
        ("post", "users/bulk", {"ids": [carol, str(root.pk)], "action": "delete"}, 403),
        ("post", "users/bulk", {"ids": [], "action": "delete"}, 400),
        ("delete", f"users/{carol}", None, 204),
        ("delete", f"users/{carol}", None, 404),
        ("get", "roles", None, 200),
        ("get", f"roles/{role}", None, 200),
        ("patch", f"roles/{role}", {"name": "Lookers"}, 200),
        ("patch", f"roles/{builtin}", {"name": "x"}, 409),
        ("delete", f"roles/{builtin}", None, 409),
        ("delete", f"roles/{role}", None, 204),
        ("get", f"roles/{role}", None, 404),
        ("get", "permissions", None, 200),
        ("get", "audit?action=accounts.user_deleted&since=2026-01-01T00:00:00Z", None, 200),
        ("get", "audit?since=yesterday", None, 400),
        ("get", "audit?format=csv", None, 200),
        ("get", "audit?format=jsonl", None, 200),
    ]:
        found.append((method, path, roots(method, f"/api/{path}", body).status_code))
        wanted.append((method, path, status))
    assert [pair for pair in zip(found, wanted, strict=True) if pair[0] != pair[1]] == []
    for path in ("users", "roles", "permissions", "audit"):
        assert hers("get", f"/api/{path}").status_code in (200, 403), path
    assert hers("post", "/api/users", {}).status_code == 403
    assert hers("post", "/api/users/bulk", {}).status_code == 403


def test_grants(hers: Asks, alice: Any, bob: Any, document: dict[str, Any]) -> None:
    base = f"/api/containers/{make_container('web', alice, make_node('fra-1')).pk}/grants"
    wish = {"user": str(bob.pk), "permissions": ["containers.view"], "reason": "on call"}
    made = hers("post", base, wish)
    assert made.status_code == 201, made.content
    one = f"{base}/{made.json()['id']}"
    found, wanted = [], []
    for method, path, body, status in [
        ("get", base, None, 200),
        ("get", one, None, 200),
        ("patch", one, {"reason": "still on call"}, 200),
        ("post", base, wish, 409),
        ("post", base, {**wish, "permissions": ["users.manage"]}, 400),
        ("post", base, {}, 400),
        ("get", f"{base}/{uuid.uuid4()}", None, 404),
    ]:
        found.append((method, path, hers(method, path, body).status_code))
        wanted.append((method, path, status))
    assert [pair for pair in zip(found, wanted, strict=True) if pair[0] != pair[1]] == []
    his = Asks(bob, document)
    assert his("post", base, wish).status_code == 403
    assert hers("delete", one).status_code == 204
    assert his("get", base).status_code == 404
