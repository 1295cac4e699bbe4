"""Rollouts: a version of an egg given to chosen containers, and what each had before."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from containers.models.container import Container
from eggs.models import Egg, EggVersion
from lormas.common.ids import new_id


class Rollout(models.Model):
    """One decision: these containers get that version at their next start."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    egg = models.ForeignKey(Egg, on_delete=models.CASCADE, related_name="rollouts")
    version = models.ForeignKey(EggVersion, on_delete=models.CASCADE, related_name="rollouts")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    reverted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at", "id"]

    def __str__(self) -> str:
        return f"{self.version} on {self.created_at:%Y-%m-%d}"


class RolloutItem(models.Model):
    """One container of a rollout, with all that a revert puts back."""

    class State(models.TextChoices):
        APPLIED = "applied", "Applied"
        REFUSED = "refused", "Refused"
        REVERTED = "reverted", "Reverted"
        KEPT = "kept", "Kept"  # a revert found it changed since and left it alone

    rollout = models.ForeignKey(Rollout, on_delete=models.CASCADE, related_name="items")
    container = models.ForeignKey(Container, on_delete=models.CASCADE, related_name="rollout_items")
    state = models.CharField(max_length=16, choices=State.choices)
    detail = models.CharField(max_length=500, blank=True)
    from_version = models.ForeignKey(EggVersion, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    from_image = models.CharField(max_length=512, blank=True)
    from_startup = models.CharField(max_length=191, blank=True)
    from_variables = models.JSONField(default=dict, blank=True)
    to_image = models.CharField(max_length=512, blank=True)

    class Meta:
        ordering = ["id"]
        constraints = [models.UniqueConstraint(fields=["rollout", "container"], name="rollout_container_once")]

    def __str__(self) -> str:
        return f"{self.container}: {self.state}"
