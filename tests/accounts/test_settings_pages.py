"""What people see and end of themselves: sessions of browsers and programs, API keys, and the gate's JSON doors."""

from __future__ import annotations

import json
import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.contrib.sessions.models import Session
from django.test import Client
from rest_framework.test import APIClient

from accounts import keys, sessions
from accounts.models import ApiKey, AuthSession
from accounts.sessionstore import kept_as
from accounts.templatetags.sign_in import agent_word
from audit.models import Entry
from lormas.common import clock
from tests.accounts.conftest import PASSWORD, bearer

pytestmark = pytest.mark.redis
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"


def browser(user: Any, agent: str = FIREFOX) -> Client:
    client = Client(headers={"User-Agent": agent})
    answer = client.post("/login", {"login": user.email, "password": PASSWORD, "remember": "on"})
    assert answer.status_code == 302
    return client


def alive(client: Client) -> bool:
    return bool(client.get("/api/whoami").status_code == 200)


def test_browsers_and_programs_are_listed_and_the_present_one_is_marked(alice: Any, sign_in: Any) -> None:
    mine, _ = browser(alice), sign_in(alice)
    page = mine.get("/settings/sessions").content.decode()
    assert "Firefox on Linux" in page and page.count("This one") == 1
    rows = {row["kind"]: row for row in mine.get("/api/auth/sessions").json()["results"]}
    assert (rows["browser"]["current"], rows["token"]["current"], rows["browser"]["user_agent"]) == (True, False, FIREFOX)
    assert "session_key" not in rows["browser"]
    assert mine.get("/api/auth/session").json()["session"]["id"] == rows["browser"]["id"]


def test_ending_a_session_ends_its_cookie_at_once(alice: Any, sign_in: Any, api: APIClient) -> None:
    """E03: by page and by API; the row of the cookie is gone, not just hidden."""
    mine, stolen, third = browser(alice), browser(alice), browser(alice)
    row = AuthSession.objects.get(session_key=kept_as(stolen.session.session_key))
    assert mine.post(f"/settings/sessions/{row.pk}/end").headers["Location"] == "/settings/sessions"
    assert (alive(mine), alive(stolen), alive(third)) == (True, False, True)
    assert not Session.objects.filter(session_key=row.session_key).exists()
    token = sign_in(alice)["access"]
    another = AuthSession.objects.get(session_key=kept_as(third.session.session_key))
    assert api.delete(f"/api/auth/sessions/{another.pk}", headers=bearer(token)).status_code == 204
    assert not alive(third)


def test_all_others_end_together(alice: Any, bob: Any, sign_in: Any, api: APIClient) -> None:
    mine, other, foreign, token = browser(alice), browser(alice), browser(bob), sign_in(alice)["access"]
    mine.post("/settings/sessions/end")
    assert (alive(mine), alive(other), alive(foreign)) == (True, False, True)
    assert api.get("/api/whoami", headers=bearer(token)).status_code == 401


def test_nobody_ends_anothers_session(alice: Any, bob: Any) -> None:
    """D01."""
    mine, foreign = browser(alice), browser(bob)
    row = AuthSession.objects.get(session_key=kept_as(foreign.session.session_key))
    for unknown in (row.pk, uuid.uuid4()):
        assert "There is no such session" in mine.post(f"/settings/sessions/{unknown}/end", follow=True).content.decode()
    assert alive(foreign)


def test_ending_the_present_one_signs_out(alice: Any) -> None:
    mine = browser(alice)
    row = AuthSession.objects.get()
    assert mine.post(f"/settings/sessions/{row.pk}/end").headers["Location"] == "/login"
    assert not alive(mine)
    row.refresh_from_db()
    assert row.revoked_why == "sign_out"
    assert Entry.objects.filter(action="accounts.sign_out").count() == 1


def test_a_password_change_by_page_ends_all_but_this_browser(alice: Any, sign_in: Any, api: APIClient) -> None:
    """E03, E18: this one lives on under a new session key, and is still listed and endable."""
    mine, other, token = browser(alice), browser(alice), sign_in(alice)["access"]
    before = mine.session.session_key
    form = {"old_password": PASSWORD, "password": "another long phrase", "repeated": "another long phrase"}
    assert mine.post("/password", form).status_code == 302
    assert (alive(mine), alive(other), api.get("/api/whoami", headers=bearer(token)).status_code) == (True, False, 401)
    assert mine.session.session_key != before
    row = AuthSession.objects.get(revoked_at=None)
    assert row.session_key == kept_as(mine.session.session_key)
    sessions_page = mine.get("/settings/sessions").content.decode()
    assert sessions_page.count("This one") == 1


def test_the_cookie_is_for_this_host_only_and_for_no_script(alice: Any, settings: Any) -> None:
    """E18."""
    client = Client()
    answer = client.post("/login", {"login": alice.email, "password": PASSWORD})
    cookie = answer.cookies[settings.SESSION_COOKIE_NAME]
    assert (cookie["httponly"], cookie["samesite"], cookie["domain"], cookie["path"], cookie["max-age"]) == (True, "Lax", "", "/", "")
    stay = Client().post("/login", {"login": alice.email, "password": PASSWORD, "remember": "on"}).cookies[settings.SESSION_COOKIE_NAME]
    assert int(stay["max-age"]) == settings.SESSION_COOKIE_AGE


def test_seen_is_kept_to_two_minutes(alice: Any) -> None:
    mine = browser(alice)
    mine.get("/profile")
    with time_machine.travel(clock.now() + timedelta(minutes=3)):
        mine.get("/profile")
        assert clock.now() - AuthSession.objects.get().last_seen_at < timedelta(seconds=60)


def test_old_rows_are_forgotten(alice: Any) -> None:
    browser(alice)
    AuthSession.objects.update(expires_at=clock.now() - timedelta(days=31))
    assert sessions.forget_ended() >= 1
    assert not AuthSession.objects.exists()


@pytest.mark.parametrize(
    ("agent", "word"),
    [
        (FIREFOX, "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0 Safari/537.36 Edg/130.0", "Edge on Windows"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605 (KHTML, like Gecko) Version/18.0 Safari/604.1", "Safari on iPhone"),
        ("curl/8.10.1", "curl/8.10.1"),
        ("", "Unknown program"),
        ("<script>alert(1)</script>", "<script>alert"),
    ],
)
def test_a_user_agent_reads_as_a_word(agent: str, word: str) -> None:
    assert agent_word(agent) == word


# ---- keys


def test_a_key_is_made_shown_once_and_deleted(alice: Any, api: APIClient) -> None:
    """E19: delete is proved by 401."""
    mine = browser(alice)
    form = {"name": "CI", "days": "30", "allowed_ips": "127.0.0.1, 10.0.0.0/8", "scopes": ["containers.view"]}
    answer = mine.post("/settings/keys", form)
    found = re.search(r'id="new-key">(lor_\w+)<', answer.content.decode())
    assert found is not None and "no-store" in answer.headers["Cache-Control"]
    secret = found[1]
    assert secret not in mine.get("/settings/keys").content.decode()
    key = ApiKey.objects.get()
    assert (key.allowed_ips, key.scopes) == (["127.0.0.1/32", "10.0.0.0/8"], ["containers.view"])
    assert key.expires_at is not None and timedelta(days=29) < key.expires_at - clock.now() <= timedelta(days=30)
    assert api.get("/api/containers", headers=bearer(secret)).status_code == 200
    mine.post(f"/settings/keys/{key.pk}/delete")
    assert api.get("/api/containers", headers=bearer(secret)).status_code == 401


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"scopes": []}, "Choose at least one"),
        ({"scopes": ["users.manage"]}, "Select a valid choice"),
        ({"allowed_ips": "home"}, "is no IP address"),
        ({"name": ""}, "This field is required"),
        ({"days": "99999999"}, "Select a valid choice"),
    ],
)
def test_a_wrong_wish_is_told_and_nothing_typed_is_lost(alice: Any, change: dict[str, Any], said: str) -> None:
    answer = browser(alice).post("/settings/keys", {"name": "CI for shop", "days": "30", "scopes": ["containers.view"], **change})
    assert said in answer.content.decode()
    assert not ApiKey.objects.exists()
    if "name" not in change:
        assert 'value="CI for shop"' in answer.content.decode()


def test_nobody_deletes_anothers_key(alice: Any, bob: Any) -> None:
    """D01."""
    key, _ = keys.create_key(bob, name="b", scopes=["containers.view"], actor=bob.as_actor())
    assert "There is no such key" in browser(alice).post(f"/settings/keys/{key.pk}/delete", follow=True).content.decode()
    assert ApiKey.objects.exists()


# ---- pages of the gate

MINE = ("/profile", "/settings", "/settings/sessions", "/settings/keys", "/settings/email", "/settings/totp", "/password", "/confirm")


@pytest.mark.parametrize("path", MINE)
def test_pages_about_oneself_are_for_the_signed_in_and_never_cached(client: Client, alice: Any, path: str) -> None:
    """H04."""
    assert client.get(path).headers["Location"] == f"/login?next={path}"
    mine = browser(alice)
    answer = mine.get(path)
    assert answer.status_code == 200
    assert "no-store" in answer.headers["Cache-Control"]


GARBAGE: list[Any] = [
    b"",
    b"[]",
    b"null",
    b"{",
    b'{"credential": 5}',
    b'{"credential": {}}',
    b"\xff\xfe",
    b"[" * 5000,
    json.dumps({"credential": {"id": "x"}}).encode(),
]


@pytest.mark.parametrize("path", ["/login/passkey", "/login/code/passkey", "/confirm/passkey", "/settings/passkeys"])
@pytest.mark.parametrize("body", GARBAGE, ids=range(len(GARBAGE)))
def test_garbage_for_a_passkey_is_refused_and_never_an_error_of_ours(alice: Any, path: str, body: bytes) -> None:
    """H09."""
    client = Client()
    if path in ("/confirm/passkey", "/settings/passkeys"):
        client = browser(alice)
    options = {"/login/passkey": "/login/passkey/options", "/confirm/passkey": "/confirm/options", "/settings/passkeys": "/settings/passkeys/options"}
    if path in options:
        client.post(options[path], headers={"Host": "localhost"})
    answer = client.post(path, body, content_type="application/json", headers={"Host": "localhost"})
    assert 400 <= answer.status_code < 500
    assert answer.json()["detail"]


def test_passkeys_are_not_offered_where_browsers_make_none(alice: Any) -> None:
    assert "Sign in with a passkey" not in Client().get("/login", headers={"Host": "127.0.0.1:8000"}).content.decode()
    assert "Sign in with a passkey" in Client().get("/login", headers={"Host": "localhost:8000"}).content.decode()


def test_django_admin_has_no_door_of_its_own(client: Client, root: Any) -> None:
    """E07, H08: one gate, with its limits and second factor."""
    assert client.get("/admin/login/?next=/admin/").headers["Location"] == "/login?next=/admin/"
    assert client.post("/admin/login/", {"username": root.email, "password": PASSWORD}).status_code == 302
    assert not alive(client)
