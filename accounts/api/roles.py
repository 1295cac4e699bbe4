"""Doors of `/api/roles`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import roles
from accounts.access import require
from accounts.api.permissions import needs
from accounts.api.serializers import QuotaSerializer, RoleSerializer
from accounts.api.views import body, person
from accounts.capabilities import CODES
from accounts.models import Role
from lormas.common.api.serializers import StrictSerializer


class NewRoleSerializer(StrictSerializer):
    """A new role."""

    name = serializers.CharField(max_length=64)
    slug = serializers.SlugField(max_length=64, required=False, default="", allow_blank=True, help_text="None: made of the name.")
    description = serializers.CharField(max_length=255, required=False, default="", allow_blank=True)
    capabilities = serializers.ListField(child=serializers.CharField(max_length=64), max_length=len(CODES), help_text="Codes that you hold yourself.")
    quota = QuotaSerializer(required=False, default=None, allow_null=True, help_text="Of each of its people; null: none.")


class RoleChangeSerializer(StrictSerializer):
    """What can be changed about a role of your making; about a built-in one only `quota`, alone."""

    name = serializers.CharField(max_length=64, required=False)
    description = serializers.CharField(max_length=255, required=False, allow_blank=True)
    capabilities = serializers.ListField(child=serializers.CharField(max_length=64), max_length=len(CODES), required=False)
    quota = QuotaSerializer(required=False, allow_null=True, help_text="Of each of its people; null: none.")


class RoleReplacementSerializer(RoleChangeSerializer):
    """The same, whole."""

    name = serializers.CharField(max_length=64)
    capabilities = serializers.ListField(child=serializers.CharField(max_length=64), max_length=len(CODES))


class Roles(generics.ListAPIView[Role]):
    """All roles and their capabilities."""

    permission_classes = [needs("users.view")]
    serializer_class = RoleSerializer
    queryset = Role.objects.select_related("quota")
    search_fields = ["slug", "name"]
    ordering_fields = ["slug", "name", "created_at"]

    @extend_schema(tags=["roles"])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List roles."""
        return super().get(request, *args, **kwargs)

    @extend_schema(tags=["roles"], request=NewRoleSerializer, responses={201: RoleSerializer})
    def post(self, request: Request) -> Response:
        """Make a role, of capabilities that you hold."""
        by = person(request)
        require(by, "roles.manage")
        role = roles.create_role(by, actor=by.as_actor(), **body(NewRoleSerializer(data=request.data)))
        return Response(RoleSerializer(role).data, status=201, headers={"Location": f"/api/roles/{role.pk}"})


class RoleDetail(generics.RetrieveAPIView[Role]):
    """One role."""

    permission_classes = [needs("users.view")]
    serializer_class = RoleSerializer
    queryset = Role.objects.select_related("quota")
    lookup_url_kwarg = "role_id"

    @extend_schema(tags=["roles"])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Read a role."""
        return super().get(request, *args, **kwargs)

    @extend_schema(tags=["roles"], request=RoleChangeSerializer, responses={200: RoleSerializer})
    def patch(self, request: Request, role_id: UUID) -> Response:
        """Change a role that is not built in and not your own."""
        return self._change(request, role_id, RoleChangeSerializer)

    @extend_schema(tags=["roles"], request=RoleReplacementSerializer, responses={200: RoleSerializer})
    def put(self, request: Request, role_id: UUID) -> Response:
        """Replace a role that is not built in and not your own."""
        return self._change(request, role_id, RoleReplacementSerializer)

    def _change(self, request: Request, role_id: UUID, kind: type[RoleChangeSerializer]) -> Response:
        by = person(request)
        require(by, "roles.manage")
        return Response(RoleSerializer(roles.update_role(by, role_id, changes=body(kind(data=request.data)), actor=by.as_actor())).data)

    @extend_schema(tags=["roles"], responses={204: None})
    def delete(self, request: Request, role_id: UUID) -> Response:
        """Delete a role that nobody has and that is not built in."""
        by = person(request)
        require(by, "roles.manage")
        roles.delete_role(by, role_id, actor=by.as_actor())
        return Response(status=204)
