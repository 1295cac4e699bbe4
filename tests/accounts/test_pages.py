"""The sign-in pages: same rules as the API, by cookie."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from audit.models import Entry
from tests.accounts.conftest import PASSWORD

pytestmark = pytest.mark.redis
FORM = {"login": "alice", "password": PASSWORD}


def test_signing_in_goes_where_one_wanted_and_rotates_the_session(client: Client, alice: Any) -> None:
    """E18."""
    page = client.get("/login?next=/containers")
    assert page.status_code == 200
    client.session["planted"] = "x"
    before = client.session.session_key
    response = client.post("/login", {**FORM, "next": "/containers"})
    assert (response.status_code, response.headers["Location"]) == (302, "/containers")
    assert client.session.session_key != before
    cookie = response.cookies["lormas_session"]
    assert cookie["httponly"]
    assert cookie["samesite"] == "Lax"
    assert Entry.objects.get(action="accounts.sign_in").after["by"] == "password"


def test_a_wrong_password_says_so_and_reflects_nothing(client: Client, alice: Any) -> None:
    """H07, E11."""
    for login in ("alice", "nobody"):
        page = client.post("/login", {"login": login, "password": "wrong", "next": "/x"})
        assert page.status_code == 200
        assert "The name or the password is wrong." in page.content.decode()
    assert "<script>alert" not in client.get("/login?message=<script>alert(1)</script>").content.decode()


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example", "///evil.example", "/\\evil.example", "\\\\evil.example", "https://evil.example", "https:evil.example", "http:///evil",
        "javascript:alert(1)", "/\t/evil.example", "\t//evil.example", " //evil.example", "/%0d%0aSet-Cookie:x\r\n", "data:text/html,x",
        "evil.example",
        "",
        "/\x00", "//testserver@evil.example", "https://testserver/", "x" * 5000, "/" + "x" * 5000, "\u2028/x", "/\u202e/evil",
        "////", "/\\/evil", "..//evil",
    ],
)  # fmt: skip
def test_next_never_leaves_the_panel(client: Client, alice: Any, target: str) -> None:
    """E15."""
    assert client.post("/login", {**FORM, "next": target}).headers["Location"] == "/"


def test_forms_and_cookie_calls_need_the_csrf_token(alice: Any) -> None:
    """H02."""
    client = Client(enforce_csrf_checks=True)
    assert client.post("/login", FORM).status_code == 403
    client.force_login(alice)
    assert client.post("/logout").status_code == 403
    response = client.patch("/api/auth/profile", {"name": "x"}, content_type="application/json")
    assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    alice.refresh_from_db()
    assert alice.name == "Alice"
    client.get("/profile")
    token = client.cookies["lormas_csrf"].value
    assert client.patch("/api/auth/profile", {"name": "x"}, content_type="application/json", headers={"X-CSRFToken": token}).status_code == 200


def test_signing_out_is_a_post_and_ends_the_session(client: Client, alice: Any) -> None:
    client.force_login(alice)
    assert client.get("/logout").status_code == 405
    assert client.post("/logout").headers["Location"] == "/login"
    assert client.get("/api/whoami").status_code == 401


def test_a_cookie_session_signs_out_through_the_api_too(client: Client, alice: Any) -> None:
    client.force_login(alice)
    assert client.post("/api/auth/sign-out", {}, content_type="application/json").status_code == 204
    assert client.get("/api/whoami").status_code == 401


def test_pages_send_strangers_to_the_sign_in_page(client: Client, db: None) -> None:
    assert client.get("/profile").headers["Location"] == "/login?next=/profile"


def test_somebody_who_must_change_the_password_sees_only_that_form(client: Client, alice: Any) -> None:
    """E05."""
    alice.must_change_password = True
    alice.save()
    client.force_login(alice)
    assert client.get("/profile").headers["Location"] == "/password"
    assert client.get("/profile", headers={"HX-Request": "true"}).headers["HX-Redirect"] == "/password"
    wrong = {"old_password": PASSWORD, "password": "another long phrase", "repeated": "another"}
    assert "The two passwords differ." in client.post("/password", wrong).content.decode()
    response = client.post("/password", {**wrong, "repeated": "another long phrase"})
    assert (response.status_code, response.headers["Location"]) == (302, "/")
    assert client.get("/profile").status_code == 200


def test_the_profile_form_saves_and_refuses_a_taken_name(client: Client, alice: Any, bob: Any) -> None:
    client.force_login(alice)
    assert client.post("/profile", {"name": "Al", "username": "alice", "time_zone": ""}).status_code == 302
    page = client.post("/profile", {"name": "Al", "username": "bob", "time_zone": ""})
    assert "be used." in page.content.decode()
    alice.refresh_from_db()
    assert (alice.name, alice.username) == ("Al", "alice")


def test_the_sign_up_page_makes_a_member_or_sends_to_sign_in(client: Client, roles: Any, settings: Any) -> None:
    form = {"email": "dora@example.org", "name": "Dora", "password": "short"}
    assert "too short" in client.post("/signup", form).content.decode()
    assert client.post("/signup", {**form, "password": "a phrase of words"}).headers["Location"] == "/"
    settings.SIGNUP_ENABLED = False
    assert Client().get("/signup").headers["Location"] == "/login"


def test_a_shut_door_says_when_it_opens_on_pages_too(client: Client, alice: Any, settings: Any) -> None:
    """E07: the page and the API count together."""
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "sign_in_account": (2, 900)}
    for _ in range(2):
        page = client.post("/login", {"login": "alice", "password": "wrong"})
        assert (page.status_code, page.headers["X-RateLimit-Limit"]) == (200, "2")
    shut = client.post("/login", {"login": "Alice", "password": PASSWORD})
    assert (shut.status_code, shut.headers["X-RateLimit-Remaining"]) == (429, "0")
    assert 0 < int(shut.headers["Retry-After"]) <= 900
    assert "Too many tries: wait" in shut.content.decode()
    answer = client.post("/api/auth/sign-in", {"email": "alice", "password": PASSWORD}, content_type="application/json")
    assert answer.status_code == 429
