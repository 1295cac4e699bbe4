"""Routes for agents: a node's own token and nothing else opens them (SECURITY D05)."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import AllowAny, BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from lormas.common import clock
from lormas.common.addresses import client_address
from lormas.common.api.serializers import StrictSerializer
from lormas.common.errors import NotFound, NotSignedIn, TooMany
from lormas.common.ratelimit import Limit, LimiterDown
from nodes import beating, onboarding, tokens
from nodes.models import Node

BAD_KEYS = Limit("onboarding-bad-key", 20, 300)
"""Wrong onboarding keys by address; good ones from there still work."""


class NodePrincipal:
    """Who an agent is to the API: a node, no person."""

    is_authenticated = True
    is_active = True
    pk = None

    def __init__(self, node: Node) -> None:
        self.node = node


class NodeTokenAuthentication(BaseAuthentication):
    """`Authorization: Bearer <node token>`."""

    def authenticate(self, request: Request) -> tuple[Any, None] | None:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            return None
        try:
            return NodePrincipal(tokens.node_of(token.strip())), None
        except tokens.BadToken as error:
            raise NotSignedIn(error.reason, code=error.code) from error

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class NodeTokenScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    """How the document speaks of it."""

    target_class = NodeTokenAuthentication
    name = "nodeToken"

    def get_security_definition(self, auto_schema: Any) -> dict[str, Any]:
        return {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "The token of one node, for its agent."}


class IsNode(BasePermission):
    """An agent with a good token."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return isinstance(request.user, NodePrincipal)


class BeatSerializer(StrictSerializer):
    """All of it may be left out."""

    agent_version = serializers.CharField(max_length=32, required=False)
    engine_ok = serializers.BooleanField(default=True)
    engine_error = serializers.CharField(max_length=255, allow_blank=True, default="")
    sent_at_unix = serializers.FloatField(required=False, min_value=0)
    usage = serializers.DictField(required=False, help_text="cpu_percent, memory_used_bytes, storage_used_bytes, load_1m, containers_running")
    facts = serializers.DictField(required=False, help_text="As the agent's hello has them: hostname, cpu_cores, total_memory_bytes …")


class BeatAnswerSerializer(StrictSerializer):
    """What the panel makes of it."""

    status = serializers.CharField()
    status_reason = serializers.CharField(allow_blank=True)
    server_time = serializers.CharField()
    heartbeat_seconds = serializers.FloatField()


class ResourcesSerializer(StrictSerializer):
    """What is promised on the node."""

    allocated_cpus = serializers.FloatField(min_value=0, max_value=1e6)
    allocated_memory_bytes = serializers.IntegerField(min_value=0, max_value=2**60)
    allocated_storage_bytes = serializers.IntegerField(min_value=0, max_value=2**60)
    current_pods = serializers.IntegerField(min_value=0, max_value=1_000_000)


class _NodeRoute(APIView):
    authentication_classes = [NodeTokenAuthentication]
    permission_classes = [IsNode]
    throttle_classes = []  # the token is one machine's; a flood of beats writes one row

    def own(self, request: Request, node_id: UUID) -> Node:
        """The token's node; another one is not told from one that does not exist."""
        node: Node = request.user.node  # type: ignore[union-attr]
        if node.pk != node_id:
            raise NotFound("There is no such node, or this token is not its own.")
        return node


class NodeHeartbeat(_NodeRoute):
    """A sign of life by HTTP."""

    @extend_schema(tags=["nodes"], request=BeatSerializer, responses={200: BeatAnswerSerializer})
    def post(self, request: Request, node_id: UUID) -> Response:
        """For agents without a socket: alive, with load and facts if there are any. By node token only."""
        from django.conf import settings

        node = self.own(request, node_id)
        serializer = BeatSerializer(data=request.data or {})
        serializer.is_valid(raise_exception=True)
        node = beating.beat(node, **serializer.validated_data)
        body = {
            "status": node.status,
            "status_reason": node.status_reason,
            "server_time": clock.rfc3339(clock.now()),
            "heartbeat_seconds": settings.NODE_HEARTBEAT_SECONDS,
        }
        return Response(BeatAnswerSerializer(body).data)


class NodeResources(_NodeRoute):
    """What is promised there, where the panel does not keep that account itself."""

    @extend_schema(tags=["nodes"], request=ResourcesSerializer, responses={200: ResourcesSerializer})
    def post(self, request: Request, node_id: UUID) -> Response:
        """By node token only, and only for nodes that never had a socket."""
        node = self.own(request, node_id)
        serializer = ResourcesSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        node = beating.take_resources(node, **serializer.validated_data)
        return Response(ResourcesSerializer(node).data)


class JoinSerializer(StrictSerializer):
    """What a machine says of itself when it joins."""

    hostname = serializers.CharField(max_length=255)
    instance_id = serializers.CharField(max_length=64)


class JoinedSerializer(StrictSerializer):
    """Its node and its token."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    token = serializers.CharField()


class NodeJoin(APIView):
    """Joining with an onboarding key."""

    authentication_classes = []
    permission_classes = [AllowAny]

    @extend_schema(tags=["nodes"], request=JoinSerializer, responses={201: JoinedSerializer}, auth=[])
    def post(self, request: Request) -> Response:
        """Exchange an onboarding key (`Authorization: Bearer lorj_…`) for a node of this machine's own. A repeat gives the same node."""
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        serializer = JoinSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        try:
            node, token = onboarding.join(key.strip() if scheme.lower() == "bearer" else "", **serializer.validated_data)
        except NotSignedIn:
            try:
                found = BAD_KEYS.hit(client_address(request._request) or "local")
            except LimiterDown:
                raise NotSignedIn(onboarding.BAD_KEY, code="bad_key") from None
            if not found.allowed:
                raise TooMany("Too many wrong onboarding keys from this address: wait.", extra={"retry_after": 300}) from None
            raise
        body = {"id": node.pk, "name": node.name, "token": token}
        return Response(JoinedSerializer(body).data, status=status.HTTP_201_CREATED, headers={"Cache-Control": "no-store"})
