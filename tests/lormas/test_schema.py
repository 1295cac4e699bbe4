"""The OpenAPI document describes every route, and its pages run under our policy."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from django.contrib.admindocs.views import simplify_regex
from django.urls import URLPattern, URLResolver, get_resolver
from drf_spectacular import validation
from drf_spectacular.drainage import GENERATOR_STATS
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer
from rest_framework.test import APIClient

UNDESCRIBED = {"/api/schema", "/api/docs", "/api/healthz"}
"""The documentation itself, and a probe that is no DRF view."""


def routes(patterns: list[Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from routes(pattern.url_patterns, path)
        elif isinstance(pattern, URLPattern):
            yield "/" + path, pattern.callback


def api_routes() -> list[tuple[str, Any]]:
    """Each route as the document spells it, parameters as `{}`, and its view."""
    found = []
    for raw, view in routes(get_resolver().url_patterns):
        path = re.sub(r"<[^>]+>", "{}", simplify_regex(raw.replace("/?$", ""))).replace("//", "/")
        if path.startswith("/api/") and not path.startswith("/api/v1/") and path != "/api/{}":
            found.append((path.rstrip("/") or "/", view))
    return found


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    GENERATOR_STATS.reset()
    made: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)
    return made


def test_the_document_is_valid_and_made_without_a_warning(document: dict[str, Any]) -> None:
    assert not GENERATOR_STATS, (GENERATOR_STATS._warn_cache, GENERATOR_STATS._error_cache)
    # As drf_spectacular's own validate_schema, with its copy of the specification; but not by the validator in Python, which needs ten seconds.
    specification = json.loads((Path(validation.__file__).parent / "openapi_3_1_schema.json").read_text())
    plain = json.loads(OpenApiJsonRenderer().render(document))
    jsonschema_rs.validate(specification, plain)
    plain["paths"]["/api/containers"]["get"]["parameters"][0].pop("in")
    with pytest.raises(jsonschema_rs.ValidationError):
        jsonschema_rs.validate(specification, plain)
    assert document["openapi"].startswith("3.1")


def test_every_route_is_described(document: dict[str, Any]) -> None:
    described = {re.sub(r"\{[^}]+\}", "{}", path).rstrip("/"): item for path, item in document["paths"].items()}
    missing = []
    for path, view in api_routes():
        if path in UNDESCRIBED or not hasattr(view, "cls"):
            continue
        methods = set(getattr(view, "actions", None) or [name for name in ("get", "post", "put", "patch", "delete") if hasattr(view.cls, name)])
        missing += [
            f"{method.upper()} {path}"
            for method in sorted(methods & {"get", "post", "put", "patch", "delete"})
            if method not in described.get(path, {})
        ]
    assert missing == []


def test_every_view_under_api_is_one_that_the_kernel_holds() -> None:
    """No plain function slips past authentication, problems and the dialect."""
    assert [path for path, view in api_routes() if not hasattr(view, "cls") and path not in UNDESCRIBED] == []


def test_every_operation_describes_its_problems(document: dict[str, Any]) -> None:
    for path, item in document["paths"].items():
        for method, operation in item.items():
            refusals = [response for status, response in operation["responses"].items() if status[0] in "45"]
            assert refusals, f"{method} {path}"
            assert all("application/problem+json" in response["content"] for response in refusals)
            if method != "get":
                assert any(parameter["name"] == "Idempotency-Key" for parameter in operation["parameters"]), f"{method} {path}"


@pytest.mark.django_db
def test_it_is_served_as_json_and_yaml_and_shown_without_inline_script(api: APIClient) -> None:
    assert api.get("/api/schema/").json()["openapi"].startswith("3.1")
    assert api.get("/api/schema", headers={"Accept": "application/vnd.oai.openapi"}).content.startswith(b"openapi:")
    page = api.get("/api/docs/", headers={"Accept": "text/html"})
    assert page.status_code == 200
    html = page.content.decode()
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", html))
    assert "<style" not in html
    assert "'unsafe-inline'" not in page.headers["Content-Security-Policy"].split("script-src", 1)[1].split(";", 1)[0]
    script = api.get("/api/docs/?script", headers={"Accept": "text/html"})
    assert script.headers["Content-Type"].startswith("application/javascript")
    assert b"/api/schema" in script.content


def test_the_browsable_api_is_for_signed_in_people(api: APIClient, alice: Any) -> None:
    """H08."""
    asked = {"Accept": "text/html,application/xhtml+xml"}
    assert api.get("/api/", headers=asked).headers["Content-Type"] == "application/json"
    api.force_login(alice)
    page = api.get("/api/", headers=asked)
    assert page.headers["Content-Type"].startswith("text/html")
    assert "Lormas API" in page.content.decode()
