"""The same promises under ASGI, as the panel is served."""

from __future__ import annotations

from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.test import AsyncClient

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.redis]


async def test_ids_spellings_and_problems(sample: Any) -> None:
    client = AsyncClient()
    answer = await client.get("/api/echo/", headers={"X-Request-ID": "abc"})
    assert (answer.status_code, answer.headers["X-Request-ID"], answer.headers["Cache-Control"]) == (200, "abc", "no-store")
    assert (await client.get("/api/v1/nothing")).json()["success"] is False


async def test_a_key_acts_once(sample: Any) -> None:
    client = AsyncClient()
    for expected in (None, "true"):
        answer = await client.post("/api/echo", {"name": "a"}, content_type="application/json", headers={"Idempotency-Key": "k1"})
        assert (answer.status_code, answer.headers.get("Idempotency-Replayed")) == (201, expected)
    assert len(sample) == 1


async def test_a_password_that_must_change_holds_every_page(alice: Any) -> None:
    alice.must_change_password = True
    await sync_to_async(alice.save)()
    client = AsyncClient()
    await client.aforce_login(alice)
    assert (await client.get("/profile")).headers["Location"] == "/password"
    assert (await client.get("/password")).status_code == 200


async def test_a_refused_mutation_is_noted(charlie: Any) -> None:
    from audit.models import Entry

    client = AsyncClient()
    await client.aforce_login(charlie)
    assert (await client.post("/api/eggs", {}, content_type="application/json")).status_code == 403
    assert await Entry.objects.filter(action="api.denied", actor_id=str(charlie.pk)).aexists()
