"""`/api/reserve`, `/api/release_all` and the calendar feed: what scripts of the older interface and calendar programs send."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from django.test import Client
from rest_framework.test import APIClient

from accounts import keys, tokens
from audit.models import Entry
from lormas.logconfig import mask_links
from reservations.api import old
from reservations.models import Reservation

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


def test_the_other_old_names_answer(alice: Any, root: Any, pool: list[Any]) -> None:
    assert bearer(alice).get("/api/available").json()["available"] == 3
    assert bearer(alice).get("/api/whoami").json()["username"] == alice.username
    assert APIClient().get("/api/healthz").json() == {"status": "ok"}


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
