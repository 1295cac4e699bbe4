"""What people change about themselves, and the password that must be changed first."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from audit.models import Entry
from tests.accounts.conftest import PASSWORD, bearer

pytestmark = pytest.mark.redis


def test_name_username_and_time_zone_can_be_changed(api: APIClient, alice: Any, sign_in: Any) -> None:
    headers = bearer(sign_in(alice)["access"])
    body = {"name": "Alice B.", "username": "alice.b", "time_zone": "Asia/Jakarta"}
    assert api.put("/api/auth/profile", body, format="json", headers=headers).status_code == 200
    assert api.patch("/api/auth/profile", {"name": "A"}, format="json", headers=headers).json()["username"] == "alice.b"
    alice.refresh_from_db()
    assert (alice.name, alice.time_zone) == ("A", "Asia/Jakarta")
    assert Entry.objects.filter(action="accounts.profile").count() == 2


@pytest.mark.parametrize(
    "change", [{"role": "administrator"}, {"is_superuser": True}, {"is_active": False}, {"password": "x"}, {"token_generation": 9}]
)
def test_nothing_else_can_be_changed_that_way(api: APIClient, alice: Any, sign_in: Any, change: dict[str, Any]) -> None:
    """D08, D13."""
    response = api.patch("/api/auth/profile", change, format="json", headers=bearer(sign_in(alice)["access"]))
    assert response.json()["errors"][0]["code"] == "unknown_field"


def test_an_address_stays_what_it_was_and_a_taken_username_is_refused(api: APIClient, alice: Any, bob: Any, sign_in: Any) -> None:
    """E17: an e-mail address changes only by proof."""
    headers = bearer(sign_in(alice)["access"])
    for path in ("patch", "put"):
        for field, wrong in (("email", "evil@example.org"), ("id", str(bob.pk))):
            refused = getattr(api, path)("/api/auth/profile", {"name": "Mallory", field: wrong}, format="json", headers=headers)
            assert (refused.status_code, refused["Content-Type"]) == (400, "application/problem+json")
            assert [(error["field"], error["code"]) for error in refused.json()["errors"]] == [(field, "read_only")]
    alice.refresh_from_db()
    assert (alice.email, alice.name) == ("alice@example.org", "Alice"), "nothing of it was done"
    read = api.get("/api/auth/profile", headers=headers).json()
    again = api.put("/api/auth/profile", {**read, "name": "Alice A."}, format="json", headers=headers)
    assert (again.status_code, again.json()) == (200, {**read, "name": "Alice A."}), "what was read may be sent back"
    taken = api.patch("/api/auth/profile", {"username": "BOB"}, format="json", headers=headers)
    assert (taken.status_code, taken.json()["errors"][0]["field"]) == (409, "username")
    assert api.patch("/api/auth/profile", {"time_zone": "Mars/Base"}, format="json", headers=headers).json()["errors"][0]["field"] == "time_zone"


@pytest.mark.parametrize(
    ("old", "new", "field", "code"),
    [
        ("wrong", "another long phrase", "old_password", "bad_credentials"),
        (PASSWORD, PASSWORD, "password", "unchanged"),
        (PASSWORD, "short", "password", "password_too_short"),
        (PASSWORD, "alice@example.org", "password", "password_too_similar"),
    ],
)
def test_a_password_change_needs_the_old_one_and_a_good_new_one(
    api: APIClient, alice: Any, sign_in: Any, old: str, new: str, field: str, code: str
) -> None:
    """E17."""
    response = api.put("/api/auth/password", {"old_password": old, "password": new}, format="json", headers=bearer(sign_in(alice)["access"]))
    assert response.status_code == 422
    assert (response.json()["errors"][0]["field"], response.json()["errors"][0]["code"]) == (field, code)
    alice.refresh_from_db()
    assert alice.check_password(PASSWORD)


def test_the_old_password_can_not_be_guessed_through_a_stolen_session(api: APIClient, alice: Any, sign_in: Any) -> None:
    headers = bearer(sign_in(alice)["access"])
    body = {"old_password": "wrong", "password": "another long phrase"}
    answers = [api.put("/api/auth/password", body, format="json", headers=headers).status_code for _ in range(21)]
    assert answers == [422] * 20 + [429]


def test_somebody_who_must_change_it_reaches_nothing_else(api: APIClient, alice: Any, sign_in: Any) -> None:
    """E05."""
    alice.must_change_password = True
    alice.save()
    headers = bearer(sign_in(alice)["access"])
    for path in ("/api/containers", "/api/auth/profile", "/api/permissions"):
        assert api.get(path, headers=headers).json()["code"] == "password_change_required"
    assert api.get("/api/auth/session", headers=headers).json()["user"]["must_change_password"] is True
    assert (
        api.put("/api/auth/password", {"old_password": PASSWORD, "password": "another long phrase"}, format="json", headers=headers).status_code
        == 204
    )
    assert api.get("/api/permissions", headers=headers).status_code == 200
