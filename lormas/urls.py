"""All addresses. The API is mounted twice: `/api/` speaks plainly, `/api/v1/` in the envelope dialect.

Routes are written without a trailing slash; `lormas.common.middleware.ApiMiddleware` makes the other spelling work without a redirect.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from django.contrib import admin
from django.urls import include, path, re_path
from django.views.generic import RedirectView

from lormas import errors, health
from lormas.common.api.docs import DocsView, RootView, SchemaView
from nodes.joining import agent_wheel

ROOMS = ("accounts", "audit", "nodes", "eggs", "containers", "reservations", "billing")


def _patterns(module: str) -> list[Any]:
    return list(import_module(module).urlpatterns) if find_spec(module) else []


api = [
    path("", RootView.as_view(), name="root"),
    path("healthz", health.healthz, name="healthz"),
    path("health", health.HealthView.as_view(), name="health"),
    path("schema", SchemaView.as_view(), name="schema"),
    path("docs", DocsView.as_view(), name="docs"),
    *(pattern for room in ROOMS if find_spec(f"{room}.api") for pattern in _patterns(f"{room}.api.urls")),
]

urlpatterns = [
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("health", health.HealthView.as_view()),
    path("metrics", health.metrics),
    path("api/v1/", include((api, "api"), namespace="api-v1")),
    path("api/", include((api, "api"), namespace="api")),
    re_path(r"^api/(?P<rest>.*)$", errors.unknown_api),
    path("agent/<str:name>", agent_wheel, name="agent-wheel"),
    path("admin/login/", RedirectView.as_view(pattern_name="accounts:login", query_string=True)),  # one door, with its limits and second factor
    path("admin/", admin.site.urls),
    path("", include("accounts.social.urls")),
    path("", include("lormas.console.urls")),
    path("", include("nodes.operation_urls")),
    path("", include("accounts.journal_urls")),
    path("", include("accounts.people_urls")),
    *(path("", include(f"{room}.urls")) for room in ROOMS if find_spec(f"{room}.urls")),
    path("", include("accounts.grant_urls")),  # last: a room may have a page of its own there
]

handler400 = "lormas.errors.bad_request"
handler403 = "lormas.errors.forbidden"
handler404 = "lormas.errors.not_found"
handler500 = "lormas.errors.server_error"
