"""Rights on single machines: whoever has none by role sees what was granted, until it ends."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from accounts.models import Role, User
from lormas.common import clock
from reservations.access import grant_kind
from reservations.models import Allocation, Machine, Reservation
from reservations.services import lifecycle, revoke
from reservations.states import Hold
from tests.rights.conftest import client_of, give

pytestmark = pytest.mark.redis


@pytest.fixture
def outsider(roles: Any) -> User:
    """Somebody whose role holds nothing."""
    role = Role.objects.create(slug="nobody", name="Nobody", capabilities=[])
    return User.objects.create_user("nora@example.org", "correct horse battery", username="nora", role=role)


def test_a_granted_machine_is_seen_and_no_other(outsider: User, root: User, client: Client) -> None:
    mine, other = Machine.objects.create(name="box-granted", host="192.0.2.1"), Machine.objects.create(name="box-elsewhere", host="192.0.2.2")
    assert client_of(outsider).get("/api/machines").status_code == 403
    give(root, mine, outsider, "machines.view", kind="machine")
    api = client_of(outsider)
    assert [row["name"] for row in api.get("/api/machines").json()["results"]] == ["box-granted"]
    assert api.get(f"/api/machines/{mine.pk}").status_code == 200
    assert api.get(f"/api/machines/{other.pk}").status_code == 404
    assert api.delete(f"/api/machines/{mine.pk}").status_code == 403
    client.force_login(outsider, backend="accounts.backends.EmailOrUsernameBackend")
    page = client.get("/machines")
    assert b"box-granted" in page.content
    assert b"box-elsewhere" not in page.content
    grant_kind().people._default_manager.filter(user=outsider).update(expires_at=clock.now())
    assert client_of(outsider).get(f"/api/machines/{mine.pk}").status_code == 404


def test_who_manages_one_machine_may_change_it_and_grant_on_it(outsider: User, alice: User, root: User) -> None:
    mine = Machine.objects.create(name="box-granted", host="192.0.2.1")
    give(root, mine, outsider, "machines.view", "machines.manage", kind="machine")
    api = client_of(outsider)
    changed = api.patch(f"/api/machines/{mine.pk}", {"description": "Mine.", "password": "secret-of-the-machine"}, format="json")
    assert changed.status_code == 200, changed.content
    made = api.post(f"/api/machines/{mine.pk}/grants", {"user": alice.email, "permissions": ["machines.view"]}, format="json")
    assert made.status_code == 201, made.content
    assert api.post("/api/machines", {"name": "m-3", "host": "192.0.2.3", "user": "root"}, format="json").status_code == 403


@pytest.fixture
def guest(outsider: User) -> User:
    """May reserve, and sees no machine by role."""
    outsider.role.capabilities = ["reservations.create"]
    outsider.role.save()
    return User.objects.get(pk=outsider.pk)


ONE = {"duration_minutes": 60, "reservation_password": "correct horse"}


def test_only_what_was_granted_is_given_away_and_nothing_else_is_told(guest: User, bob: User, root: User, make_machine: Any, client: Client) -> None:
    """D14: planning, refusals, dry runs, the queue and the calendar stay within the machines that a person may use."""
    mine, _other = make_machine("box-granted"), make_machine("box-elsewhere")
    api = client_of(guest)
    none = api.post("/api/reservations", ONE, format="json").json()
    assert (none["code"], none["free"], none["refused"]) == ("not_enough_machines", 0, [])
    give(root, mine, guest, "machines.view", kind="machine")
    refused = api.post("/api/reservations", {**ONE, "count": 2}, format="json")
    assert refused.status_code == 409 and (refused.json()["free"], refused.json()["refused"]) == (1, [])
    assert api.post("/api/reservations", {**ONE, "machines": ["box-elsewhere"]}, format="json").status_code == 404
    assert api.post("/api/reservations", {**ONE, "count": 2, "queue": True}, format="json").json()["code"] == "never_enough"
    dry = api.post("/api/reservations", {**ONE, "count": 2, "dry_run": True}, format="json")
    assert "box-elsewhere" not in dry.content.decode() and dry.json()["windows"][0]["free"] == ["box-granted"]
    made = api.post("/api/reservations", ONE, format="json")
    assert [row["name"] for row in made.json()["machines"]] == ["box-granted"]
    waits = api.post("/api/reservations", {**ONE, "queue": True}, format="json").json()
    assert waits["state"] == "waiting" and waits["queue"]["estimated_start"] == made.json()["ends_at"], "the free one is not for them"
    queued = client_of(bob).post("/api/reservations", {**ONE, "count": 2, "queue": True}, format="json").json()
    pool = api.get("/api/available").json()
    assert ([row["name"] for row in pool["machines"]], pool["total"]) == (["box-granted"], 1)
    client.force_login(guest, backend="accounts.backends.EmailOrUsernameBackend")
    page = client.get("/available").content.decode()
    assert "box-granted" in page and "box-elsewhere" not in page and bob.label not in page and str(queued["id"]) not in page


def test_a_machine_is_lost_with_the_grant(guest: User, root: User, make_machine: Any, book: Any) -> None:
    """D14: what was booked ahead does not begin, and what runs ends."""
    mine = make_machine("box-granted")
    give(root, mine, guest, "machines.view", kind="machine")
    running = book(guest, 1, 60)
    Reservation.objects.filter(pk=running.pk).update(state="active")
    Allocation.objects.filter(reservation=running).update(hold=Hold.READY, began_at=clock.now())
    assert revoke.expire() == 0
    later = book(guest, 1, 60, starts_at=clock.now() + timedelta(hours=2))
    grant_kind().people._default_manager.filter(user=guest).update(expires_at=clock.now())
    assert revoke.expire() == 1
    running.refresh_from_db()
    assert running.state == "revoking" and "box-granted" in running.reason
    Allocation.objects.filter(reservation=running).update(hold=Hold.CLEAN, closed_at=clock.now())
    begin = clock.now() - timedelta(seconds=1)
    Reservation.objects.filter(pk=later.pk).update(starts_at=begin, due=None)
    Allocation.objects.filter(reservation=later).update(starts_at=begin)
    later.refresh_from_db()
    assert lifecycle.begin(later) is False
    assert later.allocations.get().began_at is None and later.state == "requested", "no account is made"
