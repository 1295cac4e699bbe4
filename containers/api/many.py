"""Doors to many containers at once, and to a second one of the same make."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.access import require
from accounts.grants import holds_any
from containers import access, validation
from containers.api.fields import checked as by_check
from containers.api.shown import ContainerSerializer, CreatedContainerSerializer
from containers.api.views import OPERATION, WAIT, actor_of, checked
from containers.services import bulk
from containers.services.duplicate import duplicate
from lormas.common.api.serializers import StrictSerializer
from nodes.api.operations import operation_response, wait_seconds


class ContainerBulkSerializer(StrictSerializer):
    """`POST /api/containers/bulk`."""

    ids = serializers.ListField(child=serializers.UUIDField(), min_length=1, max_length=bulk.MOST)
    action = serializers.ChoiceField(choices=list(bulk.ACTIONS))


class BulkResultSerializer(StrictSerializer):
    """How it went with one container."""

    id = serializers.UUIDField()
    name = serializers.CharField(allow_blank=True)
    ok = serializers.BooleanField(help_text="It was taken on; its operation tells the end.")
    operation = serializers.UUIDField(allow_null=True)
    code = serializers.CharField(allow_blank=True)
    detail = serializers.CharField(allow_blank=True)


class BulkResultsSerializer(StrictSerializer):
    """All results, in the order asked for."""

    results = BulkResultSerializer(many=True)
    accepted = serializers.IntegerField()
    refused = serializers.IntegerField()


class DuplicateSerializer(StrictSerializer):
    """Body of `POST …/duplicate`."""

    name = serializers.CharField(max_length=64, required=False, default="", allow_blank=True, help_text="Empty: the first free `name-2`, `name-3` …")
    start = serializers.BooleanField(default=True)
    session = serializers.BooleanField(default=False, help_text="A session container, too; left out: an ordinary one, whatever the first one is.")

    def validate_name(self, value: str) -> str:
        return by_check(validation.check_name, value) if value else ""


class ContainerBulk(APIView):
    """One act on many; each is asked for on its own, so one that is refused stops none."""

    @extend_schema(request=ContainerBulkSerializer, responses={200: BulkResultsSerializer})
    def post(self, request: Request) -> Response:
        if not holds_any(access.grant_kind(), request.user):
            require(request.user, "containers.view")
        body = checked(ContainerBulkSerializer, request.data)
        found = bulk.act_on_many(body["ids"], body["action"], user=request.user, actor=actor_of(request))
        rows: list[dict[str, Any]] = [
            {"id": r.id, "name": r.name, "ok": r.ok, "operation": r.operation.pk if r.operation else None, "code": r.code, "detail": r.detail}
            for r in found
        ]
        taken = sum(result.ok for result in found)
        return Response(BulkResultsSerializer({"results": rows, "accepted": taken, "refused": len(found) - taken}).data)


class ContainerDuplicate(APIView):
    """Another one of the same make, yours; files are not copied."""

    problem_statuses = (404, 422, 503)

    @extend_schema(request=DuplicateSerializer, responses={201: CreatedContainerSerializer, **OPERATION}, parameters=[WAIT])
    def post(self, request: Request, container_id: str) -> Response:
        container = access.get_container(request.user, container_id)
        require(request.user, "containers.create")
        wait_seconds(request)
        body = checked(DuplicateSerializer, request.data or {})
        made, operation = duplicate(
            container, name=body["name"], start=body["start"], is_session=body["session"], user=request.user, actor=actor_of(request)
        )
        answer = operation_response(request, operation)
        fresh = access.visible_containers(request.user).for_list().filter(pk=made.pk).first()
        if fresh is None:  # it failed for good while we waited
            return answer
        told = {**ContainerSerializer(fresh, context={"reader": request.user}).data, "operation": answer.data["operation"]}
        return Response(told, status=status.HTTP_201_CREATED, headers={"Location": f"/api/containers/{made.pk}", "X-Operation": str(operation.pk)})
