"""Where containers may go: the shapes of wishes, and the preview."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from lormas.common.api.serializers import StrictSerializer
from nodes import placement, selectors, services
from nodes.access import get_cluster, get_node, visible_nodes
from nodes.api.views import see_nodes

MAX_BYTES = 2**50


class TolerationSerializer(StrictSerializer):
    """Empty = any. `seconds`: how long a NoExecute taint is tolerated; null = for ever."""

    key = serializers.CharField(max_length=63, allow_blank=True, default="")
    value = serializers.CharField(max_length=128, allow_blank=True, default="")
    effect = serializers.ChoiceField(choices=("", *services.TAINT_EFFECTS), default="")
    seconds = serializers.IntegerField(min_value=0, max_value=31_536_000, allow_null=True, default=None)


class AffinitySerializer(StrictSerializer):
    """Near (or `apart` from) nodes of a label, or with `containers` nodes that hold containers of a label. Not `required`: counts `weight`."""

    key = serializers.CharField(max_length=63)
    value = serializers.CharField(max_length=1024, allow_blank=True, default="")
    apart = serializers.BooleanField(default=False)
    containers = serializers.BooleanField(default=False)
    required: Any = serializers.BooleanField(default=True)
    weight = serializers.IntegerField(min_value=1, max_value=100, default=10)

    def get_fields(self) -> dict[str, Any]:
        # `required` is a word of DRF's own for fields; as a field of this body it is declared here.
        return {**super().get_fields(), "required": serializers.BooleanField(default=True)}


class PlacementWishSerializer(StrictSerializer):
    """What a container says of where it wants to be."""

    node_labels = serializers.DictField(child=serializers.CharField(max_length=128, allow_blank=True), default=dict)
    tolerations = TolerationSerializer(many=True, default=list)
    affinity = AffinitySerializer(many=True, default=list)
    movable = serializers.BooleanField(default=True, help_text="May a drain make it anew on another node, where it keeps nothing?")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        for name, most in (("tolerations", 50), ("affinity", 20), ("node_labels", 50)):
            if len(attrs[name]) > most:
                raise serializers.ValidationError({name: [f"At most {most}."]})
        return attrs


class DemandPortSerializer(StrictSerializer):
    """A host port that is asked for."""

    host = serializers.IntegerField(min_value=1, max_value=65535)
    protocol = serializers.ChoiceField(choices=("tcp", "udp"), default="tcp")


class DemandSerializer(StrictSerializer):
    """What a container would need."""

    cpus = serializers.FloatField(min_value=0, max_value=1024, default=0)
    memory_bytes = serializers.IntegerField(min_value=0, max_value=MAX_BYTES, default=0)
    disk_bytes = serializers.IntegerField(min_value=0, max_value=MAX_BYTES, default=0)
    ports = DemandPortSerializer(many=True, default=list)
    node = serializers.UUIDField(required=False, allow_null=True)
    cluster = serializers.UUIDField(required=False, allow_null=True)
    tolerations = TolerationSerializer(many=True, default=list)
    affinity = AffinitySerializer(many=True, default=list)
    labels: Any = serializers.DictField(child=serializers.CharField(max_length=128), default=dict)
    image_arch = serializers.CharField(max_length=32, allow_blank=True, default="")


class CandidateSerializer(StrictSerializer):
    """A node that fits, and why it stands where it stands."""

    node = serializers.UUIDField()
    name = serializers.CharField()
    why = serializers.CharField()
    free_cpus = serializers.FloatField()
    free_memory_bytes = serializers.IntegerField()
    free_storage_bytes = serializers.IntegerField()


class RejectionSerializer(StrictSerializer):
    """A node that does not, and the rule that says so."""

    node = serializers.UUIDField()
    name = serializers.CharField()
    rule = serializers.CharField()
    reason = serializers.CharField()


class RankingSerializer(StrictSerializer):
    """Best first."""

    candidates = CandidateSerializer(many=True)
    rejected = RejectionSerializer(many=True)


def demand_from(body: dict[str, Any]) -> placement.Demand:
    """A validated body as placement takes it."""
    return placement.Demand(
        cpus=body["cpus"],
        memory_bytes=body["memory_bytes"],
        disk_bytes=body["disk_bytes"],
        ports=tuple((port["protocol"], port["host"]) for port in body["ports"]),
        node_id=body.get("node"),
        cluster_id=body.get("cluster"),
        tolerations=tuple(placement.Toleration(**toleration) for toleration in body["tolerations"]),
        affinity=tuple(placement.Affinity(**affinity) for affinity in body["affinity"]),
        labels=body["labels"],
        image_arch=body["image_arch"],
    )


class PlacementPreview(APIView):
    """Where would it go?"""

    @extend_schema(tags=["nodes"], request=DemandSerializer, responses={200: RankingSerializer})
    def post(self, request: Request) -> Response:
        """Rank the nodes for a demand; says for each why it stands there, or which rule refused it. Changes nothing."""
        see_nodes(request)
        serializer = DemandSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        body: dict[str, Any] = serializer.validated_data
        cluster = get_cluster(request.user, body["cluster"]) if body.get("cluster") else None
        if body.get("node"):
            get_node(request.user, body["node"])
        demand = demand_from(body)
        there = selectors.taken_for(demand)
        ranking = placement.rank(
            demand,
            selectors.placement_views(among=visible_nodes(request.user), ports_taken=there.ports, running=there.labels),
            strategy=cluster.strategy if cluster else "spread",
        )
        answer = {
            "candidates": [
                {
                    "node": view.id,
                    "name": view.name,
                    "why": ranking.why[view.id],
                    "free_cpus": view.free_cpus,
                    "free_memory_bytes": int(view.free_memory_bytes),
                    "free_storage_bytes": int(view.free_storage_bytes),
                }
                for view in ranking.candidates
            ],
            "rejected": [{"node": r.node_id, "name": r.node_name, "rule": r.rule, "reason": r.reason} for r in ranking.rejected],
        }
        return Response(RankingSerializer(answer).data)
