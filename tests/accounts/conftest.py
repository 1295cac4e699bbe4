from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

PASSWORD = "correct horse battery"


@pytest.fixture
def api() -> APIClient:
    return APIClient(enforce_csrf_checks=True)


@pytest.fixture
def sign_in(db: None) -> Callable[..., dict[str, Any]]:
    """Sign somebody in through the API; gives the tokens."""

    def act(user: Any, password: str = PASSWORD) -> dict[str, Any]:
        response = APIClient().post("/api/auth/sign-in", {"email": user.email, "password": password}, format="json")
        assert response.status_code == 200, response.content
        body: dict[str, Any] = response.json()
        return body

    return act


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}
