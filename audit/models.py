"""The journal (one append-only row per fact) and the stored responses of idempotent requests."""

from __future__ import annotations

from django.db import models

from lormas.common.ids import new_id


class Entry(models.Model):
    """Who did what to what, when, from where. Never changed, never deleted but by retention.

    No foreign keys: the row must outlive all that it speaks of, and this room lies below those.
    """

    time = models.DateTimeField(db_index=True)
    actor_kind = models.CharField(max_length=16)  # user | node | system | anonymous
    actor_id = models.CharField(max_length=64, blank=True, db_index=True)
    actor_label = models.CharField(max_length=255, blank=True)
    action = models.CharField(max_length=64, db_index=True)  # e.g. containers.start
    outcome = models.CharField(max_length=16, default="ok")  # ok | refused | failed
    target_type = models.CharField(max_length=32, blank=True)
    target_id = models.CharField(max_length=64, blank=True)
    target_label = models.CharField(max_length=255, blank=True)
    before = models.JSONField(default=dict, blank=True)
    after = models.JSONField(default=dict, blank=True)
    message = models.TextField(blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    address = models.GenericIPAddressField(null=True, blank=True)
    digest = models.CharField(max_length=80, blank=True, editable=False)
    """`audit.chain.digest` of all the others: shows a row that was changed or invented."""

    class Meta:
        verbose_name_plural = "entries"
        ordering = ["-id"]
        indexes = [models.Index(fields=["target_type", "target_id", "-id"])]

    def __str__(self) -> str:
        return f"{self.actor_label or self.actor_kind} {self.action} {self.target_label}"


class Seal(models.Model):
    """A row's place in the chain (`audit.chain`): consecutive numbers, each digest covers the one before. Never changed."""

    number = models.PositiveBigIntegerField(primary_key=True)
    entry_id = models.BigIntegerField(unique=True)
    digest = models.CharField(max_length=80)
    time = models.DateTimeField()

    class Meta:
        ordering = ["number"]

    def __str__(self) -> str:
        return f"{self.number}: row {self.entry_id}"


class Pruning(models.Model):
    """Rows up to a number were removed lawfully; the chain goes on from `head`. Never changed."""

    up_to = models.PositiveBigIntegerField(unique=True)
    head = models.CharField(max_length=80)
    """Digest of the last seal that went."""
    rows = models.PositiveBigIntegerField()
    time = models.DateTimeField()
    digest = models.CharField(max_length=80)

    class Meta:
        ordering = ["up_to"]

    def __str__(self) -> str:
        return f"up to {self.up_to}"


class StoredResponse(models.Model):
    """What a mutation with an `Idempotency-Key` answered; replayed for 24 h."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    owner = models.CharField(max_length=64)
    key = models.CharField(max_length=255)
    method = models.CharField(max_length=8)
    path = models.CharField(max_length=512)
    body_digest = models.CharField(max_length=64)
    status_code = models.PositiveSmallIntegerField(null=True)  # null = still running
    headers = models.JSONField(default=dict)
    body = models.TextField(blank=True)
    created_at = models.DateTimeField(db_index=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["owner", "key"], name="one_response_per_key")]

    def __str__(self) -> str:
        return f"{self.method} {self.path} {self.key}"
