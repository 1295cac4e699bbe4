"""Views that stand for all others: what the kernel promises must hold without a view's help."""

from __future__ import annotations

from typing import Any

from django.urls import include, path, re_path
from rest_framework import generics, serializers
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import Role
from lormas import errors as pages
from lormas.common import errors
from lormas.common.api.serializers import StrictModelSerializer, StrictSerializer
from lormas.urls import handler400, handler403, handler404, handler500  # noqa: F401

RUNS: list[Any] = []


class Open(APIView):
    permission_classes = [AllowAny]
    throttle_classes = []


class Limits(StrictSerializer):
    memory_bytes = serializers.IntegerField(min_value=1)


class Body(StrictSerializer):
    name = serializers.CharField(max_length=8)
    limits = Limits(required=False)
    labels = serializers.DictField(child=serializers.CharField(), required=False)
    id = serializers.CharField(read_only=True)


class Echo(Open):
    def post(self, request: Request) -> Response:
        serializer = Body(data=request.data)
        serializer.is_valid(raise_exception=True)
        RUNS.append(serializer.validated_data)
        return Response({"id": str(len(RUNS)), **serializer.validated_data}, status=201, headers={"Location": "/api/echo/1"})

    def get(self, request: Request) -> Response:
        return Response({"memory_bytes": 5, "labels": {"my_label": "a_b"}})

    def delete(self, request: Request) -> Response:
        return Response(status=204)


class Raises(Open):
    def get(self, request: Request, kind: str) -> Response:
        raise {
            "locked": errors.Locked("Busy.", extra={"operation": "op-1"}),
            "conflict": errors.Conflict("It is running.", extra={"state": "running", "allowed": ["stop"]}),
            "slow_down": errors.TooMany("Slow.", extra={"retry_after": 7}),
            "bug": RuntimeError("the password is hunter2"),
            "forged_extra": errors.Conflict("x", extra={"status": 200, "detail": "forged"}),
        }[kind]


class RoleSerializer(StrictModelSerializer):
    class Meta:
        model = Role
        fields = ["id", "slug", "created_at"]


class Roles(generics.ListAPIView[Role]):
    permission_classes = [AllowAny]
    throttle_classes = []
    queryset = Role.objects.all()
    serializer_class = RoleSerializer
    search_fields = ["slug"]
    ordering_fields = {"slug": "slug", "created": "created_at"}


class Throttled(APIView):
    permission_classes = [AllowAny]

    def get(self, request: Request) -> Response:
        return Response({})


class Private(APIView):
    def get(self, request: Request) -> Response:
        return Response({})


sample = [
    path("echo", Echo.as_view()),
    path("raises/<str:kind>", Raises.as_view()),
    path("roles", Roles.as_view()),
    path("throttled", Throttled.as_view()),
    path("private", Private.as_view()),
]
urlpatterns = [
    path("api/v1/", include((sample, "api"), namespace="api-v1")),
    path("api/", include((sample, "api"), namespace="api")),
    re_path(r"^api/(?P<rest>.*)$", pages.unknown_api),
]
