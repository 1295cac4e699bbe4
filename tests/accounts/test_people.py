"""Accounts, roles, capabilities and the journal: for those who may see them, masked, filtered, exported."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

from audit.models import Entry
from audit.services import SYSTEM, Target, record

pytestmark = pytest.mark.redis
ADMIN_ONLY = ("/api/users", "/api/roles", "/api/audit")


@pytest.fixture
def as_root(root: Any) -> APIClient:
    client = APIClient()
    client.force_authenticate(root)
    return client


@pytest.mark.parametrize("path", ADMIN_ONLY)
def test_only_administrators_look_at_other_people(api: APIClient, alice: Any, olga: Any, root: Any, path: str) -> None:
    assert api.get(path).status_code == 401
    for person, status in ((alice, 403), (olga, 403), (root, 200)):
        api.force_authenticate(person)
        assert api.get(path).status_code == status


def test_accounts_are_searched_and_filtered_without_secrets(as_root: APIClient, alice: Any, bob: Any) -> None:
    """I01, C11."""
    body = as_root.get("/api/users?search=ali").json()
    assert [row["username"] for row in body["results"]] == ["alice"]
    assert "password" not in body["results"][0]
    assert as_root.get("/api/users?role=member").json()["count"] == 2
    assert as_root.get("/api/users?password__startswith=md5").json()["count"] == 3
    assert as_root.get("/api/users?is_active=perhaps").status_code == 400
    assert as_root.get(f"/api/users/{alice.pk}").json()["email"] == "alice@example.org"
    assert as_root.get("/api/users/3f2504e0-4f89-41d3-9a0c-0305e82c3301").status_code == 404


def test_everybody_signed_in_reads_the_capability_table(api: APIClient, charlie: Any) -> None:
    api.force_authenticate(charlie)
    assert {"code": "containers.create", "may": "create containers", "object_level": False} in api.get("/api/permissions").json()


def test_a_refused_mutation_is_in_the_journal(client: Any, charlie: Any, settings: Any) -> None:
    """I04: who, what, and that it was refused."""
    client.force_login(charlie)
    response = client.post("/api/containers", {"name": "x", "image": "busybox"}, content_type="application/json")
    assert response.status_code == 403
    entry = Entry.objects.get(action="api.denied")
    assert (entry.actor_id, entry.outcome, entry.target_label) == (str(charlie.pk), "refused", "/api/containers")


def test_the_journal_is_filtered_and_its_secrets_are_masked(as_root: APIClient, alice: Any) -> None:
    """I02."""
    record("eggs.import", actor=alice.as_actor(), target=Target("egg", "e1", "Hello"), after={"api_token": "CANARY", "name": "Hello"})
    record("nodes.create", actor=SYSTEM, target=Target("node", "n1", "local"))
    rows = as_root.get(f"/api/audit?actor={alice.pk}").json()["results"]
    assert [row["action"] for row in rows] == ["eggs.import"]
    assert rows[0]["after"] == {"api_token": "***", "name": "Hello"}
    assert as_root.get("/api/audit?target_type=node&target_id=n1").json()["count"] == 1
    assert as_root.get("/api/audit?since=2020-01-01T00:00:00Z&until=2020-01-02T00:00:00Z").json()["count"] == 0
    assert as_root.get("/api/audit?since=yesterday").status_code == 400
    assert as_root.post("/api/audit", {}, format="json").status_code == 405


def test_exports_are_no_formulas(as_root: APIClient, alice: Any) -> None:
    """C12."""
    alice.name = '=cmd|" /C calc"!A0'
    record("x.y", actor=alice.as_actor(), target=Target("t", "@id", "+1"))
    response = as_root.get("/api/audit?format=csv")
    text = b"".join(response).decode()
    assert response.headers["Content-Disposition"].startswith("attachment")
    assert "'=cmd|" in text
    assert "'@id" in text
    assert "'+1" in text
    lines = b"".join(as_root.get("/api/audit?format=jsonl")).decode().splitlines()
    assert len(lines) == Entry.objects.count()
    assert as_root.get("/api/audit?format=xml").status_code == 400
