"""`?search=` and `?ordering=` over declared fields only (C11)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import django_filters
from django.db.models import QuerySet
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework.exceptions import ValidationError
from rest_framework.filters import OrderingFilter, SearchFilter
from rest_framework.request import Request

if TYPE_CHECKING:  # it is not whole yet when DRF loads this module
    from rest_framework.views import APIView


@extend_schema_field(OpenApiTypes.BOOL)
class TrueOrFalse(django_filters.TypedChoiceFilter):
    """`true` or `false`; anything else is 400 (django-filter's own takes it for "unset")."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=[("true", "true"), ("false", "false")], coerce=lambda text: text == "true", **kwargs)


class Search(SearchFilter):
    """`search_fields` of the view; at most 200 characters and 8 words."""

    def get_search_terms(self, request: Request) -> list[str]:
        text = request.query_params.get(self.search_param, "")
        if len(text) > 200 or "\x00" in text:
            raise ValidationError({self.search_param: ["at most 200 characters, without U+0000"]}, code="invalid")
        return text.split()[:8]


class Ordering(OrderingFilter):
    """`ordering_fields` of the view: names, or a map of public name -> ORM path; anything else is 400. Ties are broken by the key."""

    def _declared(self, view: APIView) -> dict[str, str]:
        declared = getattr(view, "ordering_fields", None) or ()
        return dict(declared) if isinstance(declared, dict) else {name: name for name in declared}

    def get_ordering(self, request: Request, queryset: QuerySet[Any], view: APIView) -> list[str]:
        declared = self._declared(view)
        found: list[str] = []
        for term in [part.strip() for part in request.query_params.get(self.ordering_param, "").split(",") if part.strip()][:5]:
            name = term.removeprefix("-")
            if name not in declared:
                choices = ", ".join(declared) or "nothing"
                raise ValidationError({self.ordering_param: [f"{name[:64]!r} is not one of: {choices}"]}, code="invalid_choice")
            found.append(("-" if term.startswith("-") else "") + declared[name])
        if found:
            return [*found, "pk"]
        default = self.get_default_ordering(view)
        return list(default) if default else []

    def filter_queryset(self, request: Request, queryset: QuerySet[Any], view: APIView) -> QuerySet[Any]:
        ordering = self.get_ordering(request, queryset, view)
        return queryset.order_by(*ordering) if ordering else queryset

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        names = self._declared(view)
        if not names:
            return []
        text = f"Comma list of: {', '.join(names)}; `-` before a name reverses."
        return [{"name": self.ordering_param, "required": False, "in": "query", "description": text, "schema": {"type": "string"}}]
