"""Secrets of people, planted everywhere they can be typed or told, are found nowhere but where they belong."""

from __future__ import annotations

import io
import json
import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from django.apps import apps
from django.core import serializers as django_serializers
from django.test import Client
from rest_framework.test import APIClient

from accounts import letters, second_factor, sessions
from accounts.models import User
from lormas.common import ratelimit
from tests.accounts.conftest import PASSWORD, bearer
from tests.accounts.postbox import Postbox, link_in
from tests.accounts.test_second_factor import code_at
from tests.lormas.test_headers import paths

pytestmark = pytest.mark.redis
CANARIES = {
    "password": "canary-password-4711",
    "wrong password": "canary-wrong-4712",
    "next password": "canary-next-4713",
    "password in the name field": "canary-typed-as-name-4714",
    "password of a refused sign-up": "canary-refused-4715",
}


def post(path: str, body: dict[str, Any], token: str | None = None) -> Any:
    return APIClient().post(f"/api/auth/{path}", body, format="json", headers=bearer(token) if token else {})


def live_through_everything(postbox: Postbox) -> tuple[User, dict[str, str], str]:
    """Sign-up, mail, mistakes, second factor, keys, tickets, reset. Returns the person, what was secret, and a good access token."""
    told = dict(CANARIES)
    post("sign-up", {"email": "cora@example.org", "password": CANARIES["password"], "name": "Cora"})
    post("sign-up", {"email": "x@example.org", "password": CANARIES["password of a refused sign-up"], "name": "", "role": "administrator"})
    letters.send_due()
    told["link of a confirmation"] = link_in(postbox.to("cora@example.org")[0]).rpartition("/")[2]
    post("verify", {"token": told["link of a confirmation"], "password": CANARIES["wrong password"]})
    post("verify", {"token": told["link of a confirmation"], "password": CANARIES["password"]})
    post("sign-in", {"email": CANARIES["password in the name field"], "password": CANARIES["wrong password"]})
    post("sign-in", {"email": "cora@example.org", "password": CANARIES["wrong password"]})
    pair = post("sign-in", {"email": "cora@example.org", "password": CANARIES["password"]}).json()
    told["access token"], told["refresh token"] = pair["access"], pair["refresh"]
    renewed = post("refresh", {"refresh": pair["refresh"]}).json()
    told["second access token"], told["second refresh token"] = access, _ = renewed["access"], renewed["refresh"]
    made = post("keys", {"name": "ci", "scopes": ["containers.view"]}, access).json()
    told["API key"] = made["key"]
    begun = post("second-factor/totp", {}, access).json()
    told["TOTP secret"], told["draft"] = begun["secret"], begun["draft"]
    body = {"draft": begun["draft"], "code": code_at(begun["secret"])}
    codes = APIClient().put("/api/auth/second-factor/totp", body, format="json", headers=bearer(access)).json()["recovery_codes"]
    told.update({f"recovery code {number}": code for number, code in enumerate(codes)})
    told["ticket"] = post("tickets", {"action": "socket"}, access).json()["ticket"]
    post("password/forgot", {"email": "cora@example.org"})
    letters.send_due()
    told["link of a reset"] = link_in(postbox.to("cora@example.org")[-1]).rpartition("/")[2]
    post("password/reset", {"token": told["link of a reset"] + "x", "password": CANARIES["next password"]})
    APIClient().put("/api/auth/password", {"old_password": CANARIES["wrong password"], "password": CANARIES["next password"]}, headers=bearer(access))
    browser = Client()
    browser.get(f"/password/reset/{told['link of a reset']}")
    browser.get(f"/verify/{told['link of a confirmation']}")
    browser.post("/login", {"login": "cora@example.org", "password": CANARIES["wrong password"]})
    browser.force_login(User.objects.get(email="cora@example.org"), backend=sessions.BACKEND)
    told["browser's cookie"] = browser.cookies["lormas_session"].value
    browser.get("/profile")
    return User.objects.get(email="cora@example.org"), told, access


def database() -> Iterator[tuple[str, str]]:
    for model in apps.get_models():
        yield model._meta.label, django_serializers.serialize("json", model._default_manager.all())


def found_in(text: str, told: dict[str, str]) -> set[str]:
    """Names of the secrets that stand there, as they are or without their dashes."""
    plain = re.sub(r"[\s-]", "", text)
    return {name for name, secret in told.items() if secret in text or re.sub(r"[\s-]", "", secret) in plain}


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    """What the panel's own formatter writes."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(next(h.formatter for h in logging.getLogger().handlers if isinstance(h.formatter, structlog.stdlib.ProcessorFormatter)))
    handler.addFilter(lambda record: record.name != "mail.log")  # the mail server of the tests
    logging.getLogger().addHandler(handler)
    yield written
    logging.getLogger().removeHandler(handler)


def test_no_secret_is_told_but_where_it_must_be(roles: Any, root: Any, postbox: Postbox, settings: Any, log: io.StringIO) -> None:
    """I01, I02, I03: canaries over the database, Redis, the log, the mail and every GET of the API, as administrator and as oneself."""
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "anonymous": (10_000, 900), "mail_account": (100, 900)}
    cora, told, access = live_through_everything(postbox)
    assert len(told) >= 20 and second_factor.has(cora)
    for label, dump in database():
        inside = found_in(dump, told)
        assert not inside, f"{label}: {inside}"
    redis = ratelimit.client()
    for key in redis.scan_iter(count=1000):
        value = redis.get(key) if redis.type(key) == b"string" else b""
        assert not found_in(f"{key!r} {value!r}", told), key
    assert "/password/reset/***" in log.getvalue()
    assert not found_in(log.getvalue(), told)
    for letter in postbox.letters:
        text = str(letter)
        assert found_in(text, {name: secret for name, secret in told.items() if not name.startswith("link")}) == set()
    owner, administrator = APIClient(), APIClient()
    owner.credentials(HTTP_AUTHORIZATION=f"Bearer {access}")
    administrator.force_authenticate(root)
    browser = Client()
    browser.force_login(cora, backend=sessions.BACKEND)
    own = [f"/api/auth/keys/{row.pk}" for row in cora.api_keys.all()] + [f"/api/auth/sessions/{row.pk}" for row in cora.auth_sessions.all()]
    assert all(owner.get(path).status_code == 200 for path in own) and len(own) >= 2
    for path in (*own, "/profile", "/settings", "/settings/sessions", "/settings/keys", "/settings/totp", "/settings/email"):
        client = owner if path.startswith("/api/") else browser
        assert not found_in(client.get(path).content.decode(), told), path
    for client in (owner, administrator):
        for path in (one for one in sorted(set(paths())) if one.startswith("/api/")):
            answer = client.get(path)
            text = b"".join(answer).decode() if answer.streaming else answer.content.decode(errors="replace")
            assert not found_in(text, told), path
        for path in (f"/api/users/{cora.pk}", "/api/audit?page_size=200"):
            text = client.get(path).content.decode()
            assert not found_in(text, told), path
            assert "$argon2" not in text and "md5$" not in text, path
    assert json.loads(administrator.get(f"/api/users/{cora.pk}").content)["email"] == "cora@example.org"
    assert PASSWORD not in log.getvalue()
