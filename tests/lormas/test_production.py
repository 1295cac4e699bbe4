"""A panel as it is run for others: what it tells strangers of itself, and what the build asks of it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from packaging.requirements import Requirement

from tests.lormas.test_headers import paths
from tests.nodes.rig import Panel

ROOT = Path(__file__).parents[2]
OURS = "panel.example.org"
TELLTALES = (
    "Traceback",
    "DJANGO_SETTINGS",
    "DEBUG = True",
    "django.urls",
    "urlpatterns",
    "site-packages",
    "Exception Value",
    str(ROOT),
    "canary-of-the-key",
)


class Unfollowed(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any) -> None:
        return None


def asked(panel: Panel, path: str, *, method: str = "GET", data: bytes | None = None, **headers: str) -> tuple[int, dict[str, str], str]:
    request = urllib.request.Request(panel.url + path, data, {"Host": OURS, "Accept": "text/html", **headers}, method=method)
    try:
        with urllib.request.build_opener(Unfollowed).open(request, timeout=60) as answer:
            return answer.status, dict(answer.headers.items()), answer.read(200_000).decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, dict(error.headers.items()), error.read(200_000).decode(errors="replace")


def below_admin(patterns: Any, prefix: str) -> Iterator[str]:
    """Django's own pages, ids filled in."""
    for one in patterns:
        path = prefix + str(one.pattern).replace("<path:object_id>", "1").replace("<int:content_type_id>", "1").replace("<path:object_id>", "1")
        if isinstance(one, URLResolver):
            yield from below_admin(one.url_patterns, path)
        elif isinstance(one, URLPattern) and not set("<(^") & set(path):
            yield "/" + path


@pytest.fixture
def panel(transactional_db: None, tmp_path: Path) -> Iterator[Panel]:
    running = Panel(
        log=tmp_path / "panel.log", PUBLIC_URL=f"https://{OURS}", SECRET_KEY="canary-of-the-key-of-more-than-32-characters",
        RATE_LIMIT_ANONYMOUS="100000/1m", SIGNUP_ENABLED="false",
    ).start()  # fmt: skip
    yield running
    running.stop()


@pytest.mark.redis
@pytest.mark.django_db(transaction=True)
def test_a_stranger_sees_no_inside_of_a_panel_in_production(panel: Panel, roles: Any) -> None:
    """H08: debugging is off, errors are a sentence, and Django's administration, the API's pages and the metrics are for those who may."""
    admin = next(one for one in get_resolver().url_patterns if str(one.pattern) == "admin/")
    inside = sorted(set(below_admin(admin.url_patterns, "admin/")) - {"/admin/login/"})
    assert len(inside) > 60
    for path in inside:
        status, headers, _ = asked(panel, path)
        assert status in (302, 404) and headers.get("Location", "/login").startswith(("/login", "/admin/")), (path, status, headers)
    seen = sorted(set(paths()) - {"/readyz"})
    assert len(seen) > 60
    for path in [*seen, "/no/such/page", "/api/no/such/route", "/__debug__/", "/debug", "/static/../lormas/settings.py", "/.env", "/.git/config"]:
        status, headers, body = asked(panel, path)
        assert status < 500, (path, status)
        assert not [word for word in TELLTALES if word in body], path
        assert "django" not in headers.get("Server", "").lower() and "X-Powered-By" not in headers
        if path.startswith("/api/") and not path.endswith("/docs"):
            assert "text/html" not in headers["Content-Type"], f"{path}: the API's pages are for people who are signed in"
    assert asked(panel, "/metrics")[0] == 401
    for method, data, path, expected in (
        ("POST", b"{", "/api/auth/sign-in", 400),
        ("POST", b'{"email": "x", "password": "x"}', "/api/auth/sign-in", 401),
        ("POST", b"\xff", "/login", 403),
        ("TRACE", None, "/login", 405),
        ("GET", None, "/static/%00", 404),
    ):
        status, _, body = asked(panel, path, method=method, data=data, **{"Content-Type": "application/json"})
        assert status == expected, (path, status, body[:300])
        assert not [word for word in TELLTALES if word in body], path
    status, _, body = asked(panel, "/login", Host="evil.example")
    assert (status, [word for word in (*TELLTALES, "ALLOWED_HOSTS", "evil.example") if word in body]) == (400, []), body[:500]


def test_a_page_that_breaks_tells_nothing_but_the_request_id(client: Client, db: None, monkeypatch: pytest.MonkeyPatch, caplog: Any) -> None:
    """H08: the API's is in tests/lormas/test_problems.py."""
    from accounts import views

    def broken(*args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("the password of the database is hunter2")

    monkeypatch.setattr(views, "LoginForm", broken)
    client.raise_request_exception = False
    answer = client.get("/login", headers={"X-Request-ID": "trace-78"})
    page = answer.content.decode()
    assert answer.status_code == 500
    assert not [word for word in ("hunter2", "RuntimeError", *TELLTALES) if word in page]
    assert "trace-78" in page
    assert any("hunter2" in str(record.exc_info) for record in caplog.records if record.exc_info), "the log has it"


def run(*command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "LANG")}
    return subprocess.run(command, cwd=ROOT, env={**kept, **environment}, capture_output=True, text=True, timeout=180, check=False)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"DEBUG": "true"}, "security.W018"),
        ({"SIGNUP_ENABLED": "true"}, "lormas.W"),
        ({"SECRET_KEY": "short"}, "lormas.E003"),
    ],
    ids=["as it should be", "debugging", "open sign-up", "a short key"],
)
def test_the_deployment_check_is_clean_and_finds_what_is_not(tmp_path: Path, changes: dict[str, str], said: str) -> None:
    """H10: as `scripts/lint` asks it."""
    good = {
        "PUBLIC_URL": f"https://{OURS}", "SIGNUP_ENABLED": "false", "SECRET_KEY": "nobody-guesses-this-one-of-more-than-fifty-characters",
        "SUPERUSER_EMAIL": "admin@example.org", "LOG_LEVEL": "warn", "LORMAS_DATA": str(tmp_path / "data"),
    }  # fmt: skip
    done = run(sys.executable, "manage.py", "check", "--deploy", "--fail-level", "WARNING", **{**good, **changes})
    assert (done.returncode == 0) is (not changes), done.stdout + done.stderr
    assert said in done.stdout + done.stderr


def test_the_audit_reads_all_that_is_locked() -> None:
    """H10: every package of the lock, with its hashes; only the question to the database of vulnerabilities needs the network, and is left out."""
    if shutil.which("pip-audit", path=str(Path(sys.executable).parent)) is None:
        pytest.fail("pip-audit is in the lock of development")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = run("bash", "scripts/audit", "--dry-run", PATH=path)
    assert done.returncode == 0, done.stderr
    lines = [line.rstrip(" \\") for line in (ROOT / "requirements" / "panel.lock").read_text().splitlines() if "==" in line and line[0].isalpha()]
    locked = [one for one in map(Requirement, lines) if one.marker is None or one.marker.evaluate()]
    assert f"would have audited {len(locked)} packages" in (done.stdout + done.stderr).lower(), (len(locked), done.stdout + done.stderr)
