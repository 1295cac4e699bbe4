"""Reserving by the API: all or nothing, by name or label, dry run, later, repeated, limits; who may see what."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import asyncssh
import pytest
from rest_framework.test import APIClient

from audit.models import Entry
from lormas.common import clock
from reservations.models import Allocation, Reservation
from reservations.services import revoke
from reservations.states import State

pytestmark = [pytest.mark.django_db, pytest.mark.redis]
PASSWORD = "kept-from-all-eyes"
ONE = {"duration_minutes": 60, "reservation_password": PASSWORD}


def names(body: dict[str, Any]) -> list[str]:
    return [machine["name"] for machine in body["machines"]]


def test_n_machines_or_none(api: Any, alice: Any, pool: list[Any]) -> None:
    client = api(alice)
    made = client.post("/api/reservations", {"count": 2, **ONE}, format="json")
    body = made.json()
    assert made.status_code == 201, body
    assert (body["state"], len(body["machines"]), body["occurrences"][0]["id"]) == ("requested", 2, body["id"])
    assert all(machine["host"] == "127.0.0.1" and machine["username"] == body["username"] for machine in body["machines"])
    assert body["username"].startswith("lr-alice-")
    refused = client.post("/api/reservations", {"count": 2, **ONE}, format="json")
    problem = refused.json()
    assert (refused.status_code, problem["code"], problem["free"], problem["wanted"]) == (409, "not_enough_machines", 1, 2)
    assert problem["next_at"] == body["ends_at"]
    assert {row["rule"] for row in problem["refused"]} == {"held"}
    assert Reservation.objects.count() == 1 and Allocation.objects.count() == 2


def test_by_label_by_name_and_dry(api: Any, alice: Any, pool: list[Any], make_machine: Any) -> None:
    client = api(alice)
    make_machine("sick", reachable=False, reach_reason="No route.")
    dry = client.post("/api/reservations", {"labels": {"gpu": ""}, "count": 2, "duration_minutes": 5, "dry_run": True}, format="json").json()
    assert (dry["would"], dry["windows"][0]["machines"]) == ("start", ["m2", "m3"])
    assert {row["machine"]: row["rule"] for row in dry["windows"][0]["refused"]} == {"m1": "label", "sick": "label"}
    dry = client.post("/api/reservations", {"count": 4, "duration_minutes": 5, "dry_run": True, "queue": True}, format="json").json()
    assert (dry["would"], dry["windows"][0]["free"]) == ("wait", ["m1", "m2", "m3"])
    assert not Reservation.objects.exists() and not Entry.objects.filter(target_type="reservation").exists()
    assert names(client.post("/api/reservations", {"labels": {"gpu": "t4"}, **ONE}, format="json").json()) == ["m3"]
    assert names(client.post("/api/reservations", {"machines": ["m1", str(pool[1].pk)], **ONE}, format="json").json()) == ["m1", "m2"]
    assert client.post("/api/reservations", {"machines": ["m9"], **ONE}, format="json").status_code == 404


@pytest.mark.parametrize(
    ("change", "status", "field"),
    [
        ({"count": 0}, 400, "count"),
        ({"count": 101}, 400, "count"),
        ({"duration_minutes": 0}, 400, "duration_minutes"),
        ({"until": "2030-01-01T00:00:00Z"}, 400, "duration_minutes"),
        ({"starts_at": "2020-01-01T00:00:00Z"}, 400, "starts_at"),
        ({"reservation_password": "a\nb"}, 400, "reservation_password"),
        ({"public_key": 'command="id" ssh-ed25519 AAAA'}, 400, "public_key"),
        ({"public_key": "ssh-ed25519 AAAA\nssh-ed25519 BBBB"}, 400, "public_key"),
        ({"labels": {"-": "x"}}, 400, "labels.-"),
        ({"repeat": {"every": "day", "times": 99}}, 400, "repeat.times"),
        ({"repeat": {"every": "day", "times": 2, "time_zone": "Mars/Base"}}, 400, "repeat.time_zone"),
        ({"repeat": {"every": "day", "times": 2}, "duration_minutes": 1500}, 400, "repeat.every"),
        ({"queue": True, "starts_at": "2126-01-01T00:00:00Z"}, 400, "queue"),
        ({"nonsense": 1}, 400, "nonsense"),
        ({"duration_minutes": 20_000}, 422, "duration_minutes"),
        ({"count": 21}, 422, "count"),
        ({"starts_at": "2126-01-01T00:00:00Z"}, 422, "starts_at"),
    ],
)
def test_bad_wishes_book_nothing(api: Any, alice: Any, pool: list[Any], change: dict[str, Any], status: int, field: str) -> None:
    refused = api(alice).post("/api/reservations", {**ONE, **change}, format="json")
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (status, field), refused.json()
    assert not Reservation.objects.exists()


def test_a_way_in_is_needed_and_a_key_is_enough(api: Any, alice: Any, pool: list[Any]) -> None:
    assert api(alice).post("/api/reservations", {"duration_minutes": 5}, format="json").json()["errors"][0]["code"] == "required"
    key = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    assert api(alice).post("/api/reservations", {"duration_minutes": 5, "public_key": key}, format="json").status_code == 201


def test_later_beside_now_and_never_over_each_other(api: Any, alice: Any, bob: Any, pool: list[Any]) -> None:
    tomorrow = (clock.now() + timedelta(days=1)).replace(microsecond=0)
    later = {"count": 3, "starts_at": tomorrow.isoformat(), **ONE}
    assert api(alice).post("/api/reservations", later, format="json").status_code == 201
    assert api(bob).post("/api/reservations", {"count": 3, **ONE}, format="json").status_code == 201, "now is free"
    clash = api(bob).post("/api/reservations", {"count": 1, **ONE, "starts_at": (tomorrow + timedelta(minutes=59)).isoformat()}, format="json")
    assert clash.status_code == 409
    right_after = {"count": 1, **ONE, "starts_at": (tomorrow + timedelta(minutes=60)).isoformat()}
    assert api(bob).post("/api/reservations", right_after, format="json").status_code == 201, "the end is not part of a window"


def test_a_series_is_booked_whole_or_not_at_all(api: Any, alice: Any, bob: Any, pool: list[Any]) -> None:
    start = datetime.now(UTC).replace(hour=9, minute=0, second=0, microsecond=0) + timedelta(days=1)
    body = {"count": 2, "starts_at": start.isoformat(), "repeat": {"every": "week", "times": 4, "time_zone": "Europe/Berlin"}, **ONE}
    made = api(alice).post("/api/reservations", body, format="json").json()
    assert len(made["occurrences"]) == 4 and Reservation.objects.filter(series=made["series"]).count() == 4
    third = datetime.fromisoformat(made["occurrences"][2]["starts_at"])
    one = {"count": 2, "starts_at": (third - timedelta(days=7)).isoformat(), "repeat": {"every": "week", "times": 2}, **ONE}
    assert api(bob).post("/api/reservations", one, format="json").status_code == 409
    assert Reservation.objects.count() == 4, "of a series that doesn't fit nothing is kept"


def test_limits_of_a_person_go_before_those_of_a_role(api: Any, alice: Any, bob: Any, olga: Any, roles: Any, pool: list[Any]) -> None:
    """J01 (the parallel half is in test_rivals)."""
    operator = api(olga)
    assert operator.put("/api/reservations/limits", {"role": str(roles["member"].pk), "max_machines": 1}, format="json").status_code == 204
    assert operator.put("/api/reservations/limits", {"user": str(bob.pk), "max_machines": 2, "max_minutes": 30}, format="json").status_code == 204
    refused = api(alice).post("/api/reservations", {"count": 2, **ONE}, format="json")
    assert (refused.status_code, refused.json()["code"], refused.json()["max_machines"]) == (422, "too_many_machines", 1)
    assert api(bob).post("/api/reservations", {**ONE, "count": 2}, format="json").json()["code"] == "too_long"
    assert api(bob).post("/api/reservations", {**ONE, "count": 2, "duration_minutes": 30}, format="json").status_code == 201
    assert api(bob).get("/api/reservations/limits").json()["max_machines"] == 2
    assert api(alice).put("/api/reservations/limits", {"user": str(alice.pk), "max_machines": 99}, format="json").status_code == 403
    assert operator.put("/api/reservations/limits", {"user": str(bob.pk)}, format="json").status_code == 204, "all empty takes it away"
    assert api(bob).get("/api/reservations/limits").json()["max_machines"] == 1


def test_nobody_else_learns_of_an_account_on_a_machine(api: Any, alice: Any, bob: Any, charlie: Any, olga: Any, pool: list[Any]) -> None:
    """D14: by role and field."""
    made = api(alice).post("/api/reservations", {"count": 1, "purpose": "secret plan", **ONE}, format="json").json()
    base = f"/api/reservations/{made['id']}"
    for stranger in (bob, charlie):
        assert api(stranger).get(base).status_code == 404
        for act in ("release", "extend"):
            assert api(stranger).post(f"{base}/{act}", {"minutes": 5} if act == "extend" else None, format="json").status_code == 404
        assert api(stranger).get("/api/reservations").json()["count"] == 0
        for path in ("/api/available", "/api/machines", "/api/reservations/queue", "/api/reservations/usage"):
            text = api(stranger).get(path).content.decode()
            assert made["username"] not in text and "secret plan" not in text and made["id"] not in text, path
    assert api(olga).get(base).json()["username"] == made["username"], "whoever may see all"
    assert api(charlie).post("/api/reservations", {"count": 1, **ONE}, format="json").status_code == 403, "viewers look"
    assert APIClient().get("/api/reservations").status_code == 401
    for text in (str(made), api(alice).get(base).content.decode(), api(olga).get(base).content.decode(), str(list(Entry.objects.values()))):
        assert PASSWORD not in text
    assert PASSWORD not in str(Reservation.objects.values())


def test_release_ends_what_has_not_begun_and_frees_it_at_once(api: Any, alice: Any, bob: Any, pool: list[Any]) -> None:
    client = api(alice)
    made = client.post("/api/reservations", {"count": 3, **ONE}, format="json").json()
    released = client.post(f"/api/reservations/{made['id']}/release")
    assert (released.status_code, released.json()["state"]) == (200, "ended")
    again = client.post(f"/api/reservations/{made['id']}/release")
    assert (again.status_code, again.json()["code"]) == (409, "has_ended")
    assert Reservation.objects.get().password == ""
    assert api(bob).post("/api/reservations", {"count": 3, **ONE}, format="json").status_code == 201


def test_release_all_is_the_operators_confirmed_and_in_the_journal(api: Any, alice: Any, bob: Any, olga: Any, pool: list[Any], book: Any) -> None:
    book(alice)
    book(bob)
    assert api(alice).post("/api/reservations/release_all").status_code == 403
    refused = api(olga).post("/api/reservations/release_all", {"confirm": 1}, format="json")
    assert (refused.status_code, refused.json()["code"], refused.json()["open"]) == (409, "count_changed", 2)
    assert api(olga).post("/api/reservations/release_all", {"confirm": 2}, format="json").json() == {"released": 2}
    assert set(Reservation.objects.values_list("state", flat=True)) == {State.ENDED}
    assert Entry.objects.filter(action="reservations.release_all", actor_id=str(olga.pk)).count() == 1
    assert Entry.objects.filter(action="reservations.release").count() == 2


def test_a_deactivated_persons_reservations_end(alice: Any, pool: list[Any], book: Any) -> None:
    made = book(alice)
    alice.is_active = False
    alice.save()
    assert revoke.expire() == 1
    made.refresh_from_db()
    assert (made.state, "deactivated" in made.reason) == (State.ENDED, True)


def test_the_same_key_books_once(api: Any, alice: Any, pool: list[Any]) -> None:
    client = api(alice)
    answers = [client.post("/api/reservations", {"count": 1, **ONE}, format="json", headers={"Idempotency-Key": "k1"}) for _ in range(2)]
    assert answers[0].json()["id"] == answers[1].json()["id"] and Reservation.objects.count() == 1
