"""Doors of `/api/auth/keys`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import keys
from accounts.api.permissions import InPerson
from accounts.api.views import body, person
from accounts.capabilities import CODES
from accounts.models import ApiKey
from lormas.common.api.serializers import StrictModelSerializer, StrictSerializer, TimeField


class ApiKeySerializer(StrictModelSerializer):
    """An API key, without its secret."""

    scopes = serializers.ListField(child=serializers.CharField(), read_only=True)
    allowed_ips = serializers.ListField(child=serializers.CharField(), read_only=True)

    class Meta:
        model = ApiKey
        fields = ["id", "name", "prefix", "scopes", "allowed_ips", "expires_at", "last_used_at", "created_at"]
        read_only_fields = fields


class NewApiKeySerializer(ApiKeySerializer):
    """A new key. `key` is told here and nowhere else."""

    key = serializers.CharField(read_only=True)

    class Meta(ApiKeySerializer.Meta):
        fields = [*ApiKeySerializer.Meta.fields, "key"]
        read_only_fields = fields


class ApiKeyWishSerializer(StrictSerializer):
    """What a new key shall be."""

    name = serializers.CharField(max_length=64)
    scopes = serializers.ListField(
        child=serializers.CharField(max_length=64), allow_empty=False, max_length=len(CODES), help_text="Capability codes that you hold."
    )
    expires_at = TimeField(required=False, allow_null=True, default=None)
    allowed_ips = serializers.ListField(
        child=serializers.CharField(max_length=64), required=False, default=list, max_length=keys.MAX_ADDRESSES, help_text="IP addresses or networks."
    )


class Keys(generics.ListAPIView[ApiKey]):
    """Your API keys."""

    permission_classes = [InPerson]
    serializer_class = ApiKeySerializer
    search_fields = ["name", "prefix"]
    ordering_fields = ["name", "created_at", "last_used_at", "expires_at"]

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return ApiKey.objects.none()
        return ApiKey.objects.filter(user=person(self.request))

    @extend_schema(tags=["auth"])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List your keys."""
        return super().get(request, *args, **kwargs)

    @extend_schema(tags=["auth"], request=ApiKeyWishSerializer, responses={201: NewApiKeySerializer})
    def post(self, request: Request) -> Response:
        """Make a key. Its secret is in this answer and nowhere else."""
        user = person(request)
        key, secret = keys.create_key(user, actor=user.as_actor(), **body(ApiKeyWishSerializer(data=request.data)))
        answer = {**ApiKeySerializer(key).data, "key": secret}
        return Response(answer, status=201, headers={"Location": f"/api/auth/keys/{key.pk}", "Cache-Control": "no-store"})


class KeyDetail(APIView):
    """One of your API keys."""

    permission_classes = [InPerson]

    @extend_schema(tags=["auth"], responses={200: ApiKeySerializer})
    def get(self, request: Request, key_id: UUID) -> Response:
        """Read a key; never its secret."""
        return Response(ApiKeySerializer(keys.own_key(person(request), key_id)).data)

    @extend_schema(tags=["auth"], responses={204: None})
    def delete(self, request: Request, key_id: UUID) -> Response:
        """Delete a key: it and the sockets that it opened end at once."""
        user = person(request)
        keys.delete_key(user, key_id, actor=user.as_actor())
        return Response(status=204)
