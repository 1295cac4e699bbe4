"""Shapes of nodes, clusters and placement (SURFACE section 3)."""

from __future__ import annotations

from rest_framework import serializers

from lormas.common.api.serializers import StrictModelSerializer, StrictSerializer
from nodes import services
from nodes.models import Cluster, Node
from nodes.states import NodeStatus


class TaintSerializer(StrictSerializer):
    """Keeps containers off a node unless they tolerate it."""

    key = serializers.CharField(max_length=63)
    value = serializers.CharField(max_length=128, allow_blank=True, default="")
    effect = serializers.ChoiceField(choices=services.TAINT_EFFECTS)


class NodeSerializer(StrictModelSerializer):
    """A node as everybody who may see nodes sees it."""

    architecture = serializers.CharField(source="cpu_architecture", read_only=True)
    is_ready = serializers.BooleanField(read_only=True)
    is_online = serializers.BooleanField(read_only=True)
    engine_advice = serializers.CharField(read_only=True, help_text="What to do about an engine that is too old; empty = nothing.")
    cluster = serializers.PrimaryKeyRelatedField(read_only=True, allow_null=True)  # type: ignore[var-annotated]
    labels = serializers.DictField(child=serializers.CharField(), read_only=True)
    taints = TaintSerializer(many=True, read_only=True)

    class Meta:
        model = Node
        fields = [
            "id", "name", "description", "cluster", "is_local",
            "hostname", "ip_address", "address", "cpu_cores", "cpu_architecture", "architecture", "total_memory_bytes", "total_storage_bytes",
            "operating_system", "os_image", "kernel_version", "container_runtime", "runtime_kind", "isolates", "kubelet_version",
            "agent_version", "protocol_version", "capabilities",
            "max_pods", "current_pods", "allocated_cpus", "allocated_memory_bytes", "allocated_storage_bytes", "port_first", "port_last",
            "labels", "taints", "status", "status_reason", "status_since", "engine_ok", "engine_error", "engine_advice", "usage", "signals",
            "is_ready", "is_schedulable", "is_online", "last_heartbeat", "last_health_check", "connected_at", "created_at", "updated_at",
        ]  # fmt: skip
        read_only_fields = fields


class NodeWishSerializer(StrictSerializer):
    """What people set. On POST only `name` is needed; on PATCH nothing is."""

    name = serializers.CharField(max_length=64)
    description = serializers.CharField(max_length=255, allow_blank=True, required=False)
    cluster = serializers.PrimaryKeyRelatedField(queryset=Cluster.objects.all(), allow_null=True, required=False)
    labels = serializers.DictField(child=serializers.CharField(max_length=128, allow_blank=True), required=False)
    taints = TaintSerializer(many=True, required=False)
    max_pods = serializers.IntegerField(min_value=0, max_value=10_000, required=False)
    port_first = serializers.IntegerField(min_value=1, max_value=65535, required=False)
    port_last = serializers.IntegerField(min_value=1, max_value=65535, required=False)
    address = serializers.CharField(max_length=255, allow_blank=True, required=False)


class NodeChangeSerializer(NodeWishSerializer):
    """PATCH and PUT."""

    is_schedulable = serializers.BooleanField(required=False)


class InstallSerializer(StrictSerializer):
    """How the machine joins."""

    command = serializers.CharField()


class RegisteredNodeSerializer(StrictSerializer):
    """Answer to POST: the token is shown this once."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    token = serializers.CharField()
    created_at = serializers.DateTimeField()
    install = InstallSerializer()


class TokenSerializer(StrictSerializer):
    """Answer to a rotation: shown this once."""

    id = serializers.UUIDField()
    token = serializers.CharField()
    install = InstallSerializer()


class SchedulableSerializer(StrictSerializer):
    """Absent = toggle."""

    is_schedulable = serializers.BooleanField(required=False)


class StatusSerializer(StrictSerializer):
    """A status set by hand."""

    status = serializers.ChoiceField(choices=NodeStatus.choices)
    reason = serializers.CharField(max_length=200, allow_blank=True, required=False)


class _Capacity(StrictSerializer):
    cpu_cores = serializers.FloatField()
    memory_bytes = serializers.IntegerField()
    storage_bytes = serializers.IntegerField()
    pods = serializers.IntegerField()


class _Quantities(StrictSerializer):
    cpus = serializers.FloatField()
    memory_bytes = serializers.IntegerField()
    storage_bytes = serializers.IntegerField()
    pods = serializers.IntegerField()


class _Percent(StrictSerializer):
    cpu = serializers.FloatField()
    memory = serializers.FloatField()
    storage = serializers.FloatField()
    pods = serializers.FloatField()


class NodeStatsSerializer(StrictSerializer):
    """Sums over the nodes you may see."""

    total = serializers.IntegerField()
    online = serializers.IntegerField()
    by_status = serializers.DictField(child=serializers.IntegerField())
    capacity = _Capacity()
    allocated = _Quantities()
    percent = _Percent()


class ClusterSerializer(StrictModelSerializer):
    """A cluster. `backend` swarm needs `manager`, a node of it whose engine manages the swarm."""

    manager = serializers.PrimaryKeyRelatedField(queryset=Node.objects.all(), allow_null=True, required=False)

    class Meta:
        model = Cluster
        fields = [
            "id", "name", "description", "strategy", "overcommit_cpu", "overcommit_memory", "overcommit_storage", "failover", "labels",
            "backend", "manager", "swarm_id", "created_at", "updated_at",
        ]  # fmt: skip
        read_only_fields = ["id", "swarm_id", "created_at", "updated_at"]
        extra_kwargs = {name: {"min_value": 0.1, "max_value": 100.0} for name in ("overcommit_cpu", "overcommit_memory", "overcommit_storage")}
