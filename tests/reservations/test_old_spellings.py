"""`/api/reserve`, `/api/release_all` and the calendar feed: what scripts of the older interface and calendar programs send."""

from __future__ import annotations

import base64
import json
import subprocess
import urllib.error
import urllib.request
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from rest_framework.test import APIClient

from accounts import keys, tokens
from audit.models import Entry
from lormas.common import clock
from lormas.logconfig import mask_links
from reservations.api import old
from reservations.models import Reservation
from tests.conftest import wait_until
from tests.nodes.rig import Web

pytestmark = [pytest.mark.django_db, pytest.mark.redis]
SECRET = "pa55-of-mine"


@pytest.fixture(autouse=True)
def _no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(old, "WAIT_SECONDS", 0.0)  # nothing makes accounts here


def bearer(user: Any) -> APIClient:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {tokens.issue(user, address=None, user_agent='').access}")
    return client


def test_reserve_by_three_parameters(alice: Any, pool: list[Any]) -> None:
    """D14: by GET with a bearer token or by POST; the password is in no answer, journal row or log line."""
    address = f"/api/reserve?count=2&duration=30&reservation_password={SECRET}"
    made = bearer(alice).get(address)
    assert made.status_code == 201, made.json()
    assert len(made.json()["machines"]) == 2 and made.json()["duration_seconds"] == 1800
    assert {"host", "port", "username"} <= set(made.json()["machines"][0])
    posted = bearer(alice).post("/api/reserve", {"count": 1, "duration": 30, "reservation_password": SECRET}, format="json")
    assert posted.status_code == 201, posted.json()
    short = bearer(alice).post("/api/reserve?count=1&duration=30", {"reservation_password": SECRET}, format="json")
    assert (short.status_code, short.json()["code"], short.json()["free"]) == (409, "not_enough_machines", 0)
    for text in (made.content.decode(), posted.content.decode(), str(list(Entry.objects.values())), str(list(Reservation.objects.values()))):
        assert SECRET not in text
    line = mask_links(None, "", {"request": f"GET {address}", "event": "request_started"})
    assert SECRET not in str(line) and "count=2" in str(line)


def test_a_cookie_never_reserves_by_looking(alice: Any, root: Any, pool: list[Any]) -> None:
    """H02: an image's address on another page would do it; only a bearer token opens the GET spelling."""
    for user, path in ((alice, f"/api/reserve?count=1&duration=30&reservation_password={SECRET}"), (root, "/api/release_all")):
        client = Client()
        client.force_login(user)
        assert client.get(path).status_code == 401, path
        assert client.head(path).status_code in (401, 405), path
    assert not Reservation.objects.exists()
    assert Client().post("/api/reserve", {"count": 1}).status_code == 401


def test_release_all_by_its_old_name(alice: Any, root: Any, pool: list[Any], book: Any) -> None:
    book(alice)
    assert bearer(alice).get("/api/release_all").status_code == 403
    assert bearer(root).get("/api/release_all").json() == {"released": 1}
    assert bearer(root).post("/api/release_all").json() == {"released": 0}


def test_signing_in_and_being_known_by_the_old_names(alice: Any, pool: list[Any]) -> None:
    word = "correct horse battery"
    answer = APIClient().post("/api/login", {"username": "alice", "password": word}, format="json")
    assert answer.status_code == 200 and set(answer.json()) == {"access_token", "token_type", "expires_in"}
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"{answer.json()['token_type']} {answer.json()['access_token']}")
    assert client.get("/api/whoami").json()["username"] == "alice"
    assert client.get("/api/available").json()["available"] == 3
    wrong = APIClient().post("/api/login", {"username": "alice", "password": "wrong-one"}, format="json")
    assert (wrong.status_code, wrong.json()["code"]) == (401, "bad_credentials") and "wrong-one" not in wrong.content.decode()
    assert APIClient().post("/api/login", {"username": "alice"}, format="json").json()["errors"][0]["field"] == "password"
    assert APIClient().get("/api/login").status_code == 405, "a password is never taken from an address"
    for path in ("/api/whoami", "/api/available", "/api/reserve", "/api/release_all", "/api/users"):
        assert APIClient().get(path).status_code == 401, path
    assert APIClient().get("/api/healthz").json() == {"status": "ok"}


def test_accounts_by_the_old_fields(root: Any, alice: Any, roles: Any) -> None:
    """I02: `{username, password, is_admin}`."""
    plain = {"username": "carol", "password": SECRET + " of carol", "is_admin": False}
    made = bearer(root).post("/api/users", plain, format="json")
    assert (made.status_code, made.json()["username"], made.json()["role"]["slug"], made.json()["password"]) == (201, "carol", "member", None), (
        made.json()
    )
    chief = bearer(root).post("/api/users", {**plain, "username": "dan", "is_admin": True}, format="json")
    assert chief.json()["role"]["slug"] == "administrator"
    clients = {}
    for name in ("carol", "dan"):
        answer = APIClient().post("/api/login", {"username": name, "password": plain["password"]}, format="json")
        assert answer.status_code == 200
        clients[name] = APIClient(HTTP_AUTHORIZATION=f"Bearer {answer.json()['access_token']}")
    assert [clients[name].post("/api/release_all").status_code for name in clients] == [403, 200], "an administrator at once, by the old door"
    assert [clients[name].get("/api/users").status_code for name in clients] == [403, 200]
    assert bearer(alice).post("/api/users", {**plain, "username": "eve"}, format="json").status_code == 403
    for change, field, status in (
        ({"username": "carol"}, "username", 409), ({"username": ""}, "email", 400), ({"password": "short"}, "password", 422),
        ({"role": "member"}, "is_admin", 400), ({"is_admin": "perhaps"}, "is_admin", 400),
    ):  # fmt: skip
        refused = bearer(root).post("/api/users", {**plain, "username": "frank", **change}, format="json")
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (status, field), (change, refused.json())
    assert bearer(root).post("/api/users", {"username": "frank"}, format="json").json()["errors"][0]["field"] == "email"
    assert SECRET not in str(list(Entry.objects.values())) + made.content.decode() + chief.content.decode()


@pytest.mark.django_db(transaction=True)
def test_passwords_are_in_no_log_of_a_real_panel(alice: Any, root: Any, pool: list[Any], tmp_path: Path) -> None:
    """D14, I02: at the loudest level, by every old spelling, by good requests and bad ones; nor in the journal or the database as it lies there."""
    panel = Web(log=tmp_path / "panel.log", LOG_LEVEL="trace").start()
    secrets = [f"{SECRET}-{n}" for n in range(6)]
    try:

        def call(method: str, path: str, token: str = "", **body: Any) -> int:
            head = {"Content-Type": "application/json", "Referer": panel.url + path, **({"Authorization": f"Bearer {token}"} if token else {})}
            request = urllib.request.Request(panel.url + path, method=method, headers=head, data=json.dumps(body).encode() if body else None)
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return int(answer.status)
            except urllib.error.HTTPError as error:
                return error.code

        token = tokens.issue(alice, address=None, user_agent="").access
        boss = tokens.issue(root, address=None, user_agent="").access
        assert call("POST", "/api/users", boss, username="carol", password=secrets[5], is_admin=False) == 201
        assert call("POST", "/api/login", username="carol", password=secrets[5]) == 200
        assert call("POST", "/api/login", username="carol", password=secrets[0]) == 401
        far = "&starts_at=2126-01-01T00:00:00Z"
        start = f"&starts_at={clock.rfc3339(clock.now() + timedelta(days=1))}"
        assert call("GET", f"/api/reserve?count=1&duration=30&reservation_password={secrets[1]}{start}", token) == 201
        assert call("POST", f"/api/reserve?count=1&duration=30&reservation_password={secrets[2]}{start}", token) == 201
        assert call("GET", f"/api/reserve?count=1&duration=30&reservation_password={secrets[3]}{far}", token) == 422
        assert call("GET", f"/api/reserve?count=1&duration=30&reservation_password={secrets[3]}", "no-token") == 401
        assert call("POST", "/api/reservations", token, count=1, duration_minutes=5, reservation_password=secrets[4], nonsense=1) == 400
        wait_until(lambda: panel.said().count("/api/reserve") >= 4)
    finally:
        panel.stop()
    log = panel.said()
    assert "/api/reserve" in log and "/api/login" in log, "it does log them"
    kept = log + str(list(Entry.objects.values())) + str(list(Reservation.objects.values()))
    if connection.vendor == "sqlite":
        file = Path(connection.settings_dict["NAME"])
        # By another process: closing the file in this one would let go of the locks that SQLite holds on it (POSIX), and break the database.
        read = subprocess.run(["cat", *file.parent.glob(f"{file.name}*")], capture_output=True, timeout=60, check=True)
        kept += read.stdout.decode("latin-1")
    assert SECRET not in kept, kept[max(0, kept.find(SECRET) - 300) : kept.find(SECRET) + 50]


def test_calendar_programs_sign_in_with_a_key_as_the_password(alice: Any, bob: Any, pool: list[Any], book: Any) -> None:
    """D14: one's own reservations only, and no secret in the address."""
    book(alice, 2, purpose="Load; test, with\nlines")
    book(bob, 1, purpose="not hers")
    anonymous = APIClient().get("/api/reservations.ics")
    assert anonymous.status_code == 401 and anonymous.headers["WWW-Authenticate"].startswith("Basic")
    _key, secret = keys.create_key(alice, name="calendar", scopes=["machines.view"], actor=alice.as_actor())
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION="Basic " + base64.b64encode(f"x:{secret}".encode()).decode())
    feed = client.get("/api/reservations.ics")
    text = feed.content.decode()
    assert feed.status_code == 200 and feed.headers["Content-Type"].startswith("text/calendar")
    assert text.startswith("BEGIN:VCALENDAR\r\n") and text.count("BEGIN:VEVENT") == 1 and "not hers" not in text
    assert "SUMMARY:Load\\; test\\, with" in text and all(len(line.encode()) <= 75 for line in text.split("\r\n"))
    client.credentials(HTTP_AUTHORIZATION="Basic " + base64.b64encode(b"alice:wrong").decode())
    assert client.get("/api/reservations.ics").status_code == 401
