"""Doors to the capability table and the journal."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any, Final

import django_filters
from django.db.models import QuerySet
from django.http import HttpResponseBase, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import generics
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.permissions import needs
from accounts.api.serializers import EntrySerializer, PermissionSerializer
from accounts.capabilities import CAPABILITIES
from audit.models import Entry

MAX_EXPORTED_ROWS: Final = 10_000


class Permissions(APIView):
    """The capability table."""

    @extend_schema(responses={200: PermissionSerializer(many=True)}, tags=["roles"], operation_id="permissions_list")
    def get(self, request: Request) -> Response:
        """All capabilities there are."""
        return Response(PermissionSerializer(CAPABILITIES, many=True).data)


class EntryFilter(django_filters.FilterSet):
    actor = django_filters.CharFilter(field_name="actor_id")
    action = django_filters.CharFilter()
    outcome = django_filters.ChoiceFilter(choices=[(name, name) for name in ("ok", "refused", "failed")])
    target_type = django_filters.CharFilter()
    target_id = django_filters.CharFilter()
    since = django_filters.IsoDateTimeFilter(field_name="time", lookup_expr="gte")
    until = django_filters.IsoDateTimeFilter(field_name="time", lookup_expr="lt")

    class Meta:
        model = Entry
        fields: list[str] = []


def _cell(value: Any) -> str:
    """A spreadsheet must not take it for a formula (C12)."""
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else "" if value is None else str(value)
    return f"'{text}" if text[:1] in ("=", "+", "-", "@", "\t", "\r") else text


def _csv(rows: QuerySet[Entry]) -> Iterator[str]:
    names = list(EntrySerializer().fields)
    line = io.StringIO()
    writer = csv.writer(line)
    writer.writerow(names)
    for row in rows.iterator(chunk_size=500):
        data = EntrySerializer(row).data
        writer.writerow([_cell(data[name]) for name in names])
        if line.tell() > 32_768:
            yield line.getvalue()
            line.seek(0)
            line.truncate()
    yield line.getvalue()


def _jsonl(rows: QuerySet[Entry]) -> Iterator[str]:
    for row in rows.iterator(chunk_size=500):
        yield json.dumps(EntrySerializer(row).data, ensure_ascii=False, default=str) + "\n"


class Journal(generics.ListAPIView[Entry]):
    """Who did what to what, when, from where."""

    permission_classes = [needs("audit.view")]
    serializer_class = EntrySerializer
    queryset = Entry.objects.all()
    filterset_class = EntryFilter
    search_fields = ["actor_label", "target_label", "action"]
    ordering_fields = ["time"]

    @extend_schema(
        tags=["audit"],
        parameters=[OpenApiParameter("format", str, enum=["json", "csv", "jsonl"], description="`csv` and `jsonl` give up to 10,000 rows at once.")],
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
            return super().get(request, *args, **kwargs)
        if style not in ("csv", "jsonl"):
            raise ValidationError({"format": ["json, csv or jsonl"]}, code="invalid_choice")
        rows = self.filter_queryset(self.get_queryset())[:MAX_EXPORTED_ROWS]
        content, kind = (_csv(rows), "text/csv") if style == "csv" else (_jsonl(rows), "application/jsonl")
        headers = {"Content-Disposition": f'attachment; filename="lormas-audit.{style}"'}
        return StreamingHttpResponse(content, content_type=f"{kind}; charset=utf-8", headers=headers)
