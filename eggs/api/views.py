"""Doors of `/api/eggs` (SURFACE section 4)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import django_filters
from django.core.files.uploadedfile import UploadedFile
from django.db.models import QuerySet
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import generics
from rest_framework.exceptions import ValidationError
from rest_framework.parsers import MultiPartParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.access import require
from accounts.models import User
from eggs import services
from eggs.access import get_egg, rights, sees_eggs, visible_eggs
from eggs.api.parsers import RawFile
from eggs.api.serializers import (
    EggDetailSerializer,
    EggSerializer,
    ImportedSerializer,
    PreviewRequestSerializer,
    PreviewSerializer,
    VersionSerializer,
)
from eggs.definition import EggDefinition
from eggs.formats import EggRefused, export
from eggs.formats.reading import MAX_BYTES
from eggs.models import Egg, EggVersion
from eggs.rendering import HIDDEN, render
from lormas.common.api.filters import TrueOrFalse
from lormas.common.api.parsers import ApiParser, BodyTooLarge
from lormas.common.errors import NotFound

MAX_FILES = 50
IMPORT_SCHEMA: dict[str, Any] = {
    "request": {
        "application/json": OpenApiTypes.OBJECT,
        "application/yaml": OpenApiTypes.STR,
        "multipart/form-data": {"type": "object", "properties": {"file": {"type": "string", "format": "binary"}}, "required": ["file"]},
    },
    "responses": {201: ImportedSerializer},
    "tags": ["eggs"],
}


def person(request: Request) -> User:
    """The signed-in person."""
    assert isinstance(request.user, User)
    return request.user


def definition_of(egg: Egg) -> EggDefinition:
    """The current one. Raises NotFound for an egg that has none (its import was interrupted)."""
    if egg.current is None:
        raise NotFound(f"The egg {egg.name} has no version.")
    return EggDefinition.from_json(egg.current.definition)


class EggFilter(django_filters.FilterSet):
    category = django_filters.CharFilter()
    tag = django_filters.CharFilter(method="by_tag")
    is_bundled = TrueOrFalse()

    class Meta:
        model = Egg
        fields: list[str] = []

    def by_tag(self, queryset: QuerySet[Egg], name: str, value: str) -> QuerySet[Egg]:
        """SQLite has no look-up inside of JSON lists: the quoted word in the list's text."""
        return queryset.filter(tags__icontains=f'"{value}"') if '"' not in value else queryset.none()


class ImportMixin:
    """Taking files, for both addresses."""

    def take(self, request: Request) -> Response:
        user = person(request)
        require(user, "eggs.manage")
        result = services.ImportResult()
        files = self._files(request)
        for name, data in files:
            try:
                one = services.import_egg(data, filename=name, user=user, actor=user.as_actor())
            except EggRefused as error:
                if len(files) == 1:
                    raise
                result.skipped.append({"name": name, "message": f"{error.code}: {error.detail}"})
                continue
            result.eggs.extend(one.eggs)
            result.warnings.extend(one.warnings)
        return Response(ImportedSerializer(result).data, status=201)

    def _files(self, request: Request) -> list[tuple[str, bytes]]:
        kind = (request.content_type or "").partition(";")[0]
        if kind != "multipart/form-data":
            data = request.data if isinstance(request.data, bytes) else b""  # DRF parses no empty body
            return [("egg.yaml" if "yaml" in kind else "egg.json" if kind == "application/json" else "", data)]
        found = [file for name in request.FILES for file in request.FILES.getlist(name) if isinstance(file, UploadedFile)]
        if not found:
            raise ValidationError({"file": ["Send a file."]}, code="required")
        if len(found) > MAX_FILES:
            raise ValidationError({"file": [f"At most {MAX_FILES} files at once."]}, code="max_length")
        if any((file.size or 0) > MAX_BYTES for file in found):
            raise BodyTooLarge(f"An egg is at most {MAX_BYTES} bytes.")
        return [((file.name or "")[:255], file.read(MAX_BYTES + 1)) for file in found]


class Eggs(ImportMixin, generics.ListAPIView[Egg]):
    """All eggs."""

    serializer_class = EggSerializer
    filterset_class = EggFilter
    search_fields = ["name", "author", "description", "category"]
    ordering_fields = ["name", "category", "created_at", "updated_at"]
    parser_classes = [MultiPartParser, RawFile]

    def get_queryset(self) -> QuerySet[Egg]:
        if getattr(self, "swagger_fake_view", False):
            return Egg.objects.none()
        user = person(self.request)
        if not sees_eggs(user):
            require(user, "eggs.view")
        return visible_eggs(user)

    @extend_schema(tags=["eggs"])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List eggs."""
        return super().get(request, *args, **kwargs)

    @extend_schema(**IMPORT_SCHEMA)
    def post(self, request: Request) -> Response:
        """Create an egg from a file (as `POST /api/eggs/import`)."""
        return self.take(request)


class EggImport(ImportMixin, APIView):
    """Import."""

    parser_classes = [MultiPartParser, RawFile]

    @extend_schema(**IMPORT_SCHEMA)
    def post(self, request: Request) -> Response:
        """Import an egg: the file as body (JSON or YAML), or as multipart. The same `uuid` again makes a new version."""
        return self.take(request)


class EggDetail(APIView):
    """One egg."""

    @extend_schema(responses={200: EggDetailSerializer}, tags=["eggs"])
    def get(self, request: Request, egg_id: UUID) -> Response:
        """Read an egg."""
        user = person(request)
        egg = get_egg(user, egg_id, "eggs.view")
        definition_of(egg)
        return Response(EggDetailSerializer.of(egg, manager="eggs.manage" in rights(user, egg)))

    @extend_schema(responses={204: None}, tags=["eggs"])
    def delete(self, request: Request, egg_id: UUID) -> Response:
        """Delete an egg that no container is made of."""
        user = person(request)
        services.delete_egg(get_egg(user, egg_id, "eggs.manage"), actor=user.as_actor())
        return Response(status=204)


class EggVersions(generics.ListAPIView[EggVersion]):
    """The versions of an egg."""

    serializer_class = VersionSerializer
    ordering_fields = ["number", "created_at"]

    def get_queryset(self) -> QuerySet[EggVersion]:
        if getattr(self, "swagger_fake_view", False):
            return EggVersion.objects.none()
        return get_egg(person(self.request), self.kwargs["egg_id"], "eggs.view").versions.order_by("-number")

    @extend_schema(tags=["eggs"])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List the versions of an egg, newest first."""
        return super().get(request, *args, **kwargs)


class EggExport(APIView):
    """An egg as a file."""

    @extend_schema(
        tags=["eggs"],
        parameters=[
            OpenApiParameter("format", str, enum=sorted(export.EXPORTS), description="Default PTDL_v2."),
            OpenApiParameter("encoding", str, enum=["json", "yaml"], description="YAML for PLCN_v3 only; default json."),
        ],
        responses={
            (200, "application/json"): OpenApiResponse(OpenApiTypes.OBJECT),
            (200, "application/yaml"): OpenApiResponse(OpenApiTypes.STR),
        },
    )
    def get(self, request: Request, egg_id: UUID) -> HttpResponse:
        """Export an egg for another panel."""
        definition = definition_of(get_egg(person(request), egg_id, "eggs.manage"))
        name, encoding = request.query_params.get("format", "PTDL_v2"), request.query_params.get("encoding", "json")
        if name not in export.EXPORTS:
            raise ValidationError({"format": [f"One of: {', '.join(export.EXPORTS)}."]}, code="invalid_choice")
        if encoding not in ("json", "yaml") or (encoding == "yaml" and name != "PLCN_v3"):
            raise ValidationError({"encoding": ["json, or yaml for PLCN_v3."]}, code="invalid_choice")
        raw = export.EXPORTS[name](definition)
        content = export.as_json(raw) if encoding == "json" else export.as_yaml(raw)
        headers = {"Content-Disposition": f'attachment; filename="{export.filename(definition, encoding=encoding)}"'}
        return HttpResponse(content, content_type=f"application/{encoding}", headers=headers)


class EggPreview(APIView):
    """Try values."""

    parser_classes = [ApiParser]

    @extend_schema(request=PreviewRequestSerializer, responses={200: PreviewSerializer}, tags=["eggs"])
    def post(self, request: Request, egg_id: UUID) -> Response:
        """What a container would get with these values, and what is wrong with them. Nothing is made."""
        user = person(request)
        egg = get_egg(user, egg_id, "eggs.view")
        definition = definition_of(egg)
        serializer = PreviewRequestSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        asked = serializer.validated_data
        manager = "eggs.manage" in rights(user, egg)
        rendered = render(
            definition,
            values=asked["values"],
            image=asked["image"],
            startup=asked["startup"],
            memory_bytes=asked["memory_bytes"],
            primary_port=asked["port"],
            privileged=manager,
        )
        hidden = set() if manager else {v.env_variable.upper() for v in definition.effective_variables() if not v.user_viewable}
        body = {
            "image": rendered.image,
            "startup": rendered.startup,
            "command": rendered.command,
            "environment": {name: HIDDEN if name.upper() in hidden else value for name, value in rendered.env.items()},
            "config_files": rendered.config_files if manager or not hidden else [],
            "stop": rendered.stop,
            "errors": rendered.errors,
        }
        return Response(PreviewSerializer(body).data)
