"""The page of recording policies: an administrator says whose terminals are recorded, and it counts at once."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from audit.models import Entry
from containers.models import Container, RecordingPolicy
from containers.services import execs
from eggs.services import import_bundled

pytestmark = [pytest.mark.django_db, pytest.mark.redis]


def signed_in(user: Any) -> Client:
    client = Client()
    client.force_login(user)
    return client


def test_what_is_said_of_a_role_or_an_egg_counts_and_can_be_taken_back(running: Container, alice: Any, root: Any) -> None:
    page = signed_in(root)
    assert "No rules yet" in page.get("/recordings").content.decode()
    assert not execs.must_record(running, alice)

    assert page.post("/recordings", {"role": "member", "egg": "", "record": "yes"}).status_code == 302
    assert execs.must_record(running, alice)
    egg = import_bundled()[0]
    Container.objects.filter(pk=running.pk).update(egg=egg)
    running.refresh_from_db()
    assert page.post("/recordings", {"role": "", "egg": str(egg.pk), "record": "no"}).status_code == 302
    assert not execs.must_record(running, alice), "the egg's word counts before the role's"
    shown = page.get("/recordings").content.decode()
    assert egg.name in shown and "Not recorded" in shown and "people in this role" in shown

    assert page.post("/recordings", {"role": "member", "egg": "", "record": "no"}).status_code == 302
    assert RecordingPolicy.objects.count() == 2, "one word for each"
    for policy in RecordingPolicy.objects.all():
        assert page.post(f"/recordings/{policy.pk}/remove").status_code == 302
    assert not RecordingPolicy.objects.exists()
    assert Entry.objects.filter(action="recordings.policy_set").count() == 3
    assert Entry.objects.filter(action="recordings.policy_removed").count() == 2


def test_it_names_a_role_or_an_egg_and_is_for_administrators(alice: Any, olga: Any, root: Any) -> None:
    page = signed_in(root)
    for role in ("", "nobody"):
        refused = page.post("/recordings", {"role": role, "egg": "", "record": "yes"})
        assert (refused.status_code, RecordingPolicy.objects.count()) == (422, 0)
    assert "not both" in page.post("/recordings", {"role": "", "egg": "", "record": "yes"}).content.decode()
    for person in (alice, olga):
        assert signed_in(person).get("/recordings").status_code == 403
        assert signed_in(person).post("/recordings", {"role": "member", "record": "yes"}).status_code == 403
    assert page.post("/recordings/00000000-0000-4000-8000-000000000000/remove").status_code == 404
