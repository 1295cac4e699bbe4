"""The access and activity tabs, and the journal's page: forms without a script."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

import pytest
from django.test import Client

from accounts import granting, grants
from accounts.models import Role
from audit.services import Target, record
from lormas.common import clock
from tests.console.test_pages import harmless
from tests.rights.conftest import give

pytestmark = [pytest.mark.django_db, pytest.mark.redis]


def page_of(user: Any) -> Client:
    client = Client()
    client.force_login(user, backend="accounts.backends.EmailOrUsernameBackend")
    return client


def test_access_is_given_changed_and_ended_by_forms(alice: Any, bob: Any, charlie: Any, web: Any) -> None:
    client, address = page_of(alice), f"/containers/{web.pk}/access"
    assert "Shared with nobody" in client.get(address).content.decode()
    given = client.post(address, {"user": "bob", "permissions": ["containers.logs"], "ends": "1h", "reason": "debugging"})
    assert given.status_code == 302
    (grant,) = granting.on(grants.kind("container"), web)
    assert (grant.permissions, grant.reason, grant.expires_at is not None) == (("containers.view", "containers.logs"), "debugging", True)
    html = client.get(address).content.decode()
    assert "containers.logs" in html and "debugging" in html
    harmless(html)
    assert client.get(f"{address}/{grant.id}").status_code == 200
    assert client.post(f"{address}/{grant.id}", {"permissions": ["containers.stop"]}).status_code == 302
    assert granting.on(grants.kind("container"), web)[0].permissions == ("containers.view", "containers.stop")
    assert page_of(bob).get(address).status_code == 403
    assert page_of(charlie).get(address).status_code == 404
    assert page_of(charlie).post(f"{address}/{grant.id}/take").status_code == 404
    assert client.post(f"{address}/{grant.id}/take").status_code == 302
    assert granting.on(grants.kind("container"), web) == []


@pytest.mark.parametrize("wish", [{}, {"user": "nobody"}, {"user": "bob", "expires_at": "2001-01-01 00:00"}, {"user": "alice"}])
def test_a_wrong_form_says_so_and_keeps_what_was_typed(alice: Any, bob: Any, web: Any, wish: dict[str, str]) -> None:
    answer = page_of(alice).post(f"/containers/{web.pk}/access", {"reason": "because of this", **wish})
    assert answer.status_code == 400
    html = answer.content.decode()
    assert "because of this" in html and ('class="err"' in html or 'role="alert"' in html)


def test_every_kind_has_its_tabs(root: Any, node: Any, egg: Any, web: Any) -> None:
    from nodes.models import Cluster
    from reservations.models import Machine

    cluster, machine = Cluster.objects.create(name="eu"), Machine.objects.create(name="m-1", host="192.0.2.1")
    kinds = {"nodes": node, "eggs": egg, "clusters": cluster, "containers": web, "machines": machine}
    assert {plural[:-1] for plural in kinds} == set(grants.kinds())
    client = page_of(root)
    for plural, one in kinds.items():
        for tab in ("access", "activity"):
            answer = client.get(f"/{plural}/{one.pk}/{tab}")
            assert answer.status_code == 200, (plural, tab)
            harmless(answer.content.decode())
        html = client.get(f"/{plural}/{one.pk}").content.decode()
        assert f"/{plural}/{one.pk}/access" in html and f"/{plural}/{one.pk}/activity" in html, plural


def test_what_has_no_tabs_tells_on_its_page_what_happened_to_it(root: Any, alice: Any) -> None:
    from reservations.models import Reservation

    wish = {"owner_label": "Alice", "count": 1, "duration_seconds": 3600, "username": "alice", "state": "requested", "state_since": clock.now()}
    booked = Reservation.objects.create(owner=alice, **wish)
    role = Role.objects.get(slug="member")
    for kind, one, address in (("reservation", booked, "reservations"), ("role", role, "roles"), ("user", alice, "users")):
        record(f"{kind}.test", actor=alice.as_actor("10.1.2.3"), target=Target(kind, str(one.pk), "it"), after={"told": f"of-{kind}"})
        assert f"of-{kind}" in page_of(root).get(f"/{address}/{one.pk}").content.decode(), kind


def test_who_was_granted_sees_only_what_they_may_do(alice: Any, bob: Any, web: Any) -> None:
    give(alice, web, bob, "containers.logs")
    html = page_of(bob).get(f"/containers/{web.pk}").content.decode()
    assert "You lack containers.stop on this container." in html
    assert f"/containers/{web.pk}/access" not in html
    assert page_of(bob).get("/containers").status_code == 200


def test_the_journal_tells_in_sentences_and_shows_what_changed(alice: Any, bob: Any, root: Any, web: Any) -> None:
    grant = give(alice, web, bob, "containers.logs")
    changes = {"permissions": ["containers.stop"]}
    granting.change(alice, grants.kind("container"), web, grant.id, changes=changes, actor=alice.as_actor())
    client = page_of(root)
    html = client.get("/audit").content.decode()
    assert "changed an access to" in html and "containers.view, containers.stop" in html
    harmless(html)
    for query, seen in (
        ("search=alice", True), ("search=nothing-like-it", False), ("action=grants.", True), ("action=nodes.", False), ("outcome=refused", False),
        (f"actor={alice.pk}", True), (f"target_id={web.pk}", True), ("since=2001-01-01", True), ("until=2001-01-01", False), ("before=1", False),
        ("since=nonsense&until=99-99", True), ("before=99999999999999999999999", True),
    ):  # fmt: skip
        assert ("gave access to" in client.get(f"/audit?{query}").content.decode()) is seen, query
    export = re.search(r'href="(/api/audit\?[^"]*format=csv[^"]*)"', client.get(f"/audit?action=nodes.&actor={alice.pk}").content.decode())
    assert export is not None
    told = b"".join(client.get(unescape(export[1]))).decode()
    assert "grants." not in told and told.count("\n") <= 1, "the file holds what the page shows"
    assert page_of(alice).get("/audit").status_code == 403


def test_timelines_hide_other_peoples_addresses(alice: Any, bob: Any, root: Any, web: Any) -> None:
    """I06"""
    give(alice, web, bob, "containers.edit")
    page_of(bob).post(f"/containers/{web.pk}/settings", {"name": "web", "description": "x", "restart_policy": "no"}, REMOTE_ADDR="10.1.2.3")
    for user, seen in ((bob, True), (root, True), (alice, False)):
        assert ("10.1.2.3" in page_of(user).get(f"/containers/{web.pk}/activity").content.decode()) is seen, user
