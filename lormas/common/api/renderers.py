"""JSON for programs, HTML for signed-in people who look at the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework.renderers import BrowsableAPIRenderer, JSONRenderer
from rest_framework.request import Request

from lormas.common.api import dialect, problems


class ApiRenderer(JSONRenderer):
    """The bare resource, or a problem; under `/api/v1/` the same in the envelope."""

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None) -> bytes:
        context = renderer_context or {}
        request, response = context.get("request"), context.get("response")
        if request is None or response is None:
            return super().render(data, accepted_media_type, renderer_context)
        problem = isinstance(data, dialect.ProblemBody)
        if dialect.speaks_envelope(request.path_info):
            if response.status_code == 204:
                response.status_code = 200  # a client of the dialect always finds the envelope
            status = response.status_code
            data = dialect.problem_envelope(data, status=status) if problem else dialect.envelope(data, status=status, path=request.path_info)
        elif problem:
            response["Content-Type"] = problems.CONTENT_TYPE
        return super().render(data, "application/json", renderer_context)


class BrowsableRenderer(BrowsableAPIRenderer):
    """The browsable API: for signed-in people only (H08); raw JSON forms, because bodies are JSON."""

    template = "rest_framework/api.html"

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Mapping[str, Any] | None = None) -> Any:
        context = renderer_context or {}
        request: Request = context["request"]
        if not getattr(request.user, "is_authenticated", False) or dialect.speaks_envelope(request.path_info):
            context["response"]["Content-Type"] = "application/json"
            return ApiRenderer().render(data, "application/json", renderer_context)
        context["response"].content_type = None
        return super().render(data, accepted_media_type, renderer_context)

    def get_default_renderer(self, view: Any) -> ApiRenderer:
        return ApiRenderer()

    def get_rendered_html_form(self, data: Any, view: Any, method: str, request: Request) -> Any:
        """Only buttons (DELETE, OPTIONS); fields are written as JSON."""
        return super().get_rendered_html_form(data, view, method, request) if method in ("DELETE", "OPTIONS") else None

    def get_context(self, data: Any, accepted_media_type: str | None, renderer_context: Mapping[str, Any]) -> dict[str, Any]:
        """Without the inline style sheet of DRF's code highlighting: our policy does not allow it."""
        context: dict[str, Any] = super().get_context(data, accepted_media_type, renderer_context)
        return {**context, "code_style": ""}

    def get_filter_form(self, data: Any, view: Any, request: Request) -> Any:
        return None
