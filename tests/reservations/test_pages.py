"""Pages of the pool: they work without a script, show who holds what until when, and lose nothing without asking."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from audit.models import Entry
from lormas.common import clock
from reservations.models import Allocation, Machine, Reservation
from reservations.states import Condition

pytestmark = [pytest.mark.django_db, pytest.mark.redis]


@pytest.fixture
def browse() -> Callable[[Any], Client]:
    def inner(user: Any) -> Client:
        client = Client()
        client.force_login(user)
        return client

    return inner


def test_every_page_opens_for_those_who_may_and_for_nobody_else(browse: Any, root: Any, alice: Any, charlie: Any, pool: list[Any], book: Any) -> None:
    made = book(alice, 1, machines=(pool[0],))
    machine = f"/machines/{pool[0].pk}"
    looking = ["/machines", machine, "/available", "/available?view=week", "/available?label=gpu", "/reservations", "/reservations/usage"]
    acting = ["/reservations/new", f"/reservations/{made.pk}", f"/reservations/{made.pk}/release"]
    managing = ["/machines/new", "/machines/import", f"{machine}/edit", f"{machine}/delete"]
    viewer, member, boss, nobody = browse(charlie), browse(alice), browse(root), Client()
    for path in looking:
        assert nobody.get(path).status_code == 302, path
        for client in (viewer, member, boss):
            assert client.get(path).status_code == 200, path
        assert member.get(path, headers={"X-Live": "1", "HX-Request": "true"}).status_code == 200, path
    for path in acting:
        assert member.get(path).status_code == 200, path
    assert viewer.get(f"/reservations/{made.pk}").status_code == 404
    for path in managing:
        assert boss.get(path).status_code == 200, path
        assert member.get(path).status_code == 403, path
    assert member.get("/reservations/release-all").status_code == 403
    assert boss.get("/reservations/release-all").status_code == 200


def test_the_calendar_tells_who_holds_what_until_when_in_my_zone(browse: Any, alice: Any, bob: Any, pool: list[Any], book: Any) -> None:
    """D14: names and times are everybody's; a reservation, its purpose and its account only its owner's."""
    alice.time_zone = "Asia/Jakarta"
    alice.save()
    start = (clock.now() + timedelta(days=2)).replace(hour=3, minute=0, second=0, microsecond=0)
    made = book(bob, 1, 90, machines=(pool[1],), starts_at=start, purpose="secret plan")
    mine = book(alice, 1, 60, machines=(pool[0],), starts_at=start)
    day = f"{start + timedelta(hours=7):%Y-%m-%d}"
    page = browse(alice).get(f"/available?day={day}").content.decode()
    assert "10:00 –" in page and "11:30" in page, "03:00 UTC is ten in Jakarta"
    assert bob.label in page and str(mine.pk) in page
    assert str(made.pk) not in page and "secret plan" not in page and made.username not in page
    week = browse(alice).get(f"/available?day={day}&view=week").content.decode()
    assert week.count('class="cal-bar planned') >= 2
    assert "cal-bar planned" in browse(bob).get(f"/available?day={start:%Y-%m-%d}").content.decode()
    for odd in ("9999-99-99", "x", "0001-01-01", "9999-12-31"):
        assert browse(alice).get(f"/available?day={odd}&view=week").status_code == 200


def test_reserving_by_the_form_and_giving_back(browse: Any, alice: Any, bob: Any, pool: list[Any]) -> None:
    client = browse(alice)
    fields = {"count": 2, "length": 3, "unit": "hours", "password": "correct horse", "purpose": "tests"}
    tried = client.post("/reservations/try", {**fields, "count": 9}).content.decode()
    assert "Not enough: 3 are free" in tried
    assert "You would get" in client.post("/reservations/try", fields).content.decode()
    assert not Reservation.objects.exists(), "a look changes nothing"
    refused = client.post("/reservations/new", {**fields, "count": 9})
    assert refused.status_code == 400 and "3 of the 9 machines are free" in refused.content.decode()
    assert "correct horse" not in refused.content.decode(), "a password is never sent back"
    done = client.post("/reservations/new", fields)
    made = Reservation.objects.get()
    assert done.headers["Location"] == f"/reservations/{made.pk}"
    assert made.duration_seconds == 3 * 3600 and made.allocations.count() == 2
    assert "correct horse" not in client.get(done.headers["Location"]).content.decode()
    assert browse(bob).get(f"/reservations/{made.pk}").status_code == 404
    assert browse(bob).post(f"/reservations/{made.pk}/release").status_code == 404
    asked = client.get(f"/reservations/{made.pk}/release").content.decode()
    assert made.username in asked and "home folder" in asked
    assert client.post(f"/reservations/{made.pk}/release").status_code == 302
    made.refresh_from_db()
    assert made.state == "ended" and not Allocation.objects.filter(closed_at=None).exists()


def test_the_form_takes_a_time_of_day_in_my_zone(browse: Any, alice: Any, pool: list[Any]) -> None:
    alice.time_zone = "Asia/Jakarta"
    alice.save()
    day = (clock.now() + timedelta(days=3)).date()
    fields = {"count": 1, "length": 30, "unit": "minutes", "password": "correct horse", "starts_at": f"{day}T09:00", "every": "day", "times": 3}
    assert browse(alice).post("/reservations/new", fields).status_code == 302
    assert [one.starts_at.hour for one in Reservation.objects.order_by("starts_at")] == [2, 2, 2]
    prefilled = browse(alice).get(f"/reservations/new?machine={pool[0].pk}&minutes=90&start={day}T05:00:00Z").content.decode()
    assert f'value="{day}T12:00"' in prefilled and re.search(r'name="length"[^>]*value="90"', prefilled)
    assert browse(alice).get("/reservations/new?machine=x&minutes=-1&start=y").status_code == 200


def test_machines_are_registered_changed_and_put_in_order_by_pages(browse: Any, root: Any, make_machine: Any) -> None:
    client = browse(root)
    fields = {"name": "lab-1", "host": "10.0.0.9", "port": 22, "user": "root", "password": "hunter-22", "labels": "zone=a"}
    wrong = client.post("/machines/new", {**fields, "host": "-oProxyCommand=id", "labels": "x"})
    assert wrong.status_code == 400 and "hunter-22" not in wrong.content.decode()
    assert client.post("/machines/new", fields).status_code == 302
    machine = Machine.objects.get()
    kept = machine.password
    assert client.post(f"/machines/{machine.pk}/edit", {**fields, "password": "", "description": "third rack"}).status_code == 302
    machine.refresh_from_db()
    assert (machine.description, machine.password) == ("third rack", kept), "an empty password keeps what is stored"
    client.post(f"/machines/{machine.pk}/broken", {"reason": "fan"})
    assert "fan" in client.get(f"/machines/{machine.pk}").content.decode()
    client.post(f"/machines/{machine.pk}/fixed")
    machine.refresh_from_db()
    assert machine.condition == Condition.OK
    text = "machines:\n  - {name: lab-2, host: localhost, user: root, password: x1}\n"
    assert client.post("/machines/import", {"text": text, "localhost_as": "10.9.9.9"}).status_code == 302
    assert Machine.objects.get(name="lab-2").host == "10.9.9.9"
    assert "lab-2" not in (again := client.post("/machines/import", {"text": text})).headers.get("Location", "")
    assert again.status_code == 400
    assert client.post(f"/machines/{machine.pk}/delete", {"name": "other"}).status_code == 400
    assert client.post(f"/machines/{machine.pk}/delete", {"name": "lab-1"}).status_code == 302
    assert not Machine.objects.filter(name="lab-1").exists()


def test_a_changed_host_key_and_a_quarantine_are_told_loudly(browse: Any, root: Any, alice: Any, make_machine: Any) -> None:
    import asyncssh

    old, new = (asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode().strip() for _ in range(2))
    reason = "Another host key answers."
    machine = make_machine("m1", host_key=old, host_key_alarm=new, condition="quarantined", condition_reason=reason)
    page = browse(root).get(f"/machines/{machine.pk}").content.decode()
    found = asyncssh.import_public_key(new).get_fingerprint()
    assert "The host key changed" in page and found.replace("+", "+") in page
    assert "pin the new key" not in browse(alice).get(f"/machines/{machine.pk}").content.decode()
    assert browse(root).post(f"/machines/{machine.pk}/fixed", {"accept_host_key": "SHA256:x"}).status_code == 409
    assert browse(root).post(f"/machines/{machine.pk}/fixed", {"accept_host_key": found}).status_code == 302
    machine.refresh_from_db()
    assert (machine.host_key, machine.host_key_alarm, machine.condition) == (new, "", "ok")


def test_release_all_counts_what_was_seen(browse: Any, root: Any, alice: Any, pool: list[Any], book: Any) -> None:
    book(alice, 1)
    client = browse(root)
    assert "1 open reservation ends" in client.get("/reservations/release-all").content.decode()
    assert client.post("/reservations/release-all", {"confirm": 7}).status_code == 409
    assert client.post("/reservations/release-all", {"confirm": 1}).status_code == 302
    row = Entry.objects.get(action="reservations.release_all")
    assert (row.actor_id, row.after) == (str(root.pk), {"reservations": 1})
    assert Reservation.objects.get().state in ("ended", "revoking")
