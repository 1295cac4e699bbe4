"""A container's Cloudflare tunnel: what its owner wants, and what its node last said of it."""

from __future__ import annotations

from django.db import models

from containers.models.container import Container


class ContainerTunnel(models.Model):
    """One row a container, made when somebody first gives a token. `version` grows with each wish; the node is told until `told_*` agree."""

    container = models.OneToOneField(Container, on_delete=models.CASCADE, related_name="tunnel", primary_key=True)
    sealed_token = models.TextField(blank=True)  # encrypted; empty: none is kept
    wanted = models.BooleanField(default=False)
    version = models.PositiveIntegerField(default=0)
    told_version = models.PositiveIntegerField(default=0)
    told_epoch = models.PositiveIntegerField(default=0)  # the placement whose node was told

    # what its node said when it was last asked
    state = models.CharField(max_length=16, default="off")
    detail = models.CharField(max_length=500, blank=True)
    urls = models.JSONField(default=list, blank=True)
    connections = models.PositiveIntegerField(default=0)
    restarts = models.PositiveIntegerField(default=0)
    state_since = models.DateTimeField(null=True, blank=True)
    checked_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"tunnel of {self.container_id}"
