"""Doors of the containers API: moving a container to another node, and old copies that stayed on one."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from containers import access
from containers.api.views import OPERATION, WAIT, actor_of, checked
from containers.models.moving import Migration, Phase
from containers.services import leftovers, migrate
from lormas.common.api.serializers import StrictSerializer
from nodes.access import choosable_nodes, get_cluster, get_node
from nodes.api.operations import operation_response, wait_seconds

TO = OpenApiParameter("node", str, description="Only to this node.")


class MigrateSerializer(StrictSerializer):
    """Body of `POST …/migrate`."""

    node = serializers.UUIDField(required=False, help_text="Where to; left out: the best other node.")
    cluster = serializers.UUIDField(required=False, help_text="The best node of this cluster; left out: of the one that it is in.")
    reason = serializers.CharField(required=False, allow_blank=True, max_length=200, default="")


class MoveCandidateSerializer(StrictSerializer):
    """A node that would take it."""

    node = serializers.UUIDField()
    name = serializers.CharField()
    why = serializers.CharField()


class MoveRejectionSerializer(StrictSerializer):
    """A node that can't take it, and the rule that says so."""

    node = serializers.UUIDField()
    name = serializers.CharField()
    rule = serializers.CharField()
    reason = serializers.CharField()


class MigrationSerializer(serializers.ModelSerializer[Migration]):
    """A move, how far it is or how it ended."""

    phase = serializers.ChoiceField(choices=Phase.choices)

    class Meta:
        model = Migration
        fields = (
            "id", "phase", "phase_since", "source", "source_name", "target", "target_name", "operation", "reason", "was_running", "bytes_total",
            "bytes_done", "error_code", "error_detail", "created_at", "finished_at",
        )  # fmt: skip
        read_only_fields = fields


class MovePlanSerializer(StrictSerializer):
    """What a move would do."""

    goes_to = serializers.CharField(allow_blank=True, help_text="Name of the node that would take it now; empty: none can.")
    why_not = serializers.CharField(allow_blank=True, help_text="What ties it to its node, wherever else there is room.")
    has_files = serializers.BooleanField()
    bytes = serializers.IntegerField(help_text="Of its files, as last measured.")
    stops_for_seconds = serializers.IntegerField(help_text="About how long it will be down.")
    ports = serializers.ListField(child=serializers.CharField(), help_text="Given up; it gets free ones of the new node.")
    candidates = MoveCandidateSerializer(many=True)
    rejected = MoveRejectionSerializer(many=True)
    running = MigrationSerializer(allow_null=True, help_text="The move that goes on.")


class LeftCopySerializer(StrictSerializer):
    """A stopped copy of a container that lives elsewhere by now."""

    id = serializers.UUIDField()
    container = serializers.UUIDField()
    name = serializers.CharField()
    reason = serializers.CharField()
    created_at = serializers.DateTimeField()
    asked_at = serializers.DateTimeField(allow_null=True, help_text="When its node was asked to remove it.")


def plan_of(found: migrate.Plan, *, running: Migration | None) -> dict[str, Any]:
    """A plan for answers."""
    ranking = found.ranking
    return {
        "goes_to": found.goes_to,
        "why_not": found.why_not,
        "has_files": found.has_files,
        "bytes": found.bytes,
        "stops_for_seconds": found.stops_for_seconds,
        "ports": list(found.ports),
        "candidates": [{"node": view.id, "name": view.name, "why": ranking.why[view.id]} for view in ranking.candidates],
        "rejected": [{"node": one.node_id, "name": one.node_name, "rule": one.rule, "reason": one.reason} for one in ranking.rejected],
        "running": running,
    }


class ContainerMigrate(APIView):
    """To another node, with its files."""

    problem_statuses = (409, 422, 423, 503)

    @extend_schema(responses={200: MovePlanSerializer}, parameters=[TO])
    def get(self, request: Request, container_id: str) -> Response:
        """Where it would go and why, why not to the others, and how long it would be down. Changes nothing."""
        container = access.get_container(request.user, container_id, "containers.choose_node")
        asked = request.query_params.get("node")
        to = get_node(request.user, asked) if asked else None
        found = migrate.plan(container, to=to, among=choosable_nodes(request.user))
        return Response(MovePlanSerializer(plan_of(found, running=migrate.running_move(container))).data)

    @extend_schema(request=MigrateSerializer, responses=OPERATION, parameters=[WAIT])
    def post(self, request: Request, container_id: str) -> Response:
        """Begin. It ends on the new node, or where it was; it can be cancelled until its files are whole there."""
        container = access.get_container(request.user, container_id, "containers.choose_node")
        wait_seconds(request)
        body = checked(MigrateSerializer, request.data or {})
        operation = migrate.migrate(
            container,
            user=request.user,
            actor=actor_of(request),
            to=get_node(request.user, body["node"]) if body.get("node") else None,
            cluster=get_cluster(request.user, body["cluster"]) if body.get("cluster") else None,
            reason=body["reason"],
            among=choosable_nodes(request.user),
        )
        return operation_response(request, operation)


class NodeLeftCopies(APIView):
    """Stopped copies that earlier containers left on a node."""

    @extend_schema(responses={200: LeftCopySerializer(many=True)})
    def get(self, request: Request, node_id: str) -> Response:
        node = get_node(request.user, node_id, "nodes.edit")
        return Response(LeftCopySerializer([leftovers.as_data(copy) for copy in leftovers.on_node(node)], many=True).data)


class NodeLeftCopy(APIView):
    """One of them."""

    problem_statuses = (409,)

    @extend_schema(responses={202: LeftCopySerializer})
    def delete(self, request: Request, node_id: str, copy_id: str) -> Response:
        """Have its node remove it, files and all. What the new place lacks is lost then."""
        node = get_node(request.user, node_id, "nodes.edit")
        copy = leftovers.remove(leftovers.get(node, copy_id), actor=actor_of(request))
        return Response(LeftCopySerializer(leftovers.as_data(copy)).data, status=202)
