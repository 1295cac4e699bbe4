"""What lies on nodes: registries to pull from, and containers that nobody knows."""

from __future__ import annotations

from django.db import models

from lormas.common.ids import new_id
from nodes.models.node import Node


class Registry(models.Model):
    """Credentials for one image registry. The password is encrypted and never given out; only nodes get it, with a pull."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=64, unique=True)
    server = models.CharField(max_length=255, unique=True)  # host or host:port, as it stands in image names
    username = models.CharField(max_length=255, blank=True)
    password = models.TextField(blank=True)  # encrypted
    is_shared = models.BooleanField(default=False)  # may everybody's containers be pulled with it?
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name"]
        verbose_name_plural = "registries"

    def __str__(self) -> str:
        return self.name


class Orphan(models.Model):
    """A container with our label that a node reports and no row knows. Reported first; removed after a grace, or kept by hand."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="orphans")
    container_id = models.UUIDField()
    image = models.CharField(max_length=512, blank=True)
    state = models.CharField(max_length=16, blank=True)
    runtime_ref = models.CharField(max_length=128, blank=True)
    epoch = models.PositiveBigIntegerField(default=0)
    first_seen = models.DateTimeField()
    last_seen = models.DateTimeField()
    keep = models.BooleanField(default=False)
    asked_at = models.DateTimeField(null=True, blank=True)  # when its removal was last asked of the node

    class Meta:
        ordering = ["first_seen"]
        constraints = [models.UniqueConstraint(fields=["node", "container_id"], name="orphan_once_per_node")]

    def __str__(self) -> str:
        return f"{self.container_id} on {self.node_id}"
