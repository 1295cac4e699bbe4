"""Doors to what is found, used and thrown away among the files of a container."""

from __future__ import annotations

from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from containers import files
from containers.api import fileparts as parts
from containers.api.files import NODE, named_container, named_path
from containers.api.views import actor_of, checked


class FileSearch(APIView):
    """By name (part of it, or a pattern with * and ?), and with `content=true` by lines of text files."""

    problem_statuses = NODE

    @extend_schema(
        parameters=[OpenApiParameter("query", str, required=True), OpenApiParameter("path", str), OpenApiParameter("content", bool)],
        responses={
            200: inline_serializer(
                "Found",
                {
                    "found": inline_serializer(
                        "FoundFile",
                        {
                            "path": serializers.CharField(),
                            "type": serializers.CharField(),
                            "size": serializers.IntegerField(),
                            "line": serializers.IntegerField(),
                            "text": serializers.CharField(allow_blank=True),
                        },
                        many=True,
                    ),
                    "complete": serializers.BooleanField(),
                },
            )
        },
    )
    def get(self, request: Request, container_id: str) -> Response:
        container = named_container(request, container_id)
        content = request.query_params.get("content", "").lower() in ("true", "1")
        found = files.search(
            container, query=request.query_params.get("query", ""), path=named_path(request, required=False), content=content, limit=200
        )
        return Response(found)


class FileUsage(APIView):
    """What the files take on disk, and may take."""

    problem_statuses = NODE

    @extend_schema(
        responses={
            200: inline_serializer(
                "FileUsage",
                {name: serializers.IntegerField() for name in ("bytes", "entries", "quota_bytes", "free_bytes")},
            )
        }
    )
    def get(self, request: Request, container_id: str) -> Response:
        return Response(files.usage(named_container(request, container_id)))


class FileTrash(APIView):
    """What was deleted and can come back."""

    problem_statuses = NODE

    @extend_schema(
        responses={
            200: inline_serializer(
                "FileTrash",
                {
                    "items": inline_serializer(
                        "TrashedFile",
                        {
                            "id": serializers.CharField(),
                            "path": serializers.CharField(),
                            "type": serializers.CharField(),
                            "size": serializers.IntegerField(),
                            "deleted_at_unix": serializers.FloatField(),
                            "by": serializers.CharField(allow_blank=True),
                        },
                        many=True,
                    )
                },
            )
        }
    )
    def get(self, request: Request, container_id: str) -> Response:
        return Response(files.trash(named_container(request, container_id)))

    @extend_schema(
        parameters=[OpenApiParameter("id", str, many=True, description="Only these; without any, all of it.")],
        responses={200: inline_serializer("Gone", {"gone": serializers.IntegerField()})},
    )
    def delete(self, request: Request, container_id: str) -> Response:
        """For good."""
        container = named_container(request, container_id)
        ids = checked(parts.IdsSerializer, {"ids": request.query_params.getlist("id")})["ids"]
        return Response(files.empty_trash(container, ids=ids, actor=actor_of(request)))


class FileRestore(APIView):
    """Out of the trash, to where it was or beside it."""

    problem_statuses = NODE

    @extend_schema(
        request=parts.IdsSerializer,
        responses={
            200: inline_serializer("Restored", {"restored": serializers.ListField(child=serializers.DictField(child=serializers.CharField()))})
        },
    )
    def post(self, request: Request, container_id: str) -> Response:
        container = named_container(request, container_id)
        return Response(files.restore(container, ids=checked(parts.IdsSerializer, request.data)["ids"], actor=actor_of(request)))
