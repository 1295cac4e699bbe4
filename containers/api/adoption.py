"""Doors to containers of a node's engine that no Lormas made, and to taking one over."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.access import require
from containers import validation
from containers.api.serializers import LimitsSerializer
from containers.api.views import ASKS_NODE, OPERATION, WAIT, actor_of, checked
from containers.services import adoption
from containers.spec import Asked
from lormas.common.api.serializers import StrictSerializer
from nodes.access import get_node
from nodes.api.operations import operation_response, wait_seconds
from nodes.models import Node


class ForeignPortSerializer(StrictSerializer):
    """A port it publishes; host_port 0: it gets one."""

    container_port = serializers.IntegerField()
    host_port = serializers.IntegerField()
    protocol = serializers.ChoiceField(choices=["tcp", "udp"])


class ForeignSummarySerializer(StrictSerializer):
    """A container that no Lormas made."""

    ref = serializers.CharField(help_text="The engine's id.")
    name = serializers.CharField()
    image = serializers.CharField()
    state = serializers.CharField()
    ports = ForeignPortSerializer(many=True)


class ForeignListSerializer(StrictSerializer):
    """All of a node. Not allowed: the node's owner has not opened it; `reason` says how."""

    allowed = serializers.BooleanField()
    reason = serializers.CharField(allow_blank=True)
    containers = ForeignSummarySerializer(many=True)


class ForeignNoteSerializer(StrictSerializer):
    """Something that is lost, or stands in the way."""

    code = serializers.CharField()
    message = serializers.CharField()


class ForeignMountSerializer(StrictSerializer):
    """Kept by reference."""

    kind = serializers.ChoiceField(choices=["volume", "bind", "tmpfs"])
    source = serializers.CharField(allow_blank=True)  # type: ignore[assignment]
    target = serializers.CharField()
    read_only = serializers.BooleanField()  # type: ignore[assignment]


class ForeignLimitsSerializer(LimitsSerializer):
    """What it will have."""


class ForeignSerializer(StrictSerializer):
    """What would be taken over. Values of its environment are not shown here."""

    ref = serializers.CharField()
    name = serializers.CharField()
    proposed_name = serializers.CharField()
    image = serializers.CharField()
    running = serializers.BooleanField()
    command = serializers.ListField(child=serializers.CharField(allow_blank=True))
    env_names = serializers.ListField(child=serializers.CharField())
    labels = serializers.DictField(child=serializers.CharField(allow_blank=True))
    limits = ForeignLimitsSerializer()
    ports = ForeignPortSerializer(many=True)
    mounts = ForeignMountSerializer(many=True)
    restart_policy = serializers.CharField()
    lost = ForeignNoteSerializer(many=True, help_text="Not kept; to be accepted.")
    blocking = ForeignNoteSerializer(many=True, help_text="It can't be taken over as long as there is any.")


class AdoptionSerializer(StrictSerializer):
    """Body of `POST …/adopt`. Without limits it keeps its own, or gets the defaults."""

    name = serializers.CharField(max_length=64, required=False, allow_blank=True, default="")
    limits = ForeignLimitsSerializer(required=False)
    accept = serializers.BooleanField(default=False, help_text="What is lost was read.")

    def validate_name(self, value: str) -> str:
        if not value:
            return ""
        try:
            return validation.check_name(value)
        except ValueError as error:
            raise serializers.ValidationError(str(error)) from None


def node_for(user: Any, node_id: UUID) -> Node:
    """The door: who may change the node, and use what belongs to the machine itself."""
    node = get_node(user, node_id, "nodes.edit")
    require(user, "containers.host_access")
    require(user, "containers.create")
    return node


def _ports(ports: Any) -> list[dict[str, Any]]:
    return [{"container_port": port.container_port, "host_port": port.host_port, "protocol": port.protocol} for port in ports]


class NodeForeign(APIView):
    """Containers of its engine that no Lormas made."""

    problem_statuses = ASKS_NODE

    @extend_schema(tags=["nodes"], responses={200: ForeignListSerializer})
    def get(self, request: Request, node_id: UUID) -> Response:
        found = adoption.listing(node_for(request.user, node_id))
        rows = [{"ref": c.ref, "name": c.name, "image": c.image, "state": c.state, "ports": _ports(c.ports)} for c in found.containers]
        return Response(ForeignListSerializer({"allowed": not found.reason, "reason": found.reason, "containers": rows}).data)


class NodeForeignAdopt(APIView):
    """Taking it over: ours is made in its place with its volumes, the old one is stopped and kept."""

    problem_statuses = ASKS_NODE

    @extend_schema(tags=["nodes"], responses={200: ForeignSerializer})
    def get(self, request: Request, node_id: UUID, ref: str) -> Response:
        """What would be taken over, what is lost, what stands in the way."""
        found = adoption.look(node_for(request.user, node_id), ref)
        limits = adoption.limits_for(found)
        body = {
            **{name: getattr(found, name) for name in ("ref", "name", "image", "running", "command", "labels")},
            "proposed_name": adoption.proposed_name(found, user=request.user),
            "env_names": sorted(found.env),
            "limits": {name: getattr(limits, name) for name in ("cpus", "memory_bytes", "swap_bytes", "disk_bytes", "io_weight", "pids")},
            "ports": _ports(found.ports),
            "mounts": [{"kind": m.kind, "source": m.source, "target": m.target, "read_only": m.read_only} for m in found.mounts],
            "restart_policy": str(found.restart.get("Name") or "no"),
            "lost": [{"code": code, "message": text} for code, text in found.lost],
            "blocking": [{"code": code, "message": text} for code, text in found.blocking],
        }
        return Response(ForeignSerializer(body).data)

    @extend_schema(tags=["nodes"], request=AdoptionSerializer, responses=OPERATION, parameters=[WAIT])
    def post(self, request: Request, node_id: UUID, ref: str) -> Response:
        node = node_for(request.user, node_id)
        wait_seconds(request)
        body = checked(AdoptionSerializer, request.data or {})
        asked = Asked(**body["limits"]) if body.get("limits") else None
        _, operation = adoption.adopt(node, ref, name=body["name"], asked=asked, accept=body["accept"], user=request.user, actor=actor_of(request))
        return operation_response(request, operation)
