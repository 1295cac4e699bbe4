"""Clusters: nodes that share a placement strategy."""

from __future__ import annotations

from django.db import models

from lormas.common.ids import new_id


class Cluster(models.Model):
    """A group of nodes with one placement strategy and failover policy."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=64, unique=True)
    description = models.CharField(max_length=255, blank=True)
    strategy = models.CharField(max_length=16, default="spread", choices=[("binpack", "Binpack"), ("spread", "Spread")])
    overcommit_cpu = models.FloatField(default=1.0)
    overcommit_memory = models.FloatField(default=1.0)
    overcommit_storage = models.FloatField(default=1.0)
    failover = models.CharField(
        max_length=16, default="never", choices=[("never", "Never"), ("restart_empty", "Restart empty"), ("restore_backup", "Restore backup")]
    )
    labels = models.JSONField(default=dict, blank=True)
    backend = models.CharField(max_length=16, default="engines", choices=[("engines", "Single engines"), ("swarm", "Docker Swarm")])
    manager = models.ForeignKey("nodes.Node", on_delete=models.SET_NULL, null=True, blank=True, related_name="+")  # the first to be asked
    swarm_id = models.CharField(max_length=64, blank=True)  # the one swarm that is meant, told by the manager when it was chosen
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name
