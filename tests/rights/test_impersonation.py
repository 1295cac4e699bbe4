"""Seeing the console as somebody: marked, written down, never up to more rights, and over when it is over."""

from __future__ import annotations

from typing import Any

import pytest

from accounts import granting, grants, impersonation
from accounts.models import Role, User
from accounts.sessionstore import SessionStore
from audit.models import Entry
from lormas.common import live
from tests.rights.conftest import give
from tests.rights.test_access_pages import page_of

pytestmark = [pytest.mark.django_db, pytest.mark.redis]


def test_one_sees_what_they_see_with_a_banner_and_comes_back(root: Any, alice: Any, web: Any) -> None:
    browser = page_of(root)
    assert browser.post(f"/users/{alice.pk}/impersonate").status_code == 302
    html = browser.get("/containers").content.decode()
    assert "You see as Alice." in html and "web" in html and 'href="/users"' not in html
    assert browser.get("/users").status_code == 403 and browser.get("/audit").status_code == 403
    assert browser.get("/api/whoami").json()["username"] == "alice"
    assert browser.post(f"/containers/{web.pk}/settings", {"name": "web", "description": "seen", "restart_policy": "no"}).status_code == 302
    row = Entry.objects.filter(target_id=str(web.pk)).latest("id")
    assert (row.actor_id, row.actor_label) == (str(root.pk), "Root as Alice")
    assert browser.post("/users/leave").status_code == 302
    assert browser.get("/users").status_code == 200 and "seen-as" not in browser.get("/containers").content.decode()
    told = Entry.objects.filter(action__startswith="accounts.impersonate", target_id=str(alice.pk)).order_by("id")
    assert [(one.action, one.actor_label) for one in told] == [("accounts.impersonate", "Root"), ("accounts.impersonate_end", "Root")]


@pytest.mark.django_db(transaction=True)
def test_who_is_told_of_it_finds_it_in_the_store(root: Any, alice: Any, settings: Any, monkeypatch: Any) -> None:
    """D10: an open socket looks at once when it is told; what came with the response only, it would find seconds later."""
    browser = page_of(root)
    found: list[tuple[str, bool]] = []

    def told(channel: str, message: dict[str, Any]) -> int:
        if message.get("type") == "rights_changed":
            found.append((channel, impersonation.KEY in SessionStore(browser.cookies[settings.SESSION_COOKIE_NAME].value).load()))
        return 0

    monkeypatch.setattr(live, "publish", told)
    browser.post(f"/users/{alice.pk}/impersonate")
    browser.post("/users/leave")
    assert found == [(f"user:{root.pk}", True), (f"user:{root.pk}", False), (f"user:{alice.pk}", False)]


def test_credentials_of_the_other_one_stay_shut(root: Any, alice: Any) -> None:
    """E17: no key, no password, no second factor is made or changed, and the sign-out is one's own."""
    browser = page_of(root)
    browser.post(f"/users/{alice.pk}/impersonate")
    for path in ("/settings", "/profile", "/settings/keys", "/settings/sessions", "/password", "/confirm"):
        assert browser.get(path).status_code == 403, path
    assert browser.post("/settings/keys", {"name": "x", "days": "0", "scopes": ["containers.view"]}).status_code == 403
    assert browser.post("/api/auth/keys", {"name": "x", "scopes": ["containers.view"]}, content_type="application/json").status_code == 403
    assert browser.put("/api/auth/profile", {"name": "x"}, content_type="application/json").status_code == 403
    assert not alice.api_keys.exists()
    assert browser.post(f"/users/{root.pk}/impersonate").status_code == 403, "and no step further"
    browser.post("/logout")
    assert browser.get("/containers").status_code == 302
    assert Entry.objects.filter(action="accounts.sign_out").latest("id").actor_id == str(root.pk)


def test_never_up_to_more_rights(root: Any, alice: Any, olga: Any, node: Any) -> None:
    """D08: neither by role, nor by what was granted, nor by what the other one owns."""
    eyes = ["users.impersonate", "users.view", *impersonation.WIDE]
    helper = Role.objects.create(slug="eyes", name="Eyes", capabilities=[*eyes, *alice.role.capabilities])
    henry = User.objects.create_user("henry@example.org", "correct horse battery", username="henry", role=helper)
    browser = page_of(henry)
    for one in (olga, root, henry):
        assert browser.post(f"/users/{one.pk}/impersonate").status_code == 403, one
    give(root, node, alice, "nodes.edit", kind="node")
    assert browser.post(f"/users/{alice.pk}/impersonate").status_code == 403, "henry lacks nodes.edit"
    granting.take(grants.kind("node"), node, granting.on(grants.kind("node"), node)[0].id, actor=root.as_actor())
    assert browser.post(f"/users/{alice.pk}/impersonate").status_code == 302
    assert browser.get("/api/whoami").json()["username"] == "alice"
    helper.capabilities = [code for code in helper.capabilities if code != "containers.any"]
    helper.save()
    assert browser.get("/api/whoami").status_code == 403, "ends with the next request"
    assert browser.get("/api/whoami").json()["username"] == "henry"
    assert browser.post(f"/users/{alice.pk}/impersonate").status_code == 403, "alice's own things would come with her"
    assert Entry.objects.filter(action="accounts.impersonate_end").count() == 1


def test_it_ends_with_the_hour_and_with_either_account(root: Any, alice: Any, bob: Any, monkeypatch: Any) -> None:
    browser = page_of(root)
    browser.post(f"/users/{alice.pk}/impersonate")
    User.objects.filter(pk=alice.pk).update(is_active=False)
    assert browser.get("/containers").status_code == 302
    assert "seen-as" not in browser.get("/containers").content.decode()
    browser.post(f"/users/{bob.pk}/impersonate")
    monkeypatch.setattr(impersonation, "SECONDS", -1)
    assert browser.get("/containers").status_code == 302 and browser.get("/users").status_code == 200
    monkeypatch.undo()
    browser.post(f"/users/{bob.pk}/impersonate")
    User.objects.filter(pk=root.pk).update(is_active=False)
    assert browser.get("/containers").headers["Location"].startswith("/login")
