"""Signing up: a member's account and its first tokens, or one refusal that does not tell who has an account."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from accounts.models import User
from tests.accounts.conftest import bearer

pytestmark = pytest.mark.redis
GOOD = {"email": "Dora@Example.org", "password": "a phrase of words", "name": "Dora"}


def sign_up(api: APIClient, **changes: Any) -> Any:
    return api.post("/api/auth/sign-up", {**GOOD, **changes}, format="json")


def test_a_new_account_is_a_member_and_signed_in(api: APIClient, roles: Any) -> None:
    response = sign_up(api)
    body = response.json()
    assert response.status_code == 201
    assert (body["user"]["email"], body["user"]["username"], body["user"]["role"]["slug"]) == ("dora@example.org", "dora", "member")
    assert api.get("/api/auth/me", headers=bearer(body["access"])).status_code == 200
    assert User.objects.get(email="dora@example.org").is_staff is False


def test_taken_names_read_alike_and_make_nothing(api: APIClient, alice: Any) -> None:
    """E11: the answer does not say whether the address or the username was taken."""
    bodies = []
    for changes in ({"email": "ALICE@example.org"}, {"username": "Alice"}, {"email": "alice@example.org", "username": "alice"}):
        response = sign_up(api, **changes)
        assert response.status_code == 409
        bodies.append({key: value for key, value in response.json().items() if key != "request_id"})
    assert bodies[0] == bodies[1] == bodies[2]
    assert User.objects.count() == 1


@pytest.mark.parametrize(
    ("changes", "field", "status"),
    [
        ({"email": "no address"}, "email", 400),
        ({"email": "a@b.c\x00"}, "", 400),
        ({"password": "short"}, "password", 422),
        ({"password": "1234567890123"}, "password", 422),
        ({"password": "dora@example.org"}, "password", 422),
        ({"password": 12345678901234}, "password", 400),
        ({"username": "bob@example.org"}, "username", 400),
        ({"username": "a b"}, "username", 400),
        ({"role": "administrator"}, "role", 400),
        ({"is_superuser": True}, "is_superuser", 400),
        ({"is_staff": True}, "is_staff", 400),
        ({"name": "x" * 129}, "name", 400),
    ],
)
def test_bad_input_names_the_field_and_makes_nothing(api: APIClient, roles: Any, changes: dict[str, Any], field: str, status: int) -> None:
    """D13: nobody gives themselves a role."""
    response = sign_up(api, **changes)
    assert response.status_code == status
    if field:
        assert response.json()["errors"][0]["field"] == field
    assert not User.objects.exists()


def test_where_sign_up_is_off_it_is_403(api: APIClient, roles: Any, settings: Any) -> None:
    settings.SIGNUP_ENABLED = False
    assert (sign_up(api).status_code, sign_up(api).json()["code"]) == (403, "sign_up_disabled")
    assert api.get("/api/auth/providers").json()["sign_up"] is False


def test_one_address_makes_no_more_than_20_accounts_an_hour(api: APIClient, roles: Any) -> None:
    answers = [sign_up(api, email=f"p{n}@example.org").status_code for n in range(21)]
    assert answers == [201] * 20 + [429]
