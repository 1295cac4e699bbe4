"""`/users` and `/roles`: forms without a script, the rules of the services behind them."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest

from accounts.models import Role, User
from tests.console.test_pages import harmless
from tests.rights.test_access_pages import page_of

pytestmark = [pytest.mark.django_db, pytest.mark.redis]


def listed(client: Any, query: str) -> list[str]:
    """The user names on the page, from its top."""
    return re.findall(r'<div class="under clip">([^<]+)</div>', client.get(f"/users?{query}").content.decode())


def test_people_are_searched_filtered_sorted_and_counted(alice: Any, bob: Any, charlie: Any, root: Any) -> None:
    client = page_of(root)
    page = client.get("/users").content.decode()
    harmless(page)
    assert "4 active" in page and "1 administrator" in page
    for query, seen in (
        ("search=ali", {"alice"}), ("search=EXAMPLE.org+bob", {"bob"}), ("role=viewer", {"charlie"}), ("state=inactive", set()),
        ("state=active&role=member", {"alice", "bob"}), ("order=-username", {"alice", "bob", "charlie", "root"}), ("search=nobody", set()),
    ):  # fmt: skip
        assert set(listed(client, query)) == seen, query
    assert listed(client, "order=-username")[0] == "root"
    assert page_of(alice).get("/users").status_code == 403


def test_an_account_is_made_and_its_first_password_is_shown_once(root: Any, roles: Any) -> None:
    """D14: on the answer to the form, and on no page after it."""
    client = page_of(root)
    made = client.post("/users/new", {"email": "dora@example.org", "name": "Dora", "role": "viewer", "username": ""})
    dora = User.objects.get(email="dora@example.org")
    found = re.search(r'id="first-password">([^<]+)<', made.content.decode())
    assert made.status_code == 200 and found
    password = html.unescape(found[1])
    assert dora.check_password(password) and "no-store" in made.headers["Cache-Control"]
    harmless(made.content.decode())
    assert password not in client.get(f"/users/{dora.pk}").content.decode()
    again = client.post("/users/new", {"email": "dora@example.org", "role": "viewer"})
    assert again.status_code == 400 and "taken" in again.content.decode()


def test_a_person_is_changed_deactivated_and_deleted(alice: Any, bob: Any, root: Any, web: Any) -> None:
    client, address = page_of(root), f"/users/{bob.pk}"
    harmless(client.get(address).content.decode())
    assert client.post(address, {"email": bob.email, "username": "bobby", "name": "Bob", "role": "viewer"}).status_code == 302
    bob.refresh_from_db()
    assert (bob.username, bob.role.slug) == ("bobby", "viewer")
    assert client.post(address, {"email": alice.email, "username": "bobby", "name": "Bob", "role": "viewer"}).status_code == 400
    theirs = page_of(bob)
    assert client.post(f"{address}/active", {"active": "0"}).status_code == 302
    assert theirs.get("/").status_code == 302, "the session has ended"
    assert client.post(f"{address}/active", {"active": "1"}).status_code == 302
    harmless(client.get(f"{address}/delete").content.decode())
    assert client.post(f"{address}/delete", {"confirm": "bob"}).status_code == 409
    assert client.post(f"{address}/delete", {"confirm": "bobby"}).status_code == 302
    assert not User.objects.filter(pk=bob.pk).exists()
    owner = client.post(f"/users/{alice.pk}/delete", {"confirm": "alice"})
    assert owner.status_code == 409 and "still owns" in owner.content.decode()


def test_nobody_reaches_above_themselves_nor_their_own_standing(alice: Any, root: Any, roles: Any) -> None:
    """D08"""
    helpers = Role.objects.create(slug="helpers", name="Helpers", capabilities=["users.view", "users.manage", "roles.manage"])
    henry = User.objects.create_user("henry@example.org", "correct horse battery", username="henry", role=helpers)
    client = page_of(henry)
    assert "you can look, and change nothing" in client.get(f"/users/{root.pk}").content.decode()
    for path, form in (
        (f"/users/{root.pk}", {"email": "x@example.org", "username": "x", "name": ""}), (f"/users/{root.pk}/active", {"active": "0"}),
        (f"/users/{henry.pk}/active", {"active": "0"}), (f"/users/{alice.pk}/active", {"active": "0"}), (f"/roles/{helpers.pk}", {"name": "x"}),
        (f"/roles/{helpers.pk}/delete", {}),
    ):  # fmt: skip
        assert client.post(path, form).status_code == 403, path
    assert client.post("/users/invite", {"email": "y@example.org", "role": "administrator"}).status_code == 400, "it is not on offer"
    assert client.post("/roles/new", {"name": "More", "capabilities": ["nodes.delete"]}).status_code == 400
    assert page_of(root).post(f"/users/{root.pk}/active", {"active": "0"}).status_code == 403


def test_many_are_changed_at_once_or_none_is(alice: Any, bob: Any, charlie: Any, root: Any, web: Any) -> None:
    client = page_of(root)
    ids = [str(bob.pk), str(charlie.pk)]
    assert client.post("/users/bulk", {"action": "assign_role", "role": "operator", "ids": ids}).status_code == 302
    assert set(User.objects.filter(pk__in=ids).values_list("role__slug", flat=True)) == {"operator"}
    asked = client.post("/users/bulk", {"action": "deactivate", "ids": ids})
    assert asked.status_code == 200 and User.objects.filter(pk__in=ids, is_active=True).count() == 2, "asked first"
    harmless(asked.content.decode())
    assert client.post("/users/bulk", {"action": "deactivate", "ids": ids, "sure": "1"}).status_code == 302
    assert User.objects.filter(pk__in=ids, is_active=True).count() == 0
    client.post("/users/bulk", {"action": "delete", "ids": [*ids, str(alice.pk)], "sure": "1"})
    assert User.objects.filter(pk__in=[*ids, alice.pk]).count() == 3, "alice owns a container: none of them"
    for form in ({}, {"action": "delete"}, {"ids": ids}, {"ids": ["x"], "action": "delete"}, {"ids": ids, "action": "promote"}):
        assert client.post("/users/bulk", form).status_code == 302
    assert page_of(alice).post("/users/bulk", {"action": "activate", "ids": ids}).status_code == 403


def test_roles_are_one_table_and_ones_own_are_made_changed_and_deleted(root: Any, alice: Any) -> None:
    client = page_of(root)
    html = client.get("/roles").content.decode()
    harmless(html)
    assert "containers.exec" in html and "Administrator" in html
    assert client.post("/roles/new", {"name": "Night shift", "capabilities": ["containers.view", "nodes.view"]}).status_code == 302
    role = Role.objects.get(slug="night-shift")
    assert client.post(f"/roles/{role.pk}", {"name": "Night", "description": "", "capabilities": ["nodes.view"]}).status_code == 302
    role.refresh_from_db()
    assert (role.name, role.capabilities) == ("Night", ["nodes.view"])
    harmless(client.get(f"/roles/{role.pk}").content.decode())
    alice.role = role
    alice.save()
    client.post(f"/roles/{role.pk}/delete")
    assert Role.objects.filter(pk=role.pk).exists(), "alice has it"
    alice.role = Role.objects.get(slug="member")
    alice.save()
    client.post(f"/roles/{role.pk}/delete")
    assert not Role.objects.filter(pk=role.pk).exists()
    built_in = Role.objects.get(slug="viewer")
    assert "built in" in client.get(f"/roles/{built_in.pk}").content.decode()
    assert client.post(f"/roles/{built_in.pk}", {"name": "x"}).status_code == 400
    assert page_of(alice).get("/roles").status_code == 403
