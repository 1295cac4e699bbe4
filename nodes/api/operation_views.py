"""Doors of the operations API."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.models import User
from nodes import operations
from nodes.api.filters import OperationFilter
from nodes.api.operations import OperationSerializer, wait_seconds
from nodes.models import Operation


class Operations(ListAPIView[Operation]):
    """One's own operations; everybody's with `operations.any`."""

    serializer_class = OperationSerializer
    filterset_class = OperationFilter
    search_fields = ["kind", "target_label"]
    ordering_fields = ["created_at", "finished_at", "kind", "status"]

    def get_queryset(self) -> Any:
        return Operation.objects.none() if getattr(self, "swagger_fake_view", False) else operations.visible_operations(self.request.user)

    @extend_schema(tags=["operations"])
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """List operations, newest first."""
        operations.require_reach(request.user)
        return super().get(request, *args, **kwargs)


class OperationDetail(APIView):
    """One operation."""

    @extend_schema(
        tags=["operations"],
        responses={200: OperationSerializer},
        parameters=[OpenApiParameter("wait", float, description="Seconds (at most 60) to wait for its end before answering.")],
    )
    def get(self, request: Request, operation_id: UUID) -> Response:
        """How far it is; with `?wait=` its end, if that comes in time."""
        operation = operations.get_operation(request.user, operation_id)
        seconds = wait_seconds(request)
        if seconds and operation.is_open:
            operation = operations.wait_for(operation.pk, seconds)
        return Response(OperationSerializer(operation).data)


class OperationCancel(APIView):
    """Giving up."""

    @extend_schema(tags=["operations"], request=None, responses={200: OperationSerializer})
    def post(self, request: Request, operation_id: UUID) -> Response:
        """Cancel what no node has taken up yet; 409 for what has ended or is being done."""
        operation = operations.get_operation(request.user, operation_id, to_act=True)
        user = cast(User, request.user)
        operation = operations.cancel(operation, actor=user.as_actor(), reason=f"Cancelled by {user.label}.")
        return Response(OperationSerializer(operation).data)
