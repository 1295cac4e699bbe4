"""What a stranger can do on a panel without anybody, what looking does, and what nonsense does: nothing, nothing, and a sentence."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from django.apps import apps
from django.core import serializers
from django.test import Client
from rest_framework.test import APIClient

from accounts.models import User
from accounts.seeding import seed_roles
from tests.accounts.conftest import PASSWORD
from tests.lormas.test_headers import paths

pytestmark = pytest.mark.redis
ACCOUNT = {
    "email": "first@example.org",
    "username": "first",
    "password": "a phrase of words",
    "name": "First",
    "role": "administrator",
    "is_staff": True,
}
TAKE_PUT = {"/api/auth/password", "/api/auth/profile", "/api/auth/second-factor/totp"}
OPEN_TO_STRANGERS = {"/api/auth/sign-up", "/api/auth/register"}
# When somebody was seen is no change that they made; refusals are rows of the journal, as they should be.
NOTES = {"accounts.AuthSession", "sessions.Session", "audit.Entry", "audit.Seal"}


def test_the_first_who_comes_to_a_fresh_panel_takes_nothing_over(db: None, settings: Any) -> None:
    """E06: there is no set-up door; whatever a stranger posts wherever, nobody with rights comes of it."""
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "anonymous": (10_000, 900), "sign_up_address": (1000, 900)}
    seed_roles()
    client = APIClient()
    for number, path in enumerate(sorted(set(paths()))):
        client.post(path, {**ACCOUNT, "email": f"p{number}@example.org", "username": f"p{number}"}, format="json")
        client.post(path, {**ACCOUNT, "email": f"q{number}@example.org", "username": f"q{number}"}, format="multipart")  # as pages send it
    for path in sorted(OPEN_TO_STRANGERS):
        refused = client.post(path, ACCOUNT, format="json")
        assert (refused.status_code, {error["field"] for error in refused.json()["errors"]}) == (400, {"role", "is_staff"}), "said, not swallowed"
    made = list(User.objects.select_related("role"))
    assert made, "the page of sign-up took what is a stranger's to give"
    assert {(user.is_superuser, user.is_staff, user.role.slug) for user in made} == {(False, False, "member")}
    for path in ("/setup", "/install", "/api/setup", "/api/install", "/api/users/admin/init", "/api/restore", "/api/backup/restore"):
        assert client.post(path, ACCOUNT, format="json").status_code in (403, 404, 405), path


def state() -> dict[str, str]:
    found = {}
    for model in apps.get_models():
        if model._meta.label not in NOTES:
            rows = serializers.serialize("json", model._default_manager.order_by("pk"))
            found[model._meta.label] = hashlib.sha256(rows.encode()).hexdigest()
    return found


@pytest.mark.parametrize("who", ["stranger", "administrator"])
def test_looking_changes_nothing(request: pytest.FixtureRequest, who: str, alice: Any, settings: Any) -> None:
    """H02: the whole database is the same before and after every GET, also with what would be a body in the query."""
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "anonymous": (10_000, 900)}
    client = Client()
    if who == "administrator":
        client.force_login(request.getfixturevalue("root"), backend="accounts.backends.EmailOrUsernameBackend")
    query = {
        "email": "x@example.org",
        "password": "a phrase of words",
        "name": "x",
        "count": 1,
        "duration": 1,
        "_method": "DELETE",
        "action": "delete",
    }
    before = state()
    for path in sorted(set(paths())):
        assert client.get(path, query).status_code < 500 or path == "/readyz", path
    assert state() == before


ODD: list[Any] = [
    None,
    [],
    {},
    0,
    True,
    1e400,
    -1,
    "",
    "\x00",
    "\ud800",
    "a" * 70_000,
    "../../etc/passwd",
    "' OR 1=1 --",
    {"$ne": None},
    [[[[]]]],
    "\u202e\u0000\uffff",
    {"a": {"b": {"c": []}}},
    "{{7*7}}",
    "٣",
    "2026-13-45T99:99:99Z",
]
FIELDS = [
    "email",
    "username",
    "password",
    "name",
    "code",
    "token",
    "refresh",
    "old_password",
    "draft",
    "scopes",
    "expires_at",
    "allowed_ips",
    "action",
]


@pytest.mark.parametrize("signed_in", [False, True], ids=["stranger", "person"])
def test_nonsense_is_answered_and_never_an_error_of_ours(alice: Any, settings: Any, signed_in: bool) -> None:
    """H09: every door below /api/auth, every kind of value in every field and as the whole body."""
    settings.RATE_LIMITS = dict.fromkeys(settings.RATE_LIMITS, (1_000_000, 900))
    client = APIClient(raise_request_exception=False)
    if signed_in:
        client.post("/api/auth/sign-in", {"email": "alice", "password": PASSWORD}, format="json")
        client.force_authenticate(alice)
    doors = sorted(path for path in set(paths()) if path.startswith("/api/auth/"))
    bodies = [json.dumps(odd) for odd in ODD[:6]] + [json.dumps(dict.fromkeys(FIELDS, odd)) for odd in ODD]
    bodies += ["", "{", "[" * 5000, '{"email": "a", "email": "b"}', '{"a": NaN}', "\xff\xfe"]
    asked = 0
    for path in doors:
        for body in bodies:
            for method in ("POST", "PUT")[: 1 if path not in TAKE_PUT else 2]:
                answer = client.generic(method, path, body.encode("utf-8", "surrogatepass"), content_type="application/json")
                asked += 1
                assert answer.status_code < 500, f"{method} {path} {body[:80]!r}: {answer.content[:300]!r}"
                if answer.status_code >= 400:
                    assert answer.headers["Content-Type"] == "application/problem+json", path
    assert asked > 800
