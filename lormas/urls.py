"""All addresses. The API is mounted twice: `/api/` speaks plainly, `/api/v1/` in the envelope dialect.

Routes are written without a trailing slash; `lormas.common.middleware.ApiMiddleware` makes the other spelling work without a redirect.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from django.contrib import admin
from django.urls import include, path, re_path

from lormas import errors, health
from lormas.common.api.docs import DocsView, RootView, SchemaView
from nodes.joining import agent_wheel

ROOMS = ("accounts", "audit", "nodes", "eggs", "containers", "reservations")


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
    path("admin/", admin.site.urls),
    path("", include("lormas.console.urls")),
    path("", include("nodes.operation_urls")),
    *(path("", include(f"{room}.urls")) for room in ROOMS if find_spec(f"{room}.urls")),
]

handler400 = "lormas.errors.bad_request"
handler403 = "lormas.errors.forbidden"
handler404 = "lormas.errors.not_found"
handler500 = "lormas.errors.server_error"
