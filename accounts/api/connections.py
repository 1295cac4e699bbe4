"""Doors of `/api/auth/connections`: what signs you in beside the password. They are made on the page /settings, for that takes a browser."""

from __future__ import annotations

from allauth.socialaccount.models import SocialAccount
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import sessions
from accounts.api.permissions import InPerson
from accounts.api.views import person
from accounts.social import services
from lormas.common.api.serializers import StrictSerializer, TimeField


class ConnectionSerializer(StrictSerializer):
    """An account at a provider."""

    id = serializers.IntegerField(read_only=True)
    provider = serializers.CharField(read_only=True)
    login = serializers.SerializerMethodField(help_text="Its name there.")
    connected_at = TimeField(source="date_joined", read_only=True)

    def get_login(self, row: SocialAccount) -> str:
        return str(row.extra_data.get("login", ""))


class ConnectionsSerializer(StrictSerializer):
    """All of yours; there is at most one per provider."""

    connections = ConnectionSerializer(many=True, read_only=True)


class Connections(APIView):
    """Your connected accounts."""

    permission_classes = [InPerson]

    @extend_schema(responses={200: ConnectionsSerializer}, tags=["auth"])
    def get(self, request: Request) -> Response:
        """What signs you in beside your password."""
        return Response(ConnectionsSerializer({"connections": services.connections(person(request))}).data)


class Connection(APIView):
    """One of them."""

    permission_classes = [InPerson]

    @extend_schema(responses={204: None}, tags=["auth"])
    def delete(self, request: Request, connection_id: int) -> Response:
        """Disconnect it; 409 where it is your only way in. Needs a recent confirmation."""
        user = person(request)
        sessions.require_recent(sessions.current(request))
        services.disconnect(user, connection_id, actor=user.as_actor())
        return Response(status=204)
