"""Invitations: by letter to the addressee, good once, void when another is sent."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.test import Client

from accounts import letters, proofs
from accounts.models import Letter, User
from audit.models import Entry
from lormas.common import clock
from tests.rights.conftest import client_of
from tests.rights.test_access_pages import page_of

pytestmark = [pytest.mark.django_db, pytest.mark.redis]
CHOSEN = {"name": "Ida", "username": "ida", "password": "a phrase of words", "repeated": "a phrase of words"}


def link() -> str:
    """The path in the newest letter."""
    letters.send_due()
    found = re.search(r"https?://[^/\s]+(/invite/\S+)", str(mail.outbox[-1].body))
    assert found is not None
    return found[1]


def test_the_invited_choose_a_password_and_are_in(root: Any, settings: Any) -> None:
    """D14: the answer and the journal hold no link; the letter goes to the addressee alone."""
    made = client_of(root).post("/api/users/invite", {"email": "Ida@example.org", "role": "viewer"}, format="json")
    assert made.status_code == 201 and made.json()["is_invited"] is True
    path = link()
    assert mail.outbox[-1].to == ["ida@example.org"]
    token = path.rpartition("/")[2]
    assert token not in made.content.decode() + str(list(Entry.objects.values_list("after", "message"))) + str(list(Letter.objects.values()))
    browser = Client()
    assert browser.get(path).status_code == 200 and User.objects.get(email="ida@example.org").is_invited, "looking changes nothing"
    assert browser.post(path, {**CHOSEN, "password": "short", "repeated": "short"}).status_code == 400
    assert browser.post(path, {**CHOSEN, "username": "root"}).status_code == 400
    assert browser.post(path, CHOSEN).status_code == 302
    ida = User.objects.get(username="ida")
    assert (ida.role.slug, ida.email_is_verified, ida.is_invited, ida.must_change_password) == ("viewer", True, False, False)
    assert browser.get("/profile").status_code == 200
    assert Client().get(path).status_code == 422 and Client().post(path, CHOSEN).status_code == 422, "once"
    assert client_of(root).post(f"/api/users/{ida.pk}/invite").status_code == 409
    assert Entry.objects.filter(action="accounts.invite_accept", target_id=str(ida.pk)).count() == 1


def test_a_link_ends_with_another_one_with_time_and_with_the_account(root: Any, monkeypatch: Any, settings: Any) -> None:
    page_of(root).post("/users/invite", {"email": "ida@example.org", "name": "", "role": "member"})
    ida, first = User.objects.get(email="ida@example.org"), link()
    assert page_of(root).post(f"/users/{ida.pk}/invite").status_code == 302
    second = link()
    assert (Client().get(first).status_code, Client().get(second).status_code) == (422, 200)
    monkeypatch.setattr(proofs, "INVITE_SECONDS", -1)
    assert Client().post(second, CHOSEN).status_code == 422
    monkeypatch.undo()
    User.objects.filter(pk=ida.pk).update(is_active=False)
    assert Client().post(second, CHOSEN).status_code == 422
    assert Client().get("/invite/forged").status_code == 422
    assert clock.now() - ida.created_at < timedelta(hours=1)


def test_who_may_not_invite_is_refused(alice: Any, root: Any) -> None:
    """D08"""
    assert client_of(alice).post("/api/users/invite", {"email": "x@example.org"}, format="json").status_code == 403
    assert page_of(alice).post("/users/invite", {"email": "x@example.org"}).status_code == 403
    taken = client_of(root).post("/api/users/invite", {"email": alice.email}, format="json")
    assert (taken.status_code, taken.json()["errors"][0]["field"]) == (409, "email")
    assert not User.objects.filter(email="x@example.org").exists()
