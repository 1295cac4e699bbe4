"""Probes: alive without touching anything, ready only when all parts answer, details for those who may see them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
import redis
from django.core.cache import cache
from rest_framework.test import APIClient

from accounts.models import AuthSession
from agent.protocol.commands import KillPayload
from audit.services import SYSTEM
from lormas.common import clock
from nodes import commands
from nodes.services import register_node


def test_alive_touches_nothing(api: APIClient, django_assert_num_queries: Any) -> None:
    for path in ("/healthz", "/api/healthz", "/healthz/"):
        response = api.get(path)
        assert (response.status_code, response.json()) == (200, {"status": "ok"})


@pytest.mark.redis
@pytest.mark.django_db
def test_ready_names_what_fails(api: APIClient, settings: Any) -> None:
    assert api.get("/readyz").json()["checks"] == {"database": "ok", "broker": "ok", "migrations": "ok"}
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    response = api.get("/readyz")
    assert response.status_code == 503
    assert response.json()["checks"]["broker"] == "the message broker does not answer"


@pytest.mark.redis
def test_details_are_for_administrators(api: APIClient, alice: Any, root: Any, settings: Any, fresh_limits: None) -> None:
    stranger = api.get("/health").json()
    assert stranger.keys() == {"status", "uptime_seconds", "version"}
    api.force_authenticate(alice)
    assert "nodes" not in api.get("/health").json()
    api.force_authenticate(root)
    now, client = clock.now(), redis.Redis.from_url(settings.REDIS_URL)
    for kind, days, over in (("browser", 1, None), ("token", 1, None), ("token", 1, None), ("token", -1, None), ("browser", 1, now)):
        AuthSession.objects.create(user=alice, kind=kind, expires_at=now + timedelta(days=days), revoked_at=over)
    node, _ = register_node(name="n", actor=SYSTEM)
    commands.enqueue(node, "container.kill", payload=KillPayload(), deadline_seconds=600)
    cache.delete("health:counts")
    jobs = client.llen("celery")
    client.rpush("celery", "a job that no worker takes")
    told = api.get("/health").json()
    assert {"nodes", "containers", "operations", "previews", "counted_at", "age_seconds", "disk_free_bytes", "checks"} <= told.keys()
    client.lrem("celery", 1, "a job that no worker takes")
    assert told["sessions"] == {"browser": 1, "token": 2}, "neither ended ones nor those that are over"
    assert (told["queue"]["jobs"], told["queue"]["commands"]) == (jobs + 1, 1) and told["queue"]["oldest_command_seconds"] >= 0
    assert told["age_seconds"] >= 0


@pytest.mark.redis
def test_metrics_want_the_token(api: APIClient, settings: Any, root: Any, alice: Any) -> None:
    assert api.get("/metrics").status_code == 401
    settings.METRICS_TOKEN = "scrape-me"
    assert api.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 401
    response = api.get("/metrics", headers={"Authorization": "Bearer scrape-me"})
    assert response.status_code == 200
    assert b"lormas_uptime_seconds" in response.content
    api.force_login(alice)
    assert api.get("/metrics").status_code == 401
    api.force_login(root)
    assert api.get("/metrics").status_code == 200
