"""Doors to images, volumes and networks of a node, and to containers there that nobody knows."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from lormas.common.errors import NotFound
from nodes import orphans, stock
from nodes.access import get_node
from nodes.api import fleet_shapes as shapes
from nodes.api.fleet_views import OPERATION, WAIT
from nodes.api.operations import operation_response, wait_seconds
from nodes.api.views import actor_of, checked
from nodes.models import Orphan

ASKS_NODE = (409, 422, 503, 504)


class _Stock(APIView):
    kind: stock.Kind = "images"
    problem_statuses = ASKS_NODE

    @extend_schema(tags=["nodes"], responses={200: shapes.StockSerializer})
    def get(self, request: Request, node_id: UUID) -> Response:
        """What its engine has now."""
        return Response(shapes.StockSerializer({"items": stock.listing(get_node(request.user, node_id), self.kind)}).data)

    @extend_schema(tags=["nodes"], request=shapes.StockRemoveSerializer, responses={200: shapes.RemovedSerializer})
    def delete(self, request: Request, node_id: UUID) -> Response:
        """Remove one that nothing uses (`{name, force?}` in the body)."""
        node = get_node(request.user, node_id, "nodes.edit")
        body = checked(shapes.StockRemoveSerializer, request.data)
        gone = stock.remove(node, self.kind, body["name"], actor=actor_of(request), force=body["force"])
        return Response(shapes.RemovedSerializer({"removed": gone}).data)


class NodeImages(_Stock):
    """Images."""

    @extend_schema(tags=["nodes"], request=shapes.PullSerializer, responses=OPERATION, parameters=[WAIT])
    def post(self, request: Request, node_id: UUID) -> Response:
        """Pull an image, with the stored credentials of its registry; the operation shows how far it is."""
        node = get_node(request.user, node_id, "nodes.edit")
        body = checked(shapes.PullSerializer, request.data)
        wait_seconds(request)
        return operation_response(request, stock.pull(node, body["image"], user=request.user, actor=actor_of(request)))


class NodeVolumes(_Stock):
    """Volumes."""

    kind = "volumes"


class NodeNetworks(_Stock):
    """Networks."""

    kind = "networks"


class NodePrune(APIView):
    """Making room."""

    problem_statuses = ASKS_NODE

    @extend_schema(tags=["nodes"], request=shapes.PruneSerializer, responses=OPERATION, parameters=[WAIT])
    def post(self, request: Request, node_id: UUID) -> Response:
        """Remove exactly these; what is in use by then stays, and the operation's result names it."""
        node = get_node(request.user, node_id, "nodes.edit")
        body = checked(shapes.PruneSerializer, request.data)
        wait_seconds(request)
        return operation_response(request, stock.prune(node, body["kind"], body["ids"], user=request.user, actor=actor_of(request)))


class NodePrunePreview(APIView):
    """What pruning would remove."""

    problem_statuses = ASKS_NODE

    @extend_schema(tags=["nodes"], responses={200: shapes.StockSerializer})
    def get(self, request: Request, node_id: UUID, kind: str) -> Response:
        """Unused images; our own volumes and networks that nothing uses and no known container needs. Changes nothing."""
        node = get_node(request.user, node_id, "nodes.edit")
        return Response(shapes.StockSerializer({"items": stock.prune_preview(node, cast(stock.Kind, kind))}).data)


class NodeOrphans(ListAPIView[Orphan]):
    """Containers with our label that no row knows."""

    serializer_class = shapes.OrphanSerializer
    ordering_fields = ["first_seen", "last_seen"]

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return Orphan.objects.none()
        return Orphan.objects.select_related("node").filter(node=get_node(self.request.user, self.kwargs["node_id"]))

    def paginate_queryset(self, queryset: Any) -> Any:
        page = super().paginate_queryset(queryset)
        for orphan in page or []:
            orphan.why_kept = orphans.why_kept(orphan, many=orphans.many_on(orphan.node))
        return page

    @extend_schema(tags=["nodes"])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List them, and why each is not removed yet."""
        return super().get(request, *args, **kwargs)


class NodeOrphan(APIView):
    """One of them."""

    def _get(self, request: Request, node_id: UUID, orphan_id: UUID) -> Orphan:
        node = get_node(request.user, node_id, "nodes.edit")
        found = Orphan.objects.select_related("node").filter(pk=orphan_id, node=node).first()
        if found is None:
            raise NotFound("There is no such orphan on this node.")
        return found

    def _answer(self, orphan: Orphan) -> Response:
        orphan.why_kept = orphans.why_kept(orphan, many=orphans.many_on(orphan.node))  # type: ignore[attr-defined]
        return Response(shapes.OrphanSerializer(orphan).data)

    @extend_schema(tags=["nodes"], request=shapes.OrphanSerializer, responses={200: shapes.OrphanSerializer})
    def patch(self, request: Request, node_id: UUID, orphan_id: UUID) -> Response:
        """`{keep}`: leave it alone for good, or no longer."""
        orphan = self._get(request, node_id, orphan_id)
        serializer = shapes.OrphanSerializer(orphan, data=request.data, partial=True)
        serializer.is_valid(raise_exception=True)
        return self._answer(orphans.set_keep(orphan, actor=actor_of(request), keep=serializer.validated_data.get("keep", orphan.keep)))

    @extend_schema(tags=["nodes"], request=None, responses={200: shapes.OrphanSerializer})
    def delete(self, request: Request, node_id: UUID, orphan_id: UUID) -> Response:
        """Have the node remove it now; its data stays. 409 within 15 minutes of its first report."""
        orphan = self._get(request, node_id, orphan_id)
        orphans.remove(orphan, actor=actor_of(request))
        orphan.refresh_from_db()
        return self._answer(orphan)
