"""Rights on single machines: whoever has none by role sees what was granted, until it ends."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client

from accounts.models import Role, User
from lormas.common import clock
from reservations.access import grant_kind
from reservations.models import Machine
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
