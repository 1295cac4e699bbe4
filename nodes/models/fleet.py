"""What people plan for nodes: onboarding keys, maintenance windows, drains."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from lormas.common.ids import new_id
from nodes.models.cluster import Cluster
from nodes.models.node import Node
from nodes.models.operation import Operation


class OnboardingKey(models.Model):
    """With one such key many machines join by themselves. Only its hash is stored; `uses` is claimed by conditional UPDATE."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=64)
    prefix = models.CharField(max_length=16)  # shown, to tell keys apart
    digest = models.CharField(max_length=64, unique=True)
    cluster = models.ForeignKey(Cluster, on_delete=models.SET_NULL, related_name="onboarding_keys", null=True, blank=True)
    labels = models.JSONField(default=dict, blank=True)
    taints = models.JSONField(default=list, blank=True)
    name_prefix = models.CharField(max_length=32, blank=True)
    max_uses = models.PositiveIntegerField(default=1)
    uses = models.PositiveIntegerField(default=0)
    expires_at = models.DateTimeField()
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [models.CheckConstraint(condition=models.Q(uses__lte=models.F("max_uses")), name="onboarding_key_not_overused")]

    def __str__(self) -> str:
        return self.name


class Onboarding(models.Model):
    """Which machine joined with which key: a repeat of the same installation gets the same node, and counts once."""

    key = models.ForeignKey(OnboardingKey, on_delete=models.CASCADE, related_name="joined")
    node = models.OneToOneField(Node, on_delete=models.CASCADE, related_name="onboarding")
    instance_id = models.CharField(max_length=64)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["key", "instance_id"], name="one_node_per_key_and_installation")]

    def __str__(self) -> str:
        return f"{self.instance_id} by {self.key_id}"


class MaintenanceWindow(models.Model):
    """A planned time in which a node (or all nodes of a cluster) takes no work. Moved on by the job `nodes.maintenance`."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="windows", null=True, blank=True)
    cluster = models.ForeignKey(Cluster, on_delete=models.CASCADE, related_name="windows", null=True, blank=True)
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField()
    reason = models.CharField(max_length=200, blank=True)
    drain = models.BooleanField(default=False)
    state = models.CharField(
        max_length=16,
        default="planned",
        choices=[("planned", "Planned"), ("active", "Active"), ("ended", "Ended"), ("cancelled", "Cancelled")],
    )
    held = models.JSONField(default=list, blank=True)  # ids of nodes that this window put into maintenance: only those are let go at its end
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["starts_at"]
        constraints = [
            models.CheckConstraint(condition=models.Q(starts_at__lt=models.F("ends_at")), name="window_in_order"),
            models.CheckConstraint(
                condition=models.Q(node__isnull=False, cluster__isnull=True) | models.Q(node__isnull=True, cluster__isnull=False),
                name="window_of_a_node_or_a_cluster",
            ),
        ]
        indexes = [models.Index(fields=["state", "starts_at"])]

    def __str__(self) -> str:
        return f"{self.starts_at:%Y-%m-%d %H:%M} {self.reason}"


class Drain(models.Model):
    """One emptying of a node, moved on by the warden until nothing runs there any more, or its deadline is over."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="drains")
    operation = models.ForeignKey(Operation, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    state = models.CharField(
        max_length=16, default="running", choices=[("running", "Running"), ("done", "Done"), ("failed", "Failed"), ("cancelled", "Cancelled")]
    )
    deadline = models.DateTimeField()
    force = models.BooleanField(default=False)
    message = models.CharField(max_length=200, blank=True)
    was_schedulable = models.BooleanField(default=True)
    items = models.JSONField(default=list, blank=True)  # {"id", "name", "act": move|stop, "state": waiting|asked|done|failed, "detail"}
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [models.UniqueConstraint(fields=["node"], condition=models.Q(state="running"), name="one_running_drain_per_node")]

    def __str__(self) -> str:
        return f"drain of {self.node_id} ({self.state})"
