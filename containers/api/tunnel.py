"""Doors of a container's Cloudflare tunnel."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from containers import access
from containers.api.views import ASKS_NODE, actor_of, checked
from containers.services import tunnels
from lormas.common.api.serializers import StrictSerializer, TimeField

TOKEN_CHARACTERS = 8192
STATES = ["off", "waiting", "starting", "connected", "failed", "unknown"]


class TunnelSerializer(StrictSerializer):
    """A tunnel as it is. Its token is never told."""

    configured = serializers.BooleanField(help_text="A token is kept.")
    wanted = serializers.BooleanField(help_text="It was started, and runs whenever the container does.")
    state = serializers.ChoiceField(choices=STATES, help_text="unknown: the node does not answer, the rest is of its last word.")
    detail = serializers.CharField(allow_blank=True)
    url = serializers.CharField(allow_blank=True, help_text="The first address under which it is published, as far as cloudflared told.")
    urls = serializers.ListField(child=serializers.CharField())
    connections = serializers.IntegerField()
    restarts = serializers.IntegerField(help_text="How often its program had to be started again since the start.")
    since = TimeField(allow_null=True)
    checked_at = TimeField(allow_null=True)


class TunnelStartSerializer(StrictSerializer):
    """Body of `POST …/tunnel/start`: without a token the kept one is used."""

    token = serializers.CharField(max_length=TOKEN_CHARACTERS, required=False, write_only=True)


def as_body(tunnel: tunnels.Tunnel) -> dict[str, Any]:
    return dict(TunnelSerializer({**asdict(tunnel), "url": tunnel.url}).data)


class TunnelView(APIView):
    """The tunnel's state, as its node tells it now; and forgetting it."""

    problem_statuses = (409,)

    @extend_schema(responses={200: TunnelSerializer})
    def get(self, request: Request, container_id: str) -> Response:
        return Response(as_body(tunnels.shown(access.get_container(request.user, container_id))))

    @extend_schema(request=None, responses={200: TunnelSerializer})
    def delete(self, request: Request, container_id: str) -> Response:
        """End it, and forget its token."""
        container = access.get_container(request.user, container_id, "containers.edit")
        return Response(as_body(tunnels.stop(container, actor=actor_of(request), forget=True)))


class TunnelStart(APIView):
    """Start it: from now on it runs whenever the container does."""

    problem_statuses = ASKS_NODE

    @extend_schema(request=TunnelStartSerializer, responses={200: TunnelSerializer})
    def post(self, request: Request, container_id: str) -> Response:
        container = access.get_container(request.user, container_id, "containers.edit")
        body = checked(TunnelStartSerializer, request.data or {})
        return Response(as_body(tunnels.start(container, token=body.get("token", ""), actor=actor_of(request))))


class TunnelStop(APIView):
    """End it. Its token stays for the next start."""

    problem_statuses = (409,)

    @extend_schema(request=None, responses={200: TunnelSerializer})
    def post(self, request: Request, container_id: str) -> Response:
        container = access.get_container(request.user, container_id, "containers.edit")
        return Response(as_body(tunnels.stop(container, actor=actor_of(request))))
