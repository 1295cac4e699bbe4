"""`/api/schema`, `/api/docs`, and the root of the browsable API."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse
from django.utils import translation
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer, OpenApiJsonRenderer2, OpenApiYamlRenderer, OpenApiYamlRenderer2
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

ENTRIES = ("containers", "nodes", "clusters", "eggs", "machines", "available", "reservations", "operations", "users", "roles", "permissions", "audit")


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """The whole OpenAPI document; the code can't change while the process runs, so it is made once."""
    with translation.override("en"):
        made: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
        return made


class SchemaView(SpectacularAPIView):
    """OpenAPI 3.1: JSON, or YAML by content negotiation."""

    renderer_classes = [OpenApiJsonRenderer, OpenApiJsonRenderer2, OpenApiYamlRenderer, OpenApiYamlRenderer2]
    permission_classes = [AllowAny]

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return Response(document())


class DocsView(SpectacularSwaggerSplitView):
    """Swagger UI; its script is an address of its own, so that no inline script is needed."""

    url_name = "api:schema"
    permission_classes = [AllowAny]


class RootView(APIView):
    """The rooms of the API. Interactive documentation: `/api/docs/`, OpenAPI: `/api/schema/`."""

    permission_classes = [AllowAny]

    def get_view_name(self) -> str:
        return "Lormas API"

    @extend_schema(responses={200: OpenApiTypes.OBJECT}, operation_id="root", tags=["system"])
    def get(self, request: Request) -> Response:
        """Where things are."""
        return Response({"schema": self._url(request._request, "schema"), "docs": self._url(request._request, "docs"), **self._rooms(request)})

    def _rooms(self, request: Request) -> dict[str, str]:
        found = {name: self._url(request._request, name) for name in ENTRIES}
        return {name: url for name, url in found.items() if url}

    def _url(self, request: HttpRequest, name: str) -> str:
        namespace = request.resolver_match.namespace if request.resolver_match else "api"
        for candidate in (name, f"{name}-list"):
            try:
                return request.build_absolute_uri(reverse(f"{namespace or 'api'}:{candidate}"))
            except NoReverseMatch:
                continue
        return ""
