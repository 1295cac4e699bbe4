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
    DiffSerializer,
    EggDetailSerializer,
    EggLabelsSerializer,
    EggSerializer,
    ImportedSerializer,
    PreviewRequestSerializer,
    PreviewSerializer,
    UseVersionSerializer,
    VersionSerializer,
)
from eggs.definition import EggDefinition
from eggs.diffing import differences
from eggs.formats import export
from eggs.formats.reading import MAX_BYTES
from eggs.models import Egg, EggVersion
from eggs.rendering import masked, render
from eggs.selectors import tagged
from lormas.common.api.filters import TrueOrFalse
from lormas.common.api.parsers import ApiParser, BodyTooLarge
from lormas.common.errors import FieldError, NotFound, Refused

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
        return tagged(queryset, value)


class ImportMixin:
    """Taking files, for both addresses."""

    def take(self, request: Request) -> Response:
        user = person(request)
        require(user, "eggs.manage")
        result = services.ImportResult()
        files, wrong = self._files(request), list[FieldError]()
        for report in services.import_files(files, user=user, actor=user.as_actor()):
            if report.refused is not None and len(files) == 1:
                raise report.refused
            result.add(report, several=len(files) > 1)
            if report.refused is not None:
                wrong.append(FieldError(report.name, report.refused.detail, report.refused.code))
        if wrong and not result.eggs:
            raise Refused("None of the files is an egg.", code="all_refused", errors=wrong)
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

    @extend_schema(request=EggLabelsSerializer, responses={200: EggDetailSerializer}, tags=["eggs"])
    def patch(self, request: Request, egg_id: UUID) -> Response:
        """Change category and tags; what an egg says changes by importing a file."""
        user = person(request)
        egg = get_egg(user, egg_id, "eggs.manage")
        serializer = EggLabelsSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        services.label_egg(egg, changes=serializer.validated_data, actor=user.as_actor())
        definition_of(egg)
        return Response(EggDetailSerializer.of(egg, manager=True))

    @extend_schema(request=EggLabelsSerializer, responses={200: EggDetailSerializer}, tags=["eggs"])
    def put(self, request: Request, egg_id: UUID) -> Response:
        """As PATCH."""
        return self.patch(request, egg_id)

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


def version_of(egg: Egg, number: int | str) -> EggVersion:
    """One version by its number. Raises NotFound."""
    found = egg.versions.filter(number=number).first() if str(number).isdigit() and len(str(number)) < 10 else None
    if found is None:
        raise NotFound(f"The egg {egg.name} has no version {number}.")
    return found


class EggUse(APIView):
    """Which version new containers get."""

    @extend_schema(request=UseVersionSerializer, responses={200: EggDetailSerializer}, tags=["eggs"])
    def post(self, request: Request, egg_id: UUID) -> Response:
        """Make a version the current one again. Containers keep theirs until they are moved."""
        user = person(request)
        egg = get_egg(user, egg_id, "eggs.manage")
        serializer = UseVersionSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        egg = services.use_version(version_of(egg, serializer.validated_data["number"]), actor=user.as_actor())
        return Response(EggDetailSerializer.of(egg, manager=True))


class EggApproval(APIView):
    """An administrator's word on what a version asks of the machine."""

    @extend_schema(request=None, responses={200: VersionSerializer}, tags=["eggs"])
    def post(self, request: Request, egg_id: UUID, number: int) -> Response:
        """Approve what a version asks for: host mounts, devices, the host's network, privileged mode."""
        user = person(request)
        version = version_of(get_egg(user, egg_id, "eggs.manage"), number)
        require(user, "containers.host_access")
        return Response(VersionSerializer(services.approve_version(version, user=user, actor=user.as_actor())).data)

    @extend_schema(responses={200: VersionSerializer}, tags=["eggs"])
    def delete(self, request: Request, egg_id: UUID, number: int) -> Response:
        """Take the approval back: from their next start on, containers of this version can't run."""
        user = person(request)
        version = version_of(get_egg(user, egg_id, "eggs.manage"), number)
        require(user, "containers.host_access")
        return Response(VersionSerializer(services.withdraw_approval(version, actor=user.as_actor())).data)


class EggDiff(APIView):
    """Two versions side by side."""

    @extend_schema(
        tags=["eggs"],
        parameters=[
            OpenApiParameter("old", int, description="Default: the one before `new`."),
            OpenApiParameter("new", int, description="Default: current."),
        ],
        responses={200: DiffSerializer},
    )
    def get(self, request: Request, egg_id: UUID) -> Response:
        """What differs between two versions of an egg."""
        user = person(request)
        egg = get_egg(user, egg_id, "eggs.view")
        definition_of(egg)
        assert egg.current is not None
        new = version_of(egg, request.query_params.get("new", str(egg.current.number)))
        old = version_of(egg, request.query_params.get("old", str(max(1, new.number - 1))))
        found = differences(
            EggDefinition.from_json(old.definition), EggDefinition.from_json(new.definition), manager="eggs.manage" in rights(user, egg)
        )
        return Response(DiffSerializer({"old": old.number, "new": new.number, "changes": found}).data)


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
        if not manager:
            rendered = masked(definition, rendered)
        body = {
            "image": rendered.image,
            "startup": rendered.startup,
            "command": rendered.command,
            "entrypoint": rendered.entrypoint,
            "startup_mode": rendered.startup_mode,
            "environment": rendered.env,
            "config_files": rendered.config_files,
            "stop": rendered.stop,
            "privileges": rendered.privileges,
            "errors": rendered.errors,
        }
        return Response(PreviewSerializer(body).data)
