"""Every refused write is one row, whoever was refused and by whatever door."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import Client
from rest_framework.test import APIClient

from audit import denials
from audit.models import Entry
from lormas.common.ratelimit import Limit
from tests.console.conftest import make_container, make_node
from tests.rights.conftest import client_of

pytestmark = [pytest.mark.django_db, pytest.mark.redis]


def refused() -> list[tuple[str, str, str, str]]:
    return [(e.action, e.actor_kind, e.actor_id, e.message) for e in Entry.objects.filter(outcome="refused").order_by("id")]


def test_a_stranger_a_person_and_somebody_who_may_not_see_it(alice: Any, bob: Any) -> None:
    """I04: 401, 403 and 404 by permission."""
    web = make_container("web", alice, make_node("n"))
    path = f"/api/containers/{web.pk}"
    assert APIClient().delete(path).status_code == 401
    assert client_of(bob).delete(path).status_code == 404
    assert client_of(bob).post("/api/nodes", {"name": "x"}, format="json").status_code == 403
    assert client_of(bob).get(path).status_code == 404, "looking is no write"
    assert refused() == [
        ("api.denied", "anonymous", "", "DELETE: not signed in."),
        ("api.denied", "user", str(bob.pk), "DELETE: not there, or not theirs to see."),
        ("api.denied", "user", str(bob.pk), "POST: not allowed."),
    ]
    entry = Entry.objects.filter(outcome="refused").first()
    assert entry is not None and (entry.target_label, entry.address) == ("/api/nodes", "127.0.0.1") and entry.request_id


def test_a_failed_sign_in_is_one_row_and_not_two(alice: Any) -> None:
    APIClient().post("/api/auth/sign-in", {"email": alice.email, "password": "wrong"}, format="json")
    assert [row[0] for row in refused()] == ["accounts.sign_in"]


def test_pages_write_theirs_too(alice: Any, bob: Any) -> None:
    web = make_container("web", alice, make_node("n"))
    Client().post(f"/containers/{web.pk}/power/stop")
    person = Client()
    person.force_login(bob, backend="accounts.backends.EmailOrUsernameBackend")
    assert person.post(f"/containers/{web.pk}/delete").status_code == 404
    assert person.post("/nodes/new").status_code == 403
    strict = Client(enforce_csrf_checks=True)
    strict.force_login(bob, backend="accounts.backends.EmailOrUsernameBackend")
    assert strict.post("/nodes/new").status_code == 403
    assert [(row[1], row[3]) for row in refused()] == [
        ("anonymous", "POST: not signed in."),
        ("user", "POST: not there, or not theirs to see."),
        ("user", "POST: not allowed."),
        ("user", "POST: not allowed."),
    ]


def test_an_address_that_no_route_has_is_nobodys_refusal(bob: Any) -> None:
    assert client_of(bob).post("/api/nothing-here").status_code == 404
    assert refused() == []


def test_a_flood_of_strangers_does_not_fill_the_journal(monkeypatch: Any) -> None:
    """J: the last row says that there were more."""
    monkeypatch.setattr(denials, "STRANGERS", Limit("audit_denied_strangers", 3, 60))
    for _ in range(6):
        APIClient().delete(f"/api/containers/{uuid.uuid4()}")
    assert [row[3].endswith("are not written.") for row in refused()] == [False, False, True]


@pytest.mark.django_db(transaction=True)
async def test_an_act_refused_on_the_socket_is_a_row(alice: Any, bob: Any) -> None:
    """I04: power and commands; looking is none."""
    from tests.containers.live.test_socket import Browser, signed_in

    web = await sync_to_async(lambda: make_container("web", alice, make_node("n")))()
    browser = await signed_in(bob)
    for number, kind in enumerate(("power", "stdin", "subscribe_logs")):
        await browser.say(type=kind, container_id=str(web.pk), action="stop", data="x", id=number)
        assert (await browser.hear("error"))["code"] == "not_found"
    wrong = Browser(None, authorization="Bearer nonsense")
    await wrong.open()
    assert (await wrong.hear())["code"] == 4401
    rows = await sync_to_async(refused)()
    assert [(row[0], row[1], row[3].partition(":")[0]) for row in rows] == [
        ("ws.denied", "user", "power"),
        ("ws.denied", "user", "stdin"),
        ("ws.denied", "anonymous", "A token that is not good."),
    ]
