"""Tokens: each kind opens its own door only, and dies at once with its session, its account or its password."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from django.conf import settings as django_settings
from rest_framework.test import APIClient

from accounts.models import AuthSession
from accounts.tokens import user_for_access_token
from audit.models import Entry
from lormas.common import clock
from lormas.common.crypto import derive_key
from lormas.common.errors import NotSignedIn
from tests.accounts.conftest import PASSWORD, bearer

pytestmark = pytest.mark.redis
USER_KEY = derive_key(django_settings.JWT_USER_KEY, "token-user")


def whoami(token: str) -> int:
    return int(APIClient().get("/api/whoami", headers=bearer(token)).status_code)


@pytest.fixture
def claims(alice: Any, sign_in: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """Good claims of alice's."""
    token = sign_in(alice)["access"]
    found: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return found


def signed(claims: dict[str, Any], *, key: str = USER_KEY, algorithm: str = "HS256", headers: dict[str, Any] | None = None) -> str:
    return jwt.encode(claims, key, algorithm=algorithm, headers=headers)


def unsigned(claims: dict[str, Any], header: dict[str, Any]) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims)]
    return ".".join([*parts, ""])


def test_the_forgers_baseline_is_a_token_that_works(claims: dict[str, Any]) -> None:
    assert whoami(signed(claims)) == 200


FORGED: dict[str, Callable[[dict[str, Any]], str]] = {
    "alg none": lambda c: unsigned(c, {"alg": "none", "typ": "JWT"}),
    "alg None": lambda c: unsigned(c, {"alg": "None"}),
    "alg missing": lambda c: unsigned(c, {"typ": "JWT"}),
    "HS512": lambda c: signed(c, algorithm="HS512"),
    "kid": lambda c: signed(c, key="x" * 32, headers={"kid": "../../dev/null"}),
    "jku": lambda c: signed(c, key="x" * 32, headers={"jku": "http://127.0.0.1:1/keys"}),
    "own key": lambda c: signed(c, key="x" * 40),
    "empty key": lambda c: unsigned(c, {"alg": "HS256"}),
    "root key": lambda c: signed(c, key=django_settings.SECRET_KEY),
    "agent key": lambda c: signed(c, key=django_settings.JWT_AGENT_KEY),
    "ticket key": lambda c: signed(c, key=django_settings.JWT_TICKET_KEY),
    "foreign audience": lambda c: signed({**c, "aud": "agent"}),
    "list of audiences": lambda c: signed({**c, "aud": ["user", "agent"]}),
    "no audience": lambda c: signed({k: v for k, v in c.items() if k != "aud"}),
    "no expiry": lambda c: signed({k: v for k, v in c.items() if k != "exp"}),
    "no issuer": lambda c: signed({k: v for k, v in c.items() if k != "iss"}),
    "expired": lambda c: signed({**c, "exp": int(time.time()) - 1}),
    "expiry no number": lambda c: signed({**c, "exp": "soon"}),
    "sub list": lambda c: signed({**c, "sub": ["a"]}),
    "sub dict": lambda c: signed({**c, "sub": {"$ne": None}}),
    "sub number": lambda c: signed({**c, "sub": 1}),
    "sub no uuid": lambda c: signed({**c, "sub": "admin"}),
    "sub nul": lambda c: signed({**c, "sub": "\x00"}),
    "sub of nobody": lambda c: signed({**c, "sub": str(uuid.uuid4())}),
    "sid list": lambda c: signed({**c, "sid": []}),
    "sid of nobody": lambda c: signed({**c, "sid": str(uuid.uuid4())}),
    "gen wrong": lambda c: signed({**c, "gen": 7}),
    "gen text": lambda c: signed({**c, "gen": "0"}),
    "gen false": lambda c: signed({**c, "gen": False}),
    "gen missing": lambda c: signed({k: v for k, v in c.items() if k != "gen"}),
    "payload no object": lambda c: jwt.api_jws.encode(b"[1]", USER_KEY, algorithm="HS256"),
    "payload no json": lambda c: jwt.api_jws.encode(b"\xff\xfe", USER_KEY, algorithm="HS256"),
    "truncated": lambda c: signed(c)[:-5],
    "two parts": lambda c: ".".join(signed(c).split(".")[:2]),
    "words": lambda c: "not a token",
    "huge": lambda c: "a" * 5000,
    "empty": lambda c: "",
    "api key that is none": lambda c: "lor_abcdef",
}


@pytest.mark.parametrize("forge", FORGED.values(), ids=FORGED.keys())
def test_a_forged_token_is_401_and_never_500(claims: dict[str, Any], forge: Callable[[dict[str, Any]], str]) -> None:
    """E01, E02, M8."""
    token = forge(claims)
    assert whoami(token) == 401
    with pytest.raises(NotSignedIn):
        user_for_access_token(token)


def test_access_and_refresh_do_not_pass_as_each_other(alice: Any, sign_in: Any, api: APIClient) -> None:
    """E02."""
    pair = sign_in(alice)
    assert whoami(pair["refresh"]) == 401
    assert api.post("/api/auth/refresh", {"refresh": pair["access"]}, format="json").status_code == 401
    assert whoami(pair["access"]) == 200


def test_a_refresh_gives_a_new_pair_and_keeps_the_session(alice: Any, sign_in: Any, api: APIClient) -> None:
    first = sign_in(alice)
    second = api.post("/api/auth/refresh", {"refresh": first["refresh"]}, format="json").json()
    assert second["refresh"] != first["refresh"]
    assert whoami(second["access"]) == 200
    assert AuthSession.objects.count() == 1


def test_a_refresh_token_used_twice_ends_its_whole_family(alice: Any, sign_in: Any, api: APIClient) -> None:
    """E04: both parties are out, other sessions live on."""
    first, other = sign_in(alice), sign_in(alice)
    second = api.post("/api/auth/refresh", {"refresh": first["refresh"]}, format="json").json()
    assert api.post("/api/auth/refresh", {"refresh": first["refresh"]}, format="json").status_code == 401
    assert [whoami(first["access"]), whoami(second["access"]), whoami(other["access"])] == [401, 401, 200]
    assert api.post("/api/auth/refresh", {"refresh": second["refresh"]}, format="json").status_code == 401
    assert Entry.objects.get(action="accounts.refresh").outcome == "refused"


def test_signing_out_ends_access_and_refresh_at_once(alice: Any, sign_in: Any, api: APIClient) -> None:
    """E03."""
    pair, other = sign_in(alice), sign_in(alice)
    assert api.post("/api/auth/sign-out", {}, format="json", headers=bearer(pair["access"])).status_code == 204
    assert [whoami(pair["access"]), whoami(other["access"])] == [401, 200]
    assert api.post("/api/auth/refresh", {"refresh": pair["refresh"]}, format="json").status_code == 401
    assert Entry.objects.filter(action="accounts.sign_out").count() == 1


def test_a_password_change_ends_all_other_sessions(alice: Any, sign_in: Any, api: APIClient, client: Any) -> None:
    """E03, E17: tokens and cookies; the one that changed it lives on."""
    mine, other = sign_in(alice), sign_in(alice)
    client.force_login(alice)
    assert client.get("/api/whoami").status_code == 200
    body = {"old_password": PASSWORD, "password": "another long phrase"}
    assert api.put("/api/auth/password", body, format="json", headers=bearer(mine["access"])).status_code == 204
    assert [whoami(mine["access"]), whoami(other["access"]), client.get("/api/whoami").status_code] == [200, 401, 401]
    assert api.post("/api/auth/refresh", {"refresh": other["refresh"]}, format="json").status_code == 401
    assert sign_in(alice, "another long phrase")


def test_a_deactivated_account_is_out_at_once(alice: Any, sign_in: Any, api: APIClient) -> None:
    """E03."""
    pair = sign_in(alice)
    type(alice).objects.filter(pk=alice.pk).update(is_active=False)
    assert whoami(pair["access"]) == 401
    assert api.post("/api/auth/refresh", {"refresh": pair["refresh"]}, format="json").status_code == 401


def test_raising_the_generation_ends_tokens_and_cookies(alice: Any, sign_in: Any, client: Any) -> None:
    pair = sign_in(alice)
    client.force_login(alice)
    type(alice).objects.filter(pk=alice.pk).update(token_generation=1)
    assert [whoami(pair["access"]), client.get("/api/whoami").status_code] == [401, 401]


def test_a_session_past_its_end_is_over(alice: Any, sign_in: Any) -> None:
    pair = sign_in(alice)
    AuthSession.objects.update(expires_at=clock.now())
    assert whoami(pair["access"]) == 401


def test_one_ends_ones_own_sessions_and_nobody_elses(alice: Any, bob: Any, sign_in: Any, api: APIClient) -> None:
    """D01: a foreign session is 404 like one that does not exist."""
    mine, other, foreign = sign_in(alice), sign_in(alice), sign_in(bob)
    listed = api.get("/api/auth/sessions", headers=bearer(mine["access"])).json()["results"]
    assert {row["current"] for row in listed} == {True, False}
    victim = next(row["id"] for row in listed if not row["current"])
    assert api.delete(f"/api/auth/sessions/{victim}", headers=bearer(mine["access"])).status_code == 204
    assert whoami(other["access"]) == 401
    bobs = AuthSession.objects.get(user=bob).pk
    for unknown in (bobs, uuid.uuid4()):
        assert api.delete(f"/api/auth/sessions/{unknown}", headers=bearer(mine["access"])).json()["code"] == "not_found"
    assert whoami(foreign["access"]) == 200
