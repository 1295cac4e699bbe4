"""Doors of `/api/<kind>s/{id}/grants` and `/activity`: one set of views for all of `lormas.wiring.GRANTS`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.urls import URLPattern, path
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import granting, grants
from accounts.api.serializers import EntrySerializer, RoleBriefSerializer
from accounts.api.views import body, person
from accounts.capabilities import CODES
from accounts.granting import Grant
from accounts.grants import Kind
from accounts.people import role_named
from audit.models import Entry
from audit.selectors import timeline
from lormas.common.api.serializers import StrictSerializer, TimeField


class PersonBriefSerializer(StrictSerializer):
    """A person where they are mentioned; no e-mail address: who shares a container is no directory."""

    id = serializers.UUIDField(read_only=True)
    username = serializers.CharField(read_only=True)
    name = serializers.CharField(read_only=True)


class GrantSerializer(StrictSerializer):
    """Rights on one object, of a person or of a role."""

    id = serializers.UUIDField(read_only=True)
    user = PersonBriefSerializer(read_only=True, allow_null=True)
    role = RoleBriefSerializer(read_only=True, allow_null=True)
    permissions = serializers.ListField(child=serializers.CharField(), read_only=True)
    expires_at = TimeField(read_only=True, allow_null=True)
    is_expired = serializers.BooleanField(read_only=True)
    reason = serializers.CharField(read_only=True)
    granted_by = PersonBriefSerializer(read_only=True, allow_null=True)
    created_at = TimeField(read_only=True)


def _permissions(**kwargs: Any) -> serializers.ListField:
    help_text = "Codes of /api/permissions that can be granted on this kind and that you hold on it. Seeing it is always among them."
    return serializers.ListField(child=serializers.CharField(max_length=64), allow_empty=False, max_length=len(CODES), help_text=help_text, **kwargs)


class NewGrantSerializer(StrictSerializer):
    """To whom, what, until when and why."""

    user = serializers.CharField(max_length=254, required=False, help_text="Id, e-mail or username; give either `user` or `role`.")
    role = serializers.CharField(max_length=64, required=False, help_text="Id or slug.")
    permissions = _permissions()
    expires_at = TimeField(
        required=False, allow_null=True, default=None, help_text="From this second on it is dead; null: it does not end by itself."
    )
    reason = serializers.CharField(max_length=255, required=False, allow_blank=True, default="")


class GrantChangeSerializer(StrictSerializer):
    """What can be changed."""

    permissions = _permissions(required=False)
    expires_at = TimeField(required=False, allow_null=True)
    reason = serializers.CharField(max_length=255, required=False, allow_blank=True)


class _OnObject(APIView):
    table = ""

    @property
    def kind(self) -> Kind:
        return grants.kind(self.table)

    def target(self, request: Request, object_id: UUID) -> Any:
        """The object, to somebody who may grant on it. Raises NotFound, Forbidden."""
        return self.kind.get(person(request), object_id, self.kind.manage)


class Grants(_OnObject, generics.GenericAPIView[Any]):
    """Who holds rights on this object."""

    serializer_class = GrantSerializer
    filter_backends = []

    @extend_schema(
        tags=["grants"],
        responses={200: GrantSerializer(many=True)},
        parameters=[OpenApiParameter("user", str, description="Id of a person."), OpenApiParameter("role", str, description="Id or slug of a role.")],
    )
    def get(self, request: Request, object_id: UUID) -> Response:
        """List the grants on an object, oldest first."""
        found = granting.on(self.kind, self.target(request, object_id))
        user, role = request.query_params.get("user"), request.query_params.get("role")
        if user:
            found = [grant for grant in found if grant.user is not None and str(grant.user.pk) == user]
        if role:
            found = [grant for grant in found if grant.role is not None and role in (str(grant.role.pk), grant.role.slug)]
        page = self.paginate_queryset(found)  # type: ignore[arg-type]  # the paginator takes lists, too
        return self.get_paginated_response(GrantSerializer(page, many=True).data)

    @extend_schema(tags=["grants"], request=NewGrantSerializer, responses={201: GrantSerializer})
    def post(self, request: Request, object_id: UUID) -> Response:
        """Grant. Nobody grants what they lack, nor for longer than they have it; a second grant to the same holder is 409."""
        by, target = person(request), self.target(request, object_id)
        wish = body(NewGrantSerializer(data=request.data))
        user, role = wish.pop("user", None), wish.pop("role", None)
        grant = granting.give(
            by,
            self.kind,
            target,
            user=granting.find_person(user) if user else None,
            role=role_named(role) if role else None,
            actor=by.as_actor(),
            **wish,
        )
        return Response(GrantSerializer(grant).data, status=201, headers={"Location": f"{request.path.rstrip('/')}/{grant.id}"})


class GrantDetail(_OnObject):
    """One grant."""

    @extend_schema(tags=["grants"], responses={200: GrantSerializer})
    def get(self, request: Request, object_id: UUID, grant_id: UUID) -> Response:
        """Read a grant."""
        return Response(GrantSerializer(self._one(request, object_id, grant_id)).data)

    def _one(self, request: Request, object_id: UUID, grant_id: UUID) -> Grant:
        return granting.one(self.kind, self.target(request, object_id), grant_id)

    @extend_schema(tags=["grants"], request=GrantChangeSerializer, responses={200: GrantSerializer})
    def patch(self, request: Request, object_id: UUID, grant_id: UUID) -> Response:
        """Change permissions, end or reason; the whole must be yours to give."""
        by, target = person(request), self.target(request, object_id)
        changes = body(GrantChangeSerializer(data=request.data))
        return Response(GrantSerializer(granting.change(by, self.kind, target, grant_id, changes=changes, actor=by.as_actor())).data)

    @extend_schema(tags=["grants"], responses={204: None})
    def delete(self, request: Request, object_id: UUID, grant_id: UUID) -> Response:
        """End a grant at once, open sockets included."""
        target = self.target(request, object_id)
        granting.take(self.kind, target, grant_id, actor=person(request).as_actor())
        return Response(status=204)


class Activity(generics.ListAPIView[Entry]):
    """What happened to this object."""

    table = ""
    serializer_class = EntrySerializer
    filter_backends = []

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return Entry.objects.none()
        kind = grants.kind(self.table)
        target = kind.get(person(self.request), self.kwargs["object_id"], kind.view)
        return timeline(kind.name, target.pk)

    def get_serializer_context(self) -> dict[str, Any]:
        context = dict(super().get_serializer_context())
        return {**context, "addresses_of": person(self.request)} if self.request else context

    @extend_schema(tags=["audit"])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The journal of one object, newest first, to all who see it. Addresses only to those who may read the journal, and your own."""
        return super().get(request, *args, **kwargs)


def grant_routes(prefix: str, table: str) -> list[URLPattern]:
    """Routes of one kind below its resource; every kind of `lormas.wiring.GRANTS` has them under its plural."""
    base = f"{prefix}/<uuid:object_id>"
    return [
        path(f"{base}/grants", Grants.as_view(table=table), name=f"{prefix}-grants"),
        path(f"{base}/grants/<uuid:grant_id>", GrantDetail.as_view(table=table), name=f"{prefix}-grant-detail"),
        path(f"{base}/activity", Activity.as_view(table=table), name=f"{prefix}-activity"),
    ]
