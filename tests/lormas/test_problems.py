"""Every refusal is problem+json: one shape, a stable code, a request id, and never a stack trace or HTML."""

from __future__ import annotations

from typing import Any

import pytest
from rest_framework.test import APIClient

KEYS = {"type", "title", "status", "detail", "code", "errors", "request_id"}


def problem(response: Any, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.content
    assert response.headers["Content-Type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body.keys() >= KEYS
    assert (body["status"], body["code"]) == (status, code)
    assert body["request_id"] == response.headers["X-Request-ID"]
    return body


def test_an_unknown_route_is_a_problem_even_to_a_browser_and_in_both_spellings(api: APIClient, sample: Any) -> None:
    for path in ("/api/nothing", "/api/nothing/", "/api/v2/nodes"):
        problem(api.get(path, headers={"Accept": "text/html"}), 404, "no_such_route")


@pytest.mark.parametrize("debug", [False, True])
def test_a_wrong_method_is_405_and_says_which_are_right_also_in_debug_mode(api: APIClient, sample: Any, settings: Any, debug: bool) -> None:
    """D16: no method override."""
    settings.DEBUG = debug
    response = api.put("/api/raises/bug", {}, format="json")
    problem(response, 405, "method_not_allowed")
    assert "GET" in response.headers["Allow"]
    problem(
        api.post("/api/raises/bug?_method=GET", {"_method": "GET"}, format="json", headers={"X-HTTP-Method-Override": "GET"}),
        405,
        "method_not_allowed",
    )


def test_a_rule_of_the_domain_keeps_its_code_and_its_extra_members(api: APIClient, sample: Any) -> None:
    assert problem(api.get("/api/raises/locked"), 423, "locked")["operation"] == "op-1"
    assert problem(api.get("/api/raises/conflict"), 409, "conflict")["allowed"] == ["stop"]


def test_extra_members_never_replace_standard_ones(api: APIClient, sample: Any) -> None:
    assert problem(api.get("/api/raises/forged_extra"), 409, "conflict")["detail"] == "x"


def test_retry_after_is_a_header_too(api: APIClient, sample: Any) -> None:
    response = api.get("/api/raises/slow_down")
    problem(response, 429, "too_many_requests")
    assert response.headers["Retry-After"] == "7"


def test_an_unexpected_error_tells_nothing_but_the_request_id(sample: Any, caplog: pytest.LogCaptureFixture) -> None:
    """H08: the body is generic; the log has the rest, under the same id."""
    client = APIClient(raise_request_exception=False)
    response = client.get("/api/raises/bug", headers={"X-Request-ID": "trace-77"})
    body = problem(response, 500, "internal")
    assert body["request_id"] == "trace-77"
    assert b"hunter2" not in response.content
    assert "RuntimeError" not in response.content.decode()
    assert any("trace-77" in str(record.msg) and "RuntimeError" in str(record.msg) for record in caplog.records)


def test_not_signed_in_is_401_with_a_challenge(api: APIClient, sample: Any) -> None:
    response = api.get("/api/private")
    problem(response, 401, "not_signed_in")
    assert response.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_wrong_field_is_named_by_its_path(api: APIClient, sample: Any) -> None:
    body = problem(api.post("/api/echo", {"limits": {"memory_bytes": "x"}}, format="json"), 400, "invalid")
    assert {error["field"]: error["code"] for error in body["errors"]} == {"name": "required", "limits.memory_bytes": "invalid"}
    assert sample == []


def test_an_unknown_field_is_refused_and_a_read_only_one_is_ignored(api: APIClient, sample: Any) -> None:
    """D13: mass assignment."""
    body = problem(api.post("/api/echo", {"name": "a", "is_staff": True, "limits": {"memory_bytes": 1, "cpus": 2}}, format="json"), 400, "invalid")
    assert {error["field"]: error["code"] for error in body["errors"]} == {"is_staff": "unknown_field"}
    nested = problem(api.post("/api/echo", {"name": "a", "limits": {"memory_bytes": 1, "cpus": 2}}, format="json"), 400, "invalid")
    assert nested["errors"][0]["field"] == "limits.cpus"
    assert sample == []
    assert api.post("/api/echo", {"name": "a", "id": "mine"}, format="json").json()["id"] == "1"


def test_a_body_that_is_no_json_is_415_and_no_object_400(api: APIClient, sample: Any) -> None:
    problem(api.post("/api/echo", "name=a", content_type="application/x-www-form-urlencoded"), 415, "unsupported_media_type")
    problem(api.post("/api/echo", "[1]", content_type="application/json"), 400, "invalid")


def test_an_accept_header_that_nobody_serves_still_gets_a_problem(api: APIClient, sample: Any) -> None:
    problem(api.get("/api/echo", headers={"Accept": "text/csv"}), 406, "not_acceptable")
