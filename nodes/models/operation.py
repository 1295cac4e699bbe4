"""Operations: long actions that a person can watch."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from lormas.common.ids import new_id
from nodes.states import OPERATION_OPEN, OperationStatus


class Operation(models.Model):
    """One action from request to end; what SURFACE.md section 1 answers under `/api/operations/{id}`."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    kind = models.CharField(max_length=64)  # e.g. container.start
    status = models.CharField(max_length=16, choices=OperationStatus.choices, default=OperationStatus.QUEUED, db_index=True)
    progress = models.PositiveSmallIntegerField(default=0)
    message = models.CharField(max_length=255, blank=True)
    result = models.JSONField(default=dict, blank=True)
    error_code = models.CharField(max_length=64, blank=True)
    error_detail = models.TextField(blank=True)
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    actor_label = models.CharField(max_length=255, blank=True)
    target_type = models.CharField(max_length=32, blank=True)
    target_id = models.UUIDField(null=True, blank=True)
    target_label = models.CharField(max_length=255, blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    deadline = models.DateTimeField(db_index=True)
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        indexes = [models.Index(fields=["target_type", "target_id", "-created_at"])]

    def __str__(self) -> str:
        return f"{self.kind} {self.target_label} ({self.status})"

    @property
    def is_open(self) -> bool:
        return self.status in OPERATION_OPEN
