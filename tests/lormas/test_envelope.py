"""`/api/v1/`: the same routes, camelCase, in an envelope; no view knows of it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rest_framework.test import APIClient

from lormas.common.api import dialect


def test_an_answer_is_wrapped_and_in_camel_case_but_peoples_keys_are_not_renamed(api: APIClient, sample: Any) -> None:
    body = api.get("/api/v1/echo/").json()
    assert body == {
        "success": True, "message": "OK", "statusCode": 200, "timestamp": body["timestamp"],
        "data": {"memoryBytes": 5, "labels": {"my_label": "a_b"}},
    }  # fmt: skip
    assert body["timestamp"].endswith("Z")


def test_a_body_is_read_in_camel_case(api: APIClient, sample: Any) -> None:
    body = api.post("/api/v1/echo", {"name": "a", "limits": {"memoryBytes": 3}, "labels": {"camelKey": "x"}}, format="json").json()
    assert body["statusCode"] == 201
    assert sample == [{"name": "a", "limits": {"memory_bytes": 3}, "labels": {"camelKey": "x"}}]


def test_an_error_is_an_envelope_with_the_dialects_field_names(api: APIClient, sample: Any) -> None:
    response = api.post("/api/v1/echo", {"name": "a", "limits": {"memoryBytes": 0}}, format="json")
    body = response.json()
    assert (response.status_code, body["success"], body["statusCode"], body["code"]) == (400, False, 400, "invalid")
    assert body["errors"][0]["field"] == "limits.memoryBytes"
    assert body["requestId"] == response.headers["X-Request-ID"]
    assert response.headers["Content-Type"] == "application/json"


def test_an_unknown_route_speaks_the_dialect_too(api: APIClient, sample: Any) -> None:
    assert api.get("/api/v1/nothing").json()["success"] is False


def test_a_deletion_has_an_envelope_where_the_plain_dialect_has_no_content(api: APIClient, sample: Any) -> None:
    assert api.delete("/api/echo").status_code == 204
    response = api.delete("/api/v1/echo")
    assert (response.status_code, response.json()["data"]) == (200, None)


def test_a_list_names_its_resource_and_pages_by_limit(api: APIClient, sample: Any, roles: Any) -> None:
    data = api.get("/api/v1/roles?limit=3&page=2").json()["data"]
    assert data["pagination"] == {"page": 2, "limit": 3, "total": 4, "totalPages": 2, "hasNext": False, "hasPrev": True}
    assert "createdAt" in data["roles"][0]


@pytest.mark.parametrize(
    ("path", "name"), [("/api/v1/nodes", "nodes"), ("/api/v1/nodes/3f2504e0-4f89-41d3-9a0c-0305e82c3301/access-grants", "accessGrants")]
)
def test_the_resource_is_the_last_part_of_the_path_that_is_no_id(path: str, name: str) -> None:
    assert dialect.resource_of(path) == name


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault of ours
@given(st.from_regex(r"[a-z]{1,8}(_[a-z]{2,8}){0,4}", fullmatch=True))
def test_names_survive_the_round_trip(name: str) -> None:
    assert dialect.snake(dialect.camel(name)) == name
