"""What the panel knows of logs beside the nodes' own stores: logs that outlive their container, saved searches, alerts."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from containers.models.container import Container
from lormas.common.ids import new_id
from nodes.models import Node


class KeptLog(models.Model):
    """The log of a container that is gone: its node keeps it for LOG_RETENTION_DAYS. `id` is the container's."""

    id = models.UUIDField(primary_key=True)
    name = models.CharField(max_length=64)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="+")
    deleted_at = models.DateTimeField(db_index=True)

    class Meta:
        ordering = ["-deleted_at", "id"]

    def __str__(self) -> str:
        return f"log of {self.name}"


class LogFilter(models.Model):
    """A search that somebody keeps for themselves."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="+")
    name = models.CharField(max_length=64)
    query = models.JSONField(default=dict)  # {"search", "level", "stream", "name"}: as `GET /api/logs` takes them
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["name"]
        constraints = [models.UniqueConstraint(fields=["owner", "name"], name="log_filter_name_once")]

    def __str__(self) -> str:
        return self.name


class LogAlert(models.Model):
    """A pattern that somebody wants to hear of when a container writes it."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    container = models.ForeignKey(Container, on_delete=models.CASCADE, related_name="log_alerts")
    pattern = models.CharField(max_length=256)  # plain text, or `regex:` and a pattern
    is_enabled = models.BooleanField(default=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    seen_seq = models.BigIntegerField(default=-1)  # looked at so far; -1: begins at the log's end
    looked_at = models.DateTimeField(null=True, blank=True)  # its last turn; whose was longest ago is next
    matched_at = models.DateTimeField(null=True, blank=True)
    matched_text = models.CharField(max_length=500, blank=True)
    matches = models.PositiveIntegerField(default=0)
    problem = models.CharField(max_length=255, blank=True)  # why it could not be looked at last time
    timeouts = models.PositiveSmallIntegerField(default=0)  # looks in a row in which its pattern took its node too long
    paused_at = models.DateTimeField(null=True, blank=True)  # it did so too often: not looked at again before it is changed

    class Meta:
        ordering = ["created_at", "id"]

    def __str__(self) -> str:
        return self.pattern
