"""Nodes: machines on which an agent runs containers."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Lower

from lormas.common.ids import new_id
from nodes.health import engine_advice
from nodes.models.cluster import Cluster
from nodes.states import NodeStatus


class Node(models.Model):
    """One machine. People set name, cluster, labels, taints, limits; the agent reports the rest."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=64)
    description = models.CharField(max_length=255, blank=True)
    cluster = models.ForeignKey(Cluster, on_delete=models.PROTECT, related_name="nodes", null=True, blank=True)
    is_local = models.BooleanField(default=False)  # the agent that `make run` starts beside the panel

    # facts, reported by the agent
    hostname = models.CharField(max_length=255, blank=True)
    ip_address = models.CharField(max_length=64, blank=True)
    cpu_cores = models.FloatField(default=0)
    cpu_architecture = models.CharField(max_length=32, blank=True)
    total_memory_bytes = models.BigIntegerField(default=0)
    total_storage_bytes = models.BigIntegerField(default=0)
    operating_system = models.CharField(max_length=64, blank=True)
    os_image = models.CharField(max_length=128, blank=True)
    kernel_version = models.CharField(max_length=128, blank=True)
    container_runtime = models.CharField(max_length=64, blank=True)
    runtime_kind = models.CharField(max_length=16, blank=True)
    isolates = models.BooleanField(default=True)
    boot_id = models.CharField(max_length=64, blank=True)
    kubelet_version = models.CharField(max_length=64, blank=True)
    agent_version = models.CharField(max_length=32, blank=True)
    protocol_version = models.PositiveSmallIntegerField(default=0)
    capabilities = models.JSONField(default=list, blank=True)

    # limits and wishes, set by people
    max_pods = models.PositiveIntegerField(default=110)
    labels = models.JSONField(default=dict, blank=True)
    taints = models.JSONField(default=list, blank=True)
    port_first = models.PositiveIntegerField(default=25565)
    port_last = models.PositiveIntegerField(default=26564)
    address = models.CharField(max_length=255, blank=True)  # under which published ports are reached; blank = ip_address
    is_schedulable = models.BooleanField(default=True)

    # what is promised to containers; claimed by conditional UPDATE (nodes.services.claim)
    current_pods = models.PositiveIntegerField(default=0)
    allocated_cpus = models.FloatField(default=0)
    allocated_memory_bytes = models.BigIntegerField(default=0)
    allocated_storage_bytes = models.BigIntegerField(default=0)

    # health
    status = models.CharField(max_length=16, choices=NodeStatus.choices, default=NodeStatus.PENDING, db_index=True)
    status_reason = models.CharField(max_length=255, blank=True, default="No agent has joined yet.")
    status_since = models.DateTimeField(auto_now_add=True)
    engine_ok = models.BooleanField(default=True)
    engine_error = models.CharField(max_length=255, blank=True)
    last_heartbeat = models.DateTimeField(null=True, blank=True)
    last_health_check = models.DateTimeField(null=True, blank=True)
    usage = models.JSONField(default=dict, blank=True)  # last agent.protocol.messages.NodeUsage
    signals = models.JSONField(default=dict, blank=True)  # name -> what nodes.health knows of it
    taint_times = models.JSONField(default=dict, blank=True)  # "key=value:effect" -> since when, for tolerations that end

    # the link
    token_id = models.UUIDField(default=new_id)  # `jti` of the token that is good
    previous_token_id = models.UUIDField(null=True, blank=True)
    previous_token_until = models.DateTimeField(null=True, blank=True)
    instance_id = models.CharField(max_length=64, blank=True)  # which agent installation holds the node
    lease_seconds = models.FloatField(default=0)  # after so much silence its agent stops what it runs, as told at its last hello; 0 = never
    session_epoch = models.PositiveBigIntegerField(default=0)  # grows with each accepted hello
    gateway = models.CharField(max_length=128, blank=True)  # panel process that holds the socket; empty = none
    connected_at = models.DateTimeField(null=True, blank=True)
    disconnected_at = models.DateTimeField(null=True, blank=True)

    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(Lower("name"), name="node_name_unique_in_any_case"),
            models.CheckConstraint(condition=models.Q(port_first__lte=models.F("port_last")), name="node_port_range_in_order"),
            models.CheckConstraint(condition=models.Q(allocated_memory_bytes__gte=0), name="node_allocated_memory_not_negative"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_ready(self) -> bool:
        """Takes work now."""
        return self.status == NodeStatus.ACTIVE

    @property
    def is_online(self) -> bool:
        """Heard within the bound, engine or not."""
        return self.status == NodeStatus.ACTIVE or (self.status in (NodeStatus.NOT_READY, NodeStatus.MAINTENANCE) and bool(self.gateway))

    @property
    def engine_advice(self) -> str:
        """What is to be said of an engine that is too old."""
        return engine_advice(self.container_runtime)

    @property
    def public_address(self) -> str:
        """Where published ports are reached."""
        return self.address or self.ip_address or "127.0.0.1"
