from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.hashers import Argon2PasswordHasher
from rest_framework.test import APIClient

from tests.accounts.postbox import Postbox

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


@pytest.fixture(scope="session")
def smtp() -> Iterator[Postbox]:
    server = Postbox().start()
    yield server
    server.stop()


@pytest.fixture
def postbox(smtp: Postbox, settings: Any) -> Iterator[Postbox]:
    """Mail goes to a real SMTP server, and addresses must be proved."""
    smtp.letters.clear()
    smtp.refuse = ""
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_VERIFICATION = "127.0.0.1", smtp.port, True
    yield smtp


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """One entry for each time the real hasher does its work, in a try or for a new password."""
    times: list[str] = []
    encode = Argon2PasswordHasher.encode
    verify = Argon2PasswordHasher.verify

    def encoding(self: Argon2PasswordHasher, password: str, salt: str) -> str:
        times.append("encode")
        return str(encode(self, password, salt))

    def verifying(self: Argon2PasswordHasher, password: str, encoded: str) -> bool:
        times.append("verify")
        return bool(verify(self, password, encoded))

    monkeypatch.setattr(Argon2PasswordHasher, "encode", encoding)
    monkeypatch.setattr(Argon2PasswordHasher, "verify", verifying)
    return times
