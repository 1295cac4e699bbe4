"""How much of the pool a role or a person may hold."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q

from accounts.models import Role
from lormas.common.ids import new_id


class Limit(models.Model):
    """Of one role or one person. A person's own goes before their role's, that before the settings; empty = see further."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    user = models.OneToOneField(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, null=True, blank=True, related_name="reservation_limit")
    role = models.OneToOneField(Role, on_delete=models.CASCADE, null=True, blank=True, related_name="reservation_limit")
    max_machines = models.PositiveIntegerField(null=True, blank=True)  # held or booked at a time
    max_reservations = models.PositiveIntegerField(null=True, blank=True)  # open at a time, waiting ones too
    max_minutes = models.PositiveIntegerField(null=True, blank=True)  # of one reservation, extensions included
    max_days_ahead = models.PositiveIntegerField(null=True, blank=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(user__isnull=True) ^ Q(role__isnull=True), name="limit_of_a_user_or_of_a_role"),
        ]

    def __str__(self) -> str:
        return f"limit of {self.user or self.role}"
