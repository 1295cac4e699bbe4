"""What every answer says to browsers: who may frame it, what may run in it, who may keep it, and who else may ask."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from rest_framework.test import APIClient

OURS = "https://console.example.org"


def paths(patterns: Any = None, prefix: str = "") -> Iterator[str]:
    """Every address without a part to fill in."""
    for one in get_resolver().url_patterns if patterns is None else patterns:
        path = prefix + str(one.pattern)
        if "<" in path or "(" in path:
            continue
        if isinstance(one, URLResolver):
            yield from paths(one.url_patterns, path)
        elif isinstance(one, URLPattern):
            yield "/" + path.replace("^", "").replace("\\Z", "").replace("$", "")


def checked(answer: Any, path: str) -> None:
    headers = answer.headers
    assert headers["X-Frame-Options"] == "DENY", path
    assert headers["X-Content-Type-Options"] == "nosniff", path
    assert headers["Referrer-Policy"] == "same-origin", path
    assert headers["Cross-Origin-Opener-Policy"] == "same-origin", path
    policy = dict(part.strip().partition(" ")[::2] for part in headers["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'self'"
    assert (policy["object-src"], policy["base-uri"], policy["frame-ancestors"]) == ("'none'", "'none'", "'none'"), path
    for kind in ("script-src", "style-src"):
        assert re.fullmatch(r"'self'( 'nonce-[A-Za-z0-9+/=]+')?", policy[kind]), f"{path}: {kind} {policy[kind]}"


@pytest.mark.parametrize("who", ["stranger", "administrator"])
def test_every_address_has_the_same_shields(request: pytest.FixtureRequest, who: str, roles: Any, settings: Any) -> None:
    """H01, H03, H04, H08: and never a 500, and nothing private in a cache."""
    settings.RATE_LIMITS = {**settings.RATE_LIMITS, "anonymous": (10_000, 900)}
    client = Client(raise_request_exception=False)
    if who == "administrator":
        client.force_login(request.getfixturevalue("root"), backend="accounts.backends.EmailOrUsernameBackend")
    seen = sorted(set(paths()) - {"/readyz"})  # says 503 where no broker is
    assert len(seen) > 60
    for path in seen:
        answer = client.get(path)
        assert answer.status_code < 500, path
        checked(answer, path)
        if not path.startswith("/static/"):
            assert "no-store" in answer.headers.get("Cache-Control", ""), path


def test_an_address_that_is_not_there_is_shielded_too(client: Client, db: None) -> None:
    """H03, H07: and reflects nothing."""
    for path in ("/no/<script>alert(1)</script>", "/api/no/<script>alert(1)</script>"):
        answer = client.get(path)
        assert answer.status_code == 404
        checked(answer, path)
        assert b"<script>alert" not in answer.content


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "https://console.example.org.evil.example",
        "https://evilconsole.example.org",
        "http://console.example.org",
        "https://console.example.org:8443",
    ],
)
def test_only_a_named_origin_is_answered(api: APIClient, db: None, settings: Any, origin: str) -> None:
    """H05: exact, scheme and port too; nothing is reflected, no star, and never with our cookie."""
    settings.CORS_ALLOWED_ORIGINS = [OURS]
    asks = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    for answer in (api.options("/api/containers", headers=asks), api.get("/api/auth/providers", headers={"Origin": origin})):
        assert not [name for name in answer.headers if name.lower().startswith("access-control-allow")]
    ours = api.options("/api/containers", headers={**asks, "Origin": OURS})
    assert ours.headers["Access-Control-Allow-Origin"] == OURS
    assert {"authorization", "idempotency-key"} <= set(ours.headers["Access-Control-Allow-Headers"].split(", "))
    assert "Access-Control-Allow-Credentials" not in ours.headers
    read = api.get("/api/auth/providers", headers={"Origin": OURS})
    assert "x-ratelimit-remaining" in read.headers["Access-Control-Expose-Headers"]
    assert "origin" in read.headers["Vary"].lower()
    assert "Access-Control-Allow-Origin" not in api.get("/login", headers={"Origin": OURS}).headers, "pages are for no other origin"


def test_over_tls_cookies_and_browsers_are_held_to_it(tmp_path: Any) -> None:
    """E18, H04: with an https address the cookies are `__Host-`, and HSTS is sent."""
    import os
    import subprocess
    import sys

    code = (
        "import django; django.setup();"
        "from django.conf import settings as s; from django.test import Client;"
        "a = Client(headers={'host': 'panel.example.org'}).get('/healthz', secure=True);"
        "print(s.SESSION_COOKIE_NAME, s.CSRF_COOKIE_NAME, s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE, s.SESSION_COOKIE_HTTPONLY,"
        " s.SESSION_COOKIE_SAMESITE, s.SESSION_COOKIE_DOMAIN, s.SESSION_COOKIE_PATH, a.headers['Strict-Transport-Security'])"
    )
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "HOME", "LANG")}
    env = {**kept, "DJANGO_SETTINGS_MODULE": "lormas.settings", "PUBLIC_URL": "https://panel.example.org", "LORMAS_DATA": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120, check=True)
    said = done.stdout.strip().splitlines()[-1]
    assert said == "__Host-lormas __Host-lormas-csrf True True True Lax None / max-age=31536000; includeSubDomains; preload"


def test_nothing_that_was_uploaded_is_served_as_a_page(client: Client, db: None, settings: Any, tmp_path: Any) -> None:
    """H06: the panel serves no folder of uploads; what it hands out is a download."""
    settings.MEDIA_ROOT = tmp_path
    (tmp_path / "page.html").write_text("<script>alert(1)</script>")
    for path in ("/media/page.html", "/static/../media/page.html", "/static/%2e%2e/media/page.html", f"/static/{tmp_path}/page.html"):
        answer = client.get(path)
        assert answer.status_code in (400, 404), path
        assert b"alert(1)" not in answer.content
