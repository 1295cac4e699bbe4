"""Eggs: container templates, and their versions."""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models

from accounts.grant_models import RoleGrant, UserGrant
from lormas.common.ids import new_id


class Egg(models.Model):
    """A container template. What it says at a time is an `EggVersion`; containers keep theirs until moved."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    uuid = models.UUIDField(unique=True, default=uuid.uuid4)  # identity for updates, from the file where it has one
    name = models.CharField(max_length=191)
    author = models.CharField(max_length=255, blank=True)
    description = models.TextField(blank=True)
    category = models.CharField(max_length=64, blank=True)
    tags = models.JSONField(default=list, blank=True)
    icon = models.TextField(blank=True)  # a lucide icon's name, or a sanitised data: URL
    is_bundled = models.BooleanField(default=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="eggs")
    current = models.ForeignKey("EggVersion", on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["name"]

    def __str__(self) -> str:
        return self.name


class EggVersion(models.Model):
    """One state of an egg, never changed. `definition` is `eggs.definition.EggDefinition` as plain JSON."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    egg = models.ForeignKey(Egg, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    source_format = models.CharField(max_length=32)  # PTDL_v2, ...
    definition = models.JSONField()
    digest = models.CharField(max_length=64)  # SHA-256 of the canonical definition: the same file again makes no new version
    warnings = models.JSONField(default=list, blank=True)
    hidden = models.JSONField(default=list, blank=True)  # upper-case names of the variables that only those who manage eggs see
    privileges = models.JSONField(default=list, blank=True)  # what it asks of the machine: [{kind, value}]
    approved_at = models.DateTimeField(null=True, blank=True)  # an administrator let it have exactly these privileges
    approved_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")

    class Meta:
        ordering = ["egg", "-number"]
        constraints = [models.UniqueConstraint(fields=["egg", "number"], name="egg_version_number_unique")]

    def __str__(self) -> str:
        return f"{self.egg} v{self.number}"

    @property
    def needs_approval(self) -> bool:
        """It asks for something of the machine, and nobody has allowed it yet."""
        return bool(self.privileges) and self.approved_at is None


class EggUserGrant(UserGrant):
    """Rights of a person on one egg (`accounts.grants`)."""

    content_object = models.ForeignKey(Egg, on_delete=models.CASCADE, related_name="+")

    class Meta(UserGrant.Meta):
        pass


class EggRoleGrant(RoleGrant):
    """Rights of a role on one egg."""

    content_object = models.ForeignKey(Egg, on_delete=models.CASCADE, related_name="+")

    class Meta(RoleGrant.Meta):
        pass
