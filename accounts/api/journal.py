"""Doors of `/api/audit`."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import django_filters
from asgiref.sync import sync_to_async
from django.db import connection
from django.db.models import QuerySet
from django.http import HttpResponseBase, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import generics
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.permissions import needs
from accounts.api.serializers import EntrySerializer
from audit.models import Entry

CHUNK_ROWS: Final = 500
OUTCOMES: Final = ("ok", "refused", "failed")


class EntryFilter(django_filters.FilterSet):
    actor = django_filters.CharFilter(field_name="actor_id")
    actor_kind = django_filters.ChoiceFilter(choices=[(name, name) for name in ("user", "node", "system", "anonymous")])
    action = django_filters.CharFilter(method="by_action", help_text="`containers.start`, or with a dot at its end all of a room: `containers.`.")
    outcome = django_filters.ChoiceFilter(choices=[(name, name) for name in OUTCOMES])
    target_type = django_filters.CharFilter()
    target_id = django_filters.CharFilter()
    request_id = django_filters.CharFilter()
    since = django_filters.IsoDateTimeFilter(field_name="time", lookup_expr="gte")
    until = django_filters.IsoDateTimeFilter(field_name="time", lookup_expr="lt")

    class Meta:
        model = Entry
        fields: list[str] = []

    def by_action(self, rows: QuerySet[Entry], name: str, value: str) -> QuerySet[Entry]:
        return rows.filter(action__startswith=value) if value.endswith(".") else rows.filter(action=value)


def _cell(value: Any) -> str:
    """A spreadsheet must not take it for a formula (C12)."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else "" if value is None else str(value)
    return f"'{text}" if text.lstrip(" ")[:1] in ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%") else text


def _csv(rows: list[dict[str, Any]], *, first: bool) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    if first:
        writer.writerow(list(EntrySerializer().fields))
    for row in rows:
        writer.writerow([_cell(value) for value in row.values()])
    return text.getvalue()


def _jsonl(rows: list[dict[str, Any]], *, first: bool) -> str:
    return "".join(json.dumps(row, ensure_ascii=False, default=str) + "\n" for row in rows)


EXPORTS: Final[dict[str, tuple[str, Callable[..., str]]]] = {"csv": ("text/csv", _csv), "jsonl": ("application/jsonl", _jsonl)}


async def _stream(rows: QuerySet[Entry], write: Callable[..., str]) -> AsyncIterator[str]:
    """By key, never by offset, and no database connection is held while the client reads."""

    def chunk(below: int | None) -> tuple[list[dict[str, Any]], int | None]:
        found = list((rows if below is None else rows.filter(id__lt=below)).order_by("-id")[:CHUNK_ROWS])
        data = [dict(EntrySerializer(row).data) for row in found]
        if not connection.in_atomic_block:
            connection.close()
        return data, found[-1].pk if len(found) == CHUNK_ROWS else None

    below, first = None, True
    while first or below is not None:
        data, below = await sync_to_async(chunk)(below)
        yield write(data, first=first)
        first = False


class Journal(generics.ListAPIView[Entry]):
    """Who did what to what, when, from where."""

    permission_classes = [needs("audit.view")]
    serializer_class = EntrySerializer
    queryset = Entry.objects.order_by("-id")
    filterset_class = EntryFilter
    search_fields = ["actor_label", "target_label", "action"]
    ordering_fields = ["time"]

    @extend_schema(
        tags=["audit"],
        parameters=[OpenApiParameter("format", str, enum=["json", *EXPORTS], description="`csv` and `jsonl` stream all rows that fit the filters.")],
        responses={
            200: EntrySerializer(many=True),
            (200, "text/csv"): OpenApiResponse(OpenApiTypes.STR),
            (200, "application/jsonl"): OpenApiResponse(OpenApiTypes.STR),
        },
    )
    def get(self, request: Request, *args: Any, **kwargs: Any) -> HttpResponseBase:  # type: ignore[override]
        """Read the journal, newest first."""
        style = request.query_params.get("format", "json")
        if style == "json":
            answer: Response = super().get(request, *args, **kwargs)
            return answer
        if style not in EXPORTS:
            raise ValidationError({"format": ["json, csv or jsonl"]}, code="invalid_choice")
        kind, write = EXPORTS[style]
        body = _stream(self.filter_queryset(self.get_queryset()), write)
        headers = {"Content-Disposition": f'attachment; filename="lormas-audit.{style}"', "X-Content-Type-Options": "nosniff"}
        return StreamingHttpResponse(body, content_type=f"{kind}; charset=utf-8", headers=headers)
