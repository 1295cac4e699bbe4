"""How an operation is answered: 202 and its address, or, with `?wait=`, its end."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers, status
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from lormas.common.api.serializers import ModelSerializer
from nodes import operations
from nodes.models import Operation

MAX_WAIT_SECONDS = 60.0


class OperationSerializer(ModelSerializer[Operation]):
    """As SURFACE section 1 names the fields."""

    error = serializers.SerializerMethodField()

    class Meta:
        model = Operation
        fields = [
            "id", "kind", "status", "progress", "message", "result", "error", "target_type", "target_id", "target_label", "actor_label",
            "request_id", "created_at", "started_at", "finished_at", "deadline",
        ]  # fmt: skip
        read_only_fields = fields

    def get_error(self, operation: Operation) -> dict[str, str] | None:
        return {"code": operation.error_code, "detail": operation.error_detail} if operation.error_code else None


class OperationAnswerSerializer(serializers.Serializer[Any]):
    """Answer of whatever takes long."""

    operation = OperationSerializer()


def wait_seconds(request: Request) -> float:
    """`?wait=` as seconds, 0 without it; 400 for anything but 0-60. Doors ask it before they act, so that a refused request has done nothing."""
    raw = request.query_params.get("wait")
    if raw in (None, ""):
        return 0
    try:
        seconds = float(str(raw))
    except ValueError:
        seconds = -1
    if not 0 <= seconds <= MAX_WAIT_SECONDS:
        raise ValidationError({"wait": [f"A number of seconds from 0 to {MAX_WAIT_SECONDS:g}."]})
    return seconds


def operation_response(request: Request, operation: Operation) -> Response:
    """202 `{"operation": {...}}` with `Location`; with `?wait=` 200 if it has ended in time."""
    seconds = wait_seconds(request)
    if seconds:
        operation = operations.wait_for(operation.pk, seconds)
    else:
        operation.refresh_from_db()
    body: dict[str, Any] = {"operation": OperationSerializer(operation).data}
    return Response(
        body,
        status=status.HTTP_202_ACCEPTED if operation.is_open else status.HTTP_200_OK,
        headers={"Location": f"/api/operations/{operation.pk}"},
    )
