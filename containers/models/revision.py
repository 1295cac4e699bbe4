"""Revisions: what a container was wanted to be, each time that changed."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from containers.models.container import Container


class Revision(models.Model):
    """One state of the wish: all that makes a difference to what runs. Never changed; the newest is what is wanted now."""

    container = models.ForeignKey(Container, on_delete=models.CASCADE, related_name="revisions")
    number = models.PositiveIntegerField()
    wish = models.JSONField()  # see `containers.services.revisions.wish_of`
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    author_label = models.CharField(max_length=255, blank=True)
    note = models.CharField(max_length=255, blank=True)
    created_at = models.DateTimeField()

    class Meta:
        ordering = ["-number"]
        constraints = [models.UniqueConstraint(fields=["container", "number"], name="revision_number_once")]

    def __str__(self) -> str:
        return f"{self.container_id} #{self.number}"
