"""Backups of containers' data folders: where they are kept, what is kept, and the work that makes, proves and restores them."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from containers.models.container import Container
from lormas.common.ids import new_id
from nodes.models import Operation


class BackupDestination(models.Model):
    """Where archives are kept. Administrators make them; the secret is encrypted and never returned."""

    class Kind(models.TextChoices):
        LOCAL = "local", "Folder of the panel"
        S3 = "s3", "S3-compatible storage"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=64, unique=True)
    kind = models.CharField(max_length=8, choices=Kind.choices)
    config = models.JSONField(default=dict, blank=True)  # local: {"folder"}; s3: {"bucket", "prefix", "endpoint", "region"}
    secret = models.TextField(blank=True)  # encrypted JSON: {"access_key", "secret_key"}
    is_default = models.BooleanField(default=False)
    is_enabled = models.BooleanField(default=True)
    tested_at = models.DateTimeField(null=True, blank=True)
    problem = models.CharField(max_length=255, blank=True)  # what the last test or use ran into; empty: it works
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ["-is_default", "name"]
        constraints = [models.UniqueConstraint(fields=["is_default"], condition=models.Q(is_default=True), name="one_default_backup_destination")]

    def __str__(self) -> str:
        return self.name


class BackupPolicy(models.Model):
    """How one container's backups are made and kept; without a row the panel's settings count."""

    container = models.OneToOneField(Container, on_delete=models.CASCADE, primary_key=True, related_name="backup_policy")
    keep = models.PositiveIntegerField(null=True, blank=True)  # good ones; the oldest that is not locked goes. null: BACKUP_KEEP
    ignore = models.JSONField(default=list, blank=True)  # patterns as in a .gitignore
    destination = models.ForeignKey(BackupDestination, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")  # null: the default one
    most_count = models.PositiveIntegerField(null=True, blank=True)  # set by administrators; null: BACKUP_LIMIT
    most_bytes = models.BigIntegerField(null=True, blank=True)  # set by administrators; null: BACKUP_BYTES

    def __str__(self) -> str:
        return f"backups of {self.container_id}"


class Backup(models.Model):
    """One archive. Only `good` ones are whole, and their checksum was right when they were written."""

    class State(models.TextChoices):
        PENDING = "pending", "Waiting"
        RUNNING = "running", "Running"
        GOOD = "good", "Good"
        FAILED = "failed", "Failed"
        DELETING = "deleting", "Being deleted"

    class Proof(models.TextChoices):
        NONE = "", "Not tried"
        PROVEN = "proven", "Proven"
        FAILED = "failed", "Did not start"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    container = models.ForeignKey(Container, on_delete=models.SET_NULL, null=True, related_name="backups")  # null: it is gone for good
    container_name = models.CharField(max_length=64)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    destination = models.ForeignKey(BackupDestination, on_delete=models.PROTECT, related_name="backups")
    key = models.CharField(max_length=255)  # its name at the destination
    name = models.CharField(max_length=100, blank=True)
    state = models.CharField(max_length=8, choices=State.choices, default=State.PENDING)
    error_code = models.CharField(max_length=64, blank=True)
    error = models.CharField(max_length=500, blank=True)
    ignore = models.JSONField(default=list, blank=True)
    was_stopped = models.BooleanField(default=False)  # nothing ran while it was made: all files are of one moment
    size_bytes = models.BigIntegerField(default=0)  # of the archive
    content_bytes = models.BigIntegerField(default=0)  # of the files in it
    files = models.PositiveIntegerField(default=0)
    sha256 = models.CharField(max_length=64, blank=True)
    left_out = models.PositiveIntegerField(default=0)  # could not be read: pipes, sockets, gone meanwhile
    is_locked = models.BooleanField(default=False)  # never rotated away, never deleted
    by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    by_label = models.CharField(max_length=255, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    checked_at = models.DateTimeField(null=True, blank=True)  # its bytes were read again
    is_damaged = models.BooleanField(default=False)  # and their checksum was another one
    proof = models.CharField(max_length=8, choices=Proof.choices, default=Proof.NONE, blank=True)
    proof_at = models.DateTimeField(null=True, blank=True)
    proof_detail = models.CharField(max_length=500, blank=True)

    class Meta:
        ordering = ["-created_at", "-id"]
        indexes = [models.Index(fields=["container", "-created_at"]), models.Index(fields=["state", "created_at"])]

    def __str__(self) -> str:
        return self.name or f"{self.container_name} {self.created_at:%Y-%m-%d %H:%M}"

    @property
    def is_usable(self) -> bool:
        """May it be restored?"""
        return self.state == self.State.GOOD and not self.is_damaged


class BackupWork(models.Model):
    """Work on a backup that a worker carries out: claimed by conditional UPDATE, with a sign of life. What loses its worker is settled by a sweep."""

    class Kind(models.TextChoices):
        CREATE = "create", "Backup"
        RESTORE = "restore", "Restore"
        VERIFY = "verify", "Check"
        DRILL = "drill", "Restore drill"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    kind = models.CharField(max_length=8, choices=Kind.choices)
    backup = models.ForeignKey(Backup, on_delete=models.CASCADE, related_name="work")
    container = models.ForeignKey(Container, on_delete=models.CASCADE, related_name="backup_work")  # whom it is about; of a restore: into which
    operation = models.OneToOneField(Operation, on_delete=models.CASCADE, related_name="+")
    options = models.JSONField(default=dict, blank=True)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    is_open = models.BooleanField(default=True)
    worker = models.CharField(max_length=64, blank=True)
    alive_at = models.DateTimeField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [models.UniqueConstraint(fields=["container"], condition=models.Q(is_open=True), name="one_backup_work_per_container")]
        indexes = [models.Index(fields=["is_open", "created_at"])]

    def __str__(self) -> str:
        return f"{self.kind} {self.backup_id}"
