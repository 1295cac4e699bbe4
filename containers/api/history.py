"""Doors of a container's revisions and of its drift."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.generics import ListAPIView
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from containers import access
from containers.api.views import ASKS_NODE, actor_of, checked
from containers.models import Revision
from containers.services import drift, edit, revisions
from containers.variables import edits
from lormas.common.api.serializers import StrictSerializer, TimeField
from nodes.api.operations import OperationSerializer


class DifferenceSerializer(StrictSerializer):
    """One thing that is another one; null = it is not there."""

    field = serializers.CharField()
    before = serializers.JSONField(allow_null=True)
    after = serializers.JSONField(allow_null=True)


class RevisionSerializer(StrictSerializer):
    """A state of the wish. `changes` are those to the revision before."""

    number = serializers.IntegerField()
    author = serializers.CharField(allow_blank=True)
    note = serializers.CharField(allow_blank=True)
    created_at = TimeField()
    changes = DifferenceSerializer(many=True)


class ApplySerializer(StrictSerializer):
    """Body of `POST …/rollback`."""

    apply = serializers.ChoiceField(choices=["later", "now"], default="later", help_text="now: restart it at once where that is needed.")


class OutcomeSerializer(StrictSerializer):
    """What a change did."""

    revision = serializers.IntegerField(allow_null=True, help_text="Number of the new revision; null: nothing was another one.")
    effects = serializers.DictField(child=serializers.CharField())
    needs_restart = serializers.BooleanField()
    operation = OperationSerializer(allow_null=True)


class DriftOneSerializer(StrictSerializer):
    """One thing of the engine's container that is not as it is wanted."""

    field = serializers.CharField()
    wanted = serializers.JSONField(allow_null=True)
    running = serializers.JSONField(allow_null=True)
    adoptable = serializers.BooleanField()


class DriftSerializer(StrictSerializer):
    """Answer of `GET …/drift`."""

    pending = serializers.BooleanField(help_text="Settings were changed since it was made: part of the drift is that.")
    differences = DriftOneSerializer(many=True)


class AdoptSerializer(StrictSerializer):
    """Body of `POST …/drift/adopt`."""

    fields_ = serializers.ListField(child=serializers.CharField(max_length=256), max_length=200, required=False)

    def get_fields(self) -> dict[str, Any]:
        found = super().get_fields()
        found["fields"] = found.pop("fields_")
        return found


class ReappliedSerializer(StrictSerializer):
    """Null: it does not run; its next start makes it anew."""

    operation = OperationSerializer(allow_null=True)


def outcome_body(outcome: edit.Outcome, operation: Any = None) -> dict[str, Any]:
    """An outcome as the API gives it."""
    shown = operation or outcome.operation
    return {
        "revision": outcome.revision,
        "effects": outcome.effects,
        "needs_restart": outcome.needs_restart and operation is None,
        "operation": OperationSerializer(shown).data if shown else None,
    }


class Revisions(ListAPIView):  # type: ignore[type-arg]
    """All revisions, newest first. Empty as long as nothing was changed."""

    serializer_class = RevisionSerializer
    problem_statuses = (404,)

    def get_queryset(self) -> Any:
        if getattr(self, "swagger_fake_view", False):
            return Revision.objects.none()
        return access.get_container(self.request.user, self.kwargs["container_id"]).revisions.all()

    @extend_schema(responses={200: RevisionSerializer(many=True)})
    def get(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        container = access.get_container(request.user, kwargs["container_id"])
        page = self.paginate_queryset(self.get_queryset())
        rows = [
            {
                "number": one.number,
                "author": one.author_label,
                "note": one.note,
                "created_at": one.created_at,
                "changes": [{"field": d.field, "before": d.before, "after": d.after} for d in found],
            }
            for one, found in revisions.changes_of(container, list(page or []), to_editor=edits(request.user, container))
        ]
        return self.get_paginated_response(RevisionSerializer(rows, many=True).data)


class Rollback(APIView):
    """Make what was wanted then wanted again."""

    problem_statuses = (423, 503)

    @extend_schema(request=ApplySerializer, responses={200: OutcomeSerializer})
    def post(self, request: Request, container_id: str, number: int) -> Response:
        container = access.get_container(request.user, container_id, "containers.edit")
        now = checked(ApplySerializer, request.data or {})["apply"] == "now"
        if now:
            container = access.get_container(request.user, container_id, "containers.stop")
        outcome = edit.roll_back(container, number, user=request.user, actor=actor_of(request))
        restart = edit.restart_for(outcome.container, user=request.user, actor=actor_of(request)) if now and outcome.needs_restart else None
        return Response(outcome_body(outcome, restart))


class Drift(APIView):
    """Is what runs what is wanted? Its node is asked."""

    problem_statuses = ASKS_NODE

    @extend_schema(responses={200: DriftSerializer})
    def get(self, request: Request, container_id: str) -> Response:
        container = access.get_container(request.user, container_id, "containers.edit")
        found = [{"field": d.field, "wanted": d.wanted, "running": d.running, "adoptable": d.adoptable} for d in drift.find(container)]
        return Response({"pending": container.spec_changed, "differences": found})


class DriftReapply(APIView):
    """Make what runs what is wanted."""

    problem_statuses = (423, *ASKS_NODE)

    @extend_schema(request=None, responses={200: ReappliedSerializer})
    def post(self, request: Request, container_id: str) -> Response:
        access.get_container(request.user, container_id, "containers.stop")
        container = access.get_container(request.user, container_id, "containers.edit")
        operation = drift.reapply(container, user=request.user, actor=actor_of(request))
        return Response({"operation": OperationSerializer(operation).data if operation else None})


class DriftAdopt(APIView):
    """Take what runs over into the settings."""

    problem_statuses = (423, *ASKS_NODE)

    @extend_schema(request=AdoptSerializer, responses={200: OutcomeSerializer})
    def post(self, request: Request, container_id: str) -> Response:
        container = access.get_container(request.user, container_id, "containers.edit")
        fields = checked(AdoptSerializer, request.data or {}).get("fields")
        return Response(outcome_body(drift.adopt(container, user=request.user, actor=actor_of(request), fields=fields)))
