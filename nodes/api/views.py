"""Doors of the nodes API: parse, ask access, call one service, render."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.exceptions import ValidationError
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.access import require
from accounts.models import User
from audit.services import Actor
from nodes import clusters, selectors, services
from nodes.access import get_cluster, get_node, sees_nodes, visible_clusters, visible_nodes
from nodes.api.filters import NodeFilter
from nodes.api.serializers import (
    ClusterSerializer,
    NodeChangeSerializer,
    NodeSerializer,
    NodeStatsSerializer,
    NodeWishSerializer,
    RegisteredNodeSerializer,
    SchedulableSerializer,
    StatusSerializer,
    TokenSerializer,
)
from nodes.joining import join_command
from nodes.models import Cluster, Node

MAX_GRACE_SECONDS = 7 * 24 * 3600.0


def actor_of(request: Request) -> Actor:
    """The signed-in person as the journal sees them."""
    return cast(User, request.user).as_actor()


def checked(serializer_class: Any, data: Any, *, partial: bool = False) -> dict[str, Any]:
    """The validated body, or 400."""
    serializer = serializer_class(data=data, partial=partial)
    serializer.is_valid(raise_exception=True)
    validated: dict[str, Any] = serializer.validated_data
    return validated


def see_nodes(request: Request) -> None:
    """Raises Forbidden for somebody to whom no node is shown."""
    if not sees_nodes(request.user):
        require(request.user, "nodes.view")


class NodeList(ListAPIView[Node]):
    """All nodes; register one."""

    serializer_class = NodeSerializer
    filterset_class = NodeFilter
    search_fields = ["name", "hostname", "ip_address", "description"]
    ordering_fields = ["name", "status", "created_at", "last_heartbeat", "current_pods", "cpu_cores", "total_memory_bytes"]
    which = "all"

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return Node.objects.none()
        found = visible_nodes(self.request.user)
        if self.which == "all":
            return found
        return selectors.online(found) if self.which == "online" else selectors.offline(found)

    @extend_schema(tags=["nodes"])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List nodes."""
        see_nodes(request)
        return super().get(request, *args, **kwargs)


class Nodes(NodeList):
    """The list, and registering."""

    @extend_schema(tags=["nodes"], request=NodeWishSerializer, responses={201: RegisteredNodeSerializer})
    def post(self, request: Request) -> Response:
        """Register a node. Its token is in this answer and nowhere else."""
        require(request.user, "nodes.create")
        node, token = services.register_node(actor=actor_of(request), **checked(NodeWishSerializer, request.data))
        body = {"id": node.pk, "name": node.name, "token": token, "created_at": node.created_at, "install": {"command": join_command(token)}}
        return Response(
            RegisteredNodeSerializer(body).data,
            status=status.HTTP_201_CREATED,
            headers={"Location": f"/api/nodes/{node.pk}", "Cache-Control": "no-store"},
        )


class NodeDetail(APIView):
    """One node."""

    @extend_schema(tags=["nodes"], responses={200: NodeSerializer})
    def get(self, request: Request, node_id: UUID) -> Response:
        """Read a node."""
        return Response(NodeSerializer(get_node(request.user, node_id)).data)

    def _change(self, request: Request, node_id: UUID, *, partial: bool) -> Response:
        node = get_node(request.user, node_id, "nodes.edit")
        changes = checked(NodeChangeSerializer, request.data, partial=partial)
        return Response(NodeSerializer(services.update_node(node, actor=actor_of(request), **changes)).data)

    @extend_schema(tags=["nodes"], request=NodeChangeSerializer, responses={200: NodeSerializer})
    def patch(self, request: Request, node_id: UUID) -> Response:
        """Change what people set."""
        return self._change(request, node_id, partial=True)

    @extend_schema(tags=["nodes"], request=NodeChangeSerializer, responses={200: NodeSerializer})
    def put(self, request: Request, node_id: UUID) -> Response:
        """Change what people set; the name must be given."""
        return self._change(request, node_id, partial=False)

    @extend_schema(tags=["nodes"], responses={204: None})
    def delete(self, request: Request, node_id: UUID) -> Response:
        """Forget a node that holds nothing; its token dies and its agent is cut off."""
        services.delete_node(get_node(request.user, node_id, "nodes.delete"), actor=actor_of(request))
        return Response(status=status.HTTP_204_NO_CONTENT)


class NodeToken(APIView):
    """The token."""

    @extend_schema(
        tags=["nodes"],
        request=None,
        responses={200: TokenSerializer},
        parameters=[OpenApiParameter("grace_seconds", float, description="How long the old token stays good.")],
    )
    def patch(self, request: Request, node_id: UUID) -> Response:
        """Rotate. A connected agent is given the new token by itself."""
        node = get_node(request.user, node_id, "nodes.token")
        raw = request.query_params.get("grace_seconds", "0")
        try:
            grace = float(raw)
        except ValueError:
            grace = -1
        if not 0 <= grace <= MAX_GRACE_SECONDS:
            raise ValidationError({"grace_seconds": [f"A number of seconds from 0 to {MAX_GRACE_SECONDS:.0f}."]})
        token = services.rotate_token(node, actor=actor_of(request), grace_seconds=grace)
        body = {"id": node.pk, "token": token, "install": {"command": join_command(token)}}
        return Response(TokenSerializer(body).data, headers={"Cache-Control": "no-store"})


class NodeStats(APIView):
    """Sums."""

    @extend_schema(tags=["nodes"], responses={200: NodeStatsSerializer})
    def get(self, request: Request) -> Response:
        """Counts by status, capacity, what is promised, containers, percent."""
        see_nodes(request)
        return Response(NodeStatsSerializer(selectors.stats(visible_nodes(request.user))).data)


class NodeSchedulable(APIView):
    """Does it take new containers?"""

    @extend_schema(tags=["nodes"], request=SchedulableSerializer, responses={200: NodeSerializer})
    def patch(self, request: Request, node_id: UUID) -> Response:
        """Toggle, or set `is_schedulable`."""
        node = get_node(request.user, node_id, "nodes.edit")
        body = checked(SchedulableSerializer, request.data or {})
        return Response(NodeSerializer(services.set_schedulable(node, actor=actor_of(request), is_schedulable=body.get("is_schedulable"))).data)


class NodeStatusView(APIView):
    """The status, by hand."""

    @extend_schema(tags=["nodes"], request=StatusSerializer, responses={200: NodeSerializer})
    def patch(self, request: Request, node_id: UUID) -> Response:
        """Set a status; a move that can't be made is 409 and says which can."""
        node = get_node(request.user, node_id, "nodes.edit")
        body = checked(StatusSerializer, request.data)
        node = services.set_status(node, actor=actor_of(request), status=body["status"], reason=body.get("reason", ""))
        return Response(NodeSerializer(node).data)


class Clusters(ListAPIView[Cluster]):
    """All clusters; create one."""

    serializer_class = ClusterSerializer
    search_fields = ["name", "description"]
    ordering_fields = ["name", "created_at"]

    def get_queryset(self) -> Any:
        return Cluster.objects.none() if getattr(self, "swagger_fake_view", False) else visible_clusters(self.request.user)

    @extend_schema(tags=["clusters"])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List clusters."""
        see_nodes(request)
        return super().get(request, *args, **kwargs)

    @extend_schema(tags=["clusters"], request=ClusterSerializer, responses={201: ClusterSerializer})
    def post(self, request: Request) -> Response:
        """Create a cluster."""
        require(request.user, "clusters.manage")
        made = clusters.create_cluster(actor=actor_of(request), **checked(ClusterSerializer, request.data))
        return Response(ClusterSerializer(made).data, status=status.HTTP_201_CREATED, headers={"Location": f"/api/clusters/{made.pk}"})


class ClusterDetail(APIView):
    """One cluster."""

    @extend_schema(tags=["clusters"], responses={200: ClusterSerializer})
    def get(self, request: Request, cluster_id: UUID) -> Response:
        """Read a cluster."""
        return Response(ClusterSerializer(get_cluster(request.user, cluster_id)).data)

    def _change(self, request: Request, cluster_id: UUID, *, partial: bool) -> Response:
        cluster = get_cluster(request.user, cluster_id, "clusters.manage")
        serializer = ClusterSerializer(cluster, data=request.data, partial=partial)
        serializer.is_valid(raise_exception=True)
        return Response(ClusterSerializer(clusters.update_cluster(cluster, actor=actor_of(request), **serializer.validated_data)).data)

    @extend_schema(tags=["clusters"], request=ClusterSerializer, responses={200: ClusterSerializer})
    def patch(self, request: Request, cluster_id: UUID) -> Response:
        """Change a cluster."""
        return self._change(request, cluster_id, partial=True)

    @extend_schema(tags=["clusters"], request=ClusterSerializer, responses={200: ClusterSerializer})
    def put(self, request: Request, cluster_id: UUID) -> Response:
        """Change a cluster; the name must be given."""
        return self._change(request, cluster_id, partial=False)

    @extend_schema(tags=["clusters"], responses={204: None})
    def delete(self, request: Request, cluster_id: UUID) -> Response:
        """Delete an empty cluster."""
        clusters.delete_cluster(get_cluster(request.user, cluster_id, "clusters.manage"), actor=actor_of(request))
        return Response(status=status.HTTP_204_NO_CONTENT)


class ClusterNodes(NodeList):
    """Nodes of one cluster."""

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return Node.objects.none()
        return visible_nodes(self.request.user).filter(cluster=get_cluster(self.request.user, self.kwargs["cluster_id"]))


class ClusterCapacity(APIView):
    """Sums of one cluster."""

    @extend_schema(tags=["clusters"], responses={200: NodeStatsSerializer})
    def get(self, request: Request, cluster_id: UUID) -> Response:
        """As `/api/nodes/stats`, for one cluster."""
        cluster = get_cluster(request.user, cluster_id)
        return Response(NodeStatsSerializer(selectors.stats(visible_nodes(request.user).filter(cluster=cluster))).data)
