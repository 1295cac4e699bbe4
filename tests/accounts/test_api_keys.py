"""API keys: shown once, never more than their owner, dead when they are deleted."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from rest_framework.test import APIClient

from accounts import keys
from accounts.access import capabilities_of
from accounts.models import ApiKey, User
from audit.models import Entry
from lormas.common import clock
from lormas.common.errors import NotSignedIn, Problem
from tests.accounts.conftest import PASSWORD, bearer

pytestmark = pytest.mark.redis


@pytest.fixture
def make_key(db: None) -> Callable[..., tuple[ApiKey, str]]:
    def act(user: Any, *scopes: str, **fields: Any) -> tuple[ApiKey, str]:
        return keys.create_key(user, name="ci", scopes=scopes or ("containers.view",), actor=user.as_actor(), **fields)

    return act


def get(path: str, secret: str, **extra: Any) -> int:
    return int(APIClient().get(path, headers=bearer(secret), **extra).status_code)


def test_a_key_is_told_once_and_kept_as_a_digest(alice: Any, sign_in: Any, api: APIClient) -> None:
    """I03, D14, E19."""
    auth = bearer(sign_in(alice)["access"])
    made = api.post("/api/auth/keys", {"name": "ci", "scopes": ["containers.view"]}, format="json", headers=auth)
    assert made.status_code == 201
    secret = made.json()["key"]
    assert secret.startswith("lor_")
    assert made.headers["Cache-Control"] == "no-store"
    listed = api.get("/api/auth/keys", headers=auth)
    assert [row["prefix"] for row in listed.json()["results"]] == [secret[:12]]
    assert api.get(made.headers["Location"], headers=auth).json()["last_used_at"] is None
    kept = str(list(ApiKey.objects.values())) + str(list(Entry.objects.values()))
    assert secret not in kept + listed.content.decode()
    assert get("/api/whoami", secret) == 200
    assert ApiKey.objects.get().last_used_at is not None
    assert Entry.objects.get(action="accounts.key_create").target_label == "ci"


def test_a_deleted_key_opens_nothing(alice: Any, bob: Any, sign_in: Any, api: APIClient, make_key: Any) -> None:
    """E19, D01."""
    key, secret = make_key(alice)
    path = f"/api/auth/keys/{key.pk}"
    theirs = bearer(sign_in(bob)["access"])
    assert [api.get(path, headers=theirs).status_code, api.delete(path, headers=theirs).status_code] == [404, 404]
    assert get("/api/whoami", secret) == 200
    assert api.delete(path, headers=bearer(sign_in(alice)["access"])).status_code == 204
    assert get("/api/whoami", secret) == 401
    assert Entry.objects.filter(action="accounts.key_delete", outcome="ok").count() == 1


@pytest.mark.parametrize("who", ["alice", "boss"])
def test_a_key_does_what_both_its_scopes_and_its_owner_allow(alice: Any, roles: Any, make_key: Any, who: str) -> None:
    """D08, D11: also a superuser's."""
    boss = User.objects.create_superuser("boss@example.org", PASSWORD, username="boss")
    owner = {"alice": alice, "boss": boss}[who]
    _, secret = make_key(owner, "containers.view")
    assert capabilities_of(keys.user_for_key(secret, address=None)) == {"containers.view"}
    assert get("/api/containers", secret) == 200
    assert get("/api/users", secret) == 403
    refused = APIClient().post("/api/containers", {"name": "x", "image": "busybox"}, format="json", headers=bearer(secret))
    assert refused.status_code == 403
    denied = Entry.objects.get(action="api.denied")
    assert (denied.actor_id, denied.actor_label.endswith("(key ci)")) == (str(owner.pk), True)


def test_a_key_loses_what_its_owner_loses(root: Any, roles: Any, make_key: Any) -> None:
    _, secret = make_key(root, "users.view", "containers.view")
    assert get("/api/users", secret) == 200
    User.objects.filter(pk=root.pk).update(role=roles["member"])
    assert [get("/api/users", secret), get("/api/containers", secret)] == [403, 200]
    User.objects.filter(pk=root.pk).update(is_active=False)
    assert get("/api/containers", secret) == 401


@pytest.mark.parametrize(
    ("wish", "field", "status"),
    [
        ({"scopes": ["users.manage"]}, "scopes", 403),
        ({"scopes": ["no.such"]}, "scopes", 400),
        ({"scopes": []}, "scopes", 400),
        ({"expires_at": "2001-01-01T00:00:00Z"}, "expires_at", 422),
        ({"expires_at": "tomorrow"}, "expires_at", 400),
        ({"allowed_ips": ["10.0.0.0/40"]}, "allowed_ips.0", 400),
        ({"allowed_ips": ["example.org"]}, "allowed_ips.0", 400),
        ({"digest": "x"}, "digest", 400),
        ({"user": "x"}, "user", 400),
    ],
)
def test_a_wrong_wish_makes_no_key(alice: Any, sign_in: Any, api: APIClient, wish: dict[str, Any], field: str, status: int) -> None:
    """D08, D13: nobody gives a key what they lack."""
    body = {"name": "ci", "scopes": ["containers.view"], **wish}
    answer = api.post("/api/auth/keys", body, format="json", headers=bearer(sign_in(alice)["access"]))
    assert answer.status_code == status
    assert field in {error["field"] for error in answer.json()["errors"]}
    assert not ApiKey.objects.exists()


CREDENTIAL_DOORS = (
    ("get", "/api/auth/keys", None),
    ("post", "/api/auth/keys", {"name": "more", "scopes": ["containers.view"]}),
    ("delete", "/api/auth/keys/{key}", None),
    ("put", "/api/auth/password", {"old_password": PASSWORD, "password": "another long phrase"}),
    ("patch", "/api/auth/profile", {"username": "mallory"}),
    ("get", "/api/auth/sessions", None),
    ("post", "/api/auth/sign-out", {}),
)


@pytest.mark.parametrize(("method", "path", "sent"), CREDENTIAL_DOORS)
def test_a_key_manages_no_credentials(alice: Any, make_key: Any, method: str, path: str, sent: Any) -> None:
    key, secret = make_key(alice)
    call = getattr(APIClient(), method)
    assert call(path.format(key=key.pk), sent, format="json", headers=bearer(secret)).status_code == 403
    alice.refresh_from_db()
    assert (alice.username, alice.check_password(PASSWORD), ApiKey.objects.count()) == ("alice", True, 1)


def test_a_key_ends_when_it_says(alice: Any, make_key: Any) -> None:
    key, secret = make_key(alice, expires_at=clock.now() + timedelta(hours=1))
    assert get("/api/whoami", secret) == 200
    ApiKey.objects.filter(pk=key.pk).update(expires_at=clock.now() - timedelta(milliseconds=1))
    assert get("/api/whoami", secret) == 401


def test_a_key_is_bound_to_its_addresses(alice: Any, make_key: Any, settings: Any) -> None:
    """E07: a header written by the caller counts for nothing."""
    settings.TRUSTED_PROXIES = []
    _, secret = make_key(alice, allowed_ips=["10.1.0.0/16", "::1"])
    assert get("/api/whoami", secret, REMOTE_ADDR="10.1.2.3") == 200
    assert get("/api/whoami", secret, REMOTE_ADDR="::1") == 200
    assert get("/api/whoami", secret, REMOTE_ADDR="10.2.0.1") == 401
    assert get("/api/whoami", secret, REMOTE_ADDR="10.2.0.1", HTTP_X_FORWARDED_FOR="10.1.2.3") == 401
    with pytest.raises(NotSignedIn):
        keys.user_for_key(secret, address=None)


@pytest.mark.parametrize(
    "wrong", ["lor_", "lor_short", "lor_" + "a" * 51, "lor_" + "é" * 51, "lor_" + "a" * 5000, "lor_../../" + "a" * 45, "lor_\x00"]
)
def test_a_wrong_key_is_401_never_500(alice: Any, make_key: Any, wrong: str) -> None:
    """E01."""
    _, secret = make_key(alice)
    for text in (wrong, secret[:-1] + ("a" if secret[-1] != "a" else "b"), secret[:12], secret + "a", secret.swapcase()):
        with pytest.raises(NotSignedIn):
            keys.user_for_key(text, address=None)


@pytest.mark.usefixtures("fresh_limits")
def test_wrong_keys_are_limited_by_address_and_shut_nobody_else_out(alice: Any, make_key: Any, settings: Any) -> None:
    """E07, E09."""
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "api_key_address": (3, 900)}
    _, secret = make_key(alice)
    tries = [get("/api/whoami", "lor_" + "a" * 51, REMOTE_ADDR="10.0.0.9") for _ in range(5)]
    assert tries == [401, 401, 401, 429, 429]
    assert get("/api/whoami", secret, REMOTE_ADDR="10.0.0.9") == 200
    assert get("/api/whoami", "lor_" + "a" * 51, REMOTE_ADDR="10.0.0.8") == 401


def test_a_key_of_somebody_who_must_change_their_password_waits(alice: Any, make_key: Any) -> None:
    """E05."""
    _, secret = make_key(alice)
    User.objects.filter(pk=alice.pk).update(must_change_password=True)
    assert get("/api/containers", secret) == 403


def test_a_stored_answer_is_not_replayed_to_a_key_of_the_same_person(root: Any, sign_in: Any, make_key: Any, api: APIClient) -> None:
    """I01: the answer may show what the key's scopes don't reach."""
    _, secret = make_key(root, "containers.view")
    call: dict[str, Any] = {"path": "/api/auth/keys", "data": {"name": "once", "scopes": ["containers.view"]}, "format": "json"}
    first = api.post(**call, headers={**bearer(sign_in(root)["access"]), "Idempotency-Key": "k1"})
    assert first.status_code == 201
    again = api.post(**call, headers={**bearer(secret), "Idempotency-Key": "k1"})
    assert again.status_code == 403


@pytest.mark.postgres
@pytest.mark.django_db(transaction=True)
def test_of_many_that_race_for_the_last_place_one_gets_it(alice: Any, make_key: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """E19, E08."""
    monkeypatch.setattr(keys, "MAX_KEYS", 2)
    make_key(alice)
    outcomes: list[str] = []
    start = threading.Barrier(6)

    def rival() -> None:
        start.wait()
        try:
            keys.create_key(alice, name="r", scopes=["containers.view"], actor=alice.as_actor())
            outcomes.append("made")
        except Problem as problem:
            outcomes.append(problem.code)
        finally:
            connection.close()

    rivals = [threading.Thread(target=rival) for _ in range(6)]
    for thread in rivals:
        thread.start()
    for thread in rivals:
        thread.join()
    assert sorted(outcomes) == ["made"] + ["too_many_keys"] * 5
    assert ApiKey.objects.count() == 2


def test_there_are_at_most_25_keys(alice: Any, make_key: Any, sign_in: Any, api: APIClient) -> None:
    """E19."""
    for _ in range(keys.MAX_KEYS):
        make_key(alice)
    body = {"name": "one more", "scopes": ["containers.view"]}
    answer = api.post("/api/auth/keys", body, format="json", headers=bearer(sign_in(alice)["access"]))
    assert (answer.status_code, answer.json()["code"], keys.MAX_KEYS) == (409, "too_many_keys", 25)
