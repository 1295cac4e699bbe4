"""Pages: `{count, page, page_size, total_pages, next, previous, results}`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from django.db.models import QuerySet
from rest_framework.exceptions import NotFound, ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import remove_query_param, replace_query_param

from lormas.common.api import dialect

if TYPE_CHECKING:  # it is not whole yet when DRF loads this module
    from rest_framework.views import APIView

DEFAULT_PAGE_SIZE: Final = 25
MAX_PAGE_SIZE: Final = 200


class Pages(BasePagination):
    """`?page=&page_size=` (25, at most 200; `limit` under `/api/v1/`). A number out of bounds is 400, a page past the end 404.

    A view of rows that have many joins sets `rows_before_joins`: the page's rows are chosen by index first.
    """

    display_page_controls = False

    def _number(self, request: Request, name: str, default: int, highest: int) -> int:
        text = request.query_params.get(name, "")
        if not text:
            return default
        if not (text.isascii() and text.isdigit() and len(text) <= 9) or not 1 <= int(text) <= highest:
            raise ValidationError({name: [f"must be a whole number from 1 to {highest}"]}, code="invalid")
        return int(text)

    def paginate_queryset(self, queryset: QuerySet[Any] | Sequence[Any], request: Request, view: APIView | None = None) -> list[Any]:  # type: ignore[override]
        size_name = "limit" if dialect.speaks_envelope(request.path_info) and "limit" in request.query_params else "page_size"
        self.request = request
        self.page = self._number(request, "page", 1, 999_999_999)
        self.page_size = self._number(request, size_name, DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
        self.count = queryset.count() if isinstance(queryset, QuerySet) else len(queryset)
        self.total_pages = max(1, -(-self.count // self.page_size))
        if self.page > self.total_pages:
            raise NotFound(f"There are {self.total_pages} pages.")
        piece = slice((self.page - 1) * self.page_size, self.page * self.page_size)
        if isinstance(queryset, QuerySet) and getattr(view, "rows_before_joins", False) and not queryset.query.distinct:
            # Else a planner may join all rows with their owners before it sorts them and takes fifty.
            return list(queryset.filter(pk__in=queryset.values("pk")[piece]))
        return list(queryset[piece])

    def _link(self, page: int) -> str | None:
        if not 1 <= page <= self.total_pages:
            return None
        url = self.request.build_absolute_uri()
        return remove_query_param(url, "page") if page == 1 else replace_query_param(url, "page", page)

    def get_paginated_response(self, data: Any) -> Response:
        return Response(
            dialect.Page(
                count=self.count,
                page=self.page,
                page_size=self.page_size,
                total_pages=self.total_pages,
                next=self._link(self.page + 1),
                previous=self._link(self.page - 1),
                results=data,
            )
        )

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        number = {"type": "integer"}
        link = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["count", "page", "page_size", "total_pages", "next", "previous", "results"],
            "properties": {
                "count": number,
                "page": number,
                "page_size": number,
                "total_pages": number,
                "next": link,
                "previous": link,
                "results": schema,
            },
        }

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        def parameter(name: str, text: str, default: int, highest: int) -> dict[str, Any]:
            return {
                "name": name,
                "in": "query",
                "required": False,
                "description": text,
                "schema": {"type": "integer", "minimum": 1, "maximum": highest, "default": default},
            }

        return [
            parameter("page", "Number of the page, from 1.", 1, 999_999_999),
            parameter("page_size", "Entries on a page.", DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE),
        ]
