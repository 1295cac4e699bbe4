"""What happened to a node: its timeline."""

from __future__ import annotations

from django.db import models

from nodes.models.node import Node


class NodeEvent(models.Model):
    """One line of a node's timeline. `status` events carry the move in `before` and `after`; the uptime bar is drawn of them."""

    id = models.BigAutoField(primary_key=True)
    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="events")
    time = models.DateTimeField()
    kind = models.CharField(
        max_length=16,
        choices=[
            ("status", "Status"),
            ("joined", "Joined"),
            ("left", "Left"),
            ("signal", "Signal"),
            ("upgrade", "Upgrade"),
            ("drain", "Drain"),
            ("maintenance", "Maintenance"),
            ("orphan", "Orphan"),
        ],
    )
    level = models.CharField(max_length=8, default="info", choices=[("info", "Info"), ("warning", "Warning"), ("error", "Error")])
    before = models.CharField(max_length=32, blank=True)
    after = models.CharField(max_length=32, blank=True)
    message = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["-time", "-id"]
        indexes = [models.Index(fields=["node", "-time"]), models.Index(fields=["time"])]

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"
