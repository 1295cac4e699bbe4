"""Periodic work: who holds it now, and how it went."""

from __future__ import annotations

from django.db import models

from lormas.common.ids import new_id


class Lease(models.Model):
    """A right that one holder has for a time; taken by conditional UPDATE (`nodes.leases`). `fence` grows with each taking."""

    name = models.CharField(max_length=96, primary_key=True)
    fence = models.PositiveBigIntegerField(default=0)
    holder = models.CharField(max_length=160, blank=True)
    held_until = models.DateTimeField(null=True, blank=True)
    taken_at = models.DateTimeField(null=True, blank=True)

    def __str__(self) -> str:
        return f"{self.name} #{self.fence}"


class JobRun(models.Model):
    """One run of a periodic job. `abandoned`: its process died, and another one took the lease over."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    job = models.CharField(max_length=64)
    fence = models.PositiveBigIntegerField(default=0)
    trigger = models.CharField(max_length=16, default="schedule", choices=[("schedule", "Schedule"), ("person", "By hand")])
    actor_label = models.CharField(max_length=255, blank=True)
    status = models.CharField(
        max_length=16,
        default="running",
        choices=[("running", "Running"), ("succeeded", "Succeeded"), ("failed", "Failed"), ("abandoned", "Abandoned")],
    )
    result = models.JSONField(default=dict, blank=True)
    error = models.TextField(blank=True)
    started_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-started_at"]
        indexes = [models.Index(fields=["job", "-started_at"])]

    def __str__(self) -> str:
        return f"{self.job} {self.status}"
