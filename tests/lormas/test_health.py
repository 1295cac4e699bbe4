"""Probes: alive without touching anything, ready only when all parts answer, details for those who may see them."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient


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
def test_details_are_for_administrators(api: APIClient, alice: Any, root: Any, fresh_limits: None) -> None:
    stranger = api.get("/health").json()
    assert stranger.keys() == {"status", "uptime_seconds", "version"}
    api.force_authenticate(alice)
    assert "nodes" not in api.get("/health").json()
    api.force_authenticate(root)
    assert {"nodes", "containers", "operations", "counted_at", "disk_free_bytes", "checks"} <= api.get("/health").json().keys()


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
