"""What people ran inside containers, and whose terminals are recorded."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from accounts.models import Role
from containers.models.container import Container
from eggs.models import Egg
from lormas.common.ids import new_id


class ExecRecord(models.Model):
    """One command or terminal of one person: the history under the prompt."""

    class Kind(models.TextChoices):
        COMMAND = "command"
        TERMINAL = "terminal"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    container = models.ForeignKey(Container, on_delete=models.CASCADE, related_name="execs")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    kind = models.CharField(max_length=16, choices=Kind.choices, default=Kind.COMMAND)
    command = models.TextField()  # as it was typed; of a terminal, its name
    working_dir = models.CharField(max_length=4096, blank=True)
    started_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    exit_code = models.IntegerField(null=True, blank=True)
    error = models.CharField(max_length=64, blank=True)  # code, where it never ran or was cut off

    class Meta:
        ordering = ["-started_at", "-id"]
        indexes = [models.Index(fields=["container", "user", "-started_at"]), models.Index(fields=["started_at"])]

    def __str__(self) -> str:
        return self.command[:80]


class RecordingPolicy(models.Model):
    """Terminals of people in this role, or of containers of this egg, are recorded (or not). The egg's word counts before the role's."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    role = models.OneToOneField(Role, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    egg = models.OneToOneField(Egg, on_delete=models.CASCADE, null=True, blank=True, related_name="+")
    record = models.BooleanField(default=True)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["created_at", "id"]
        constraints = [
            models.CheckConstraint(
                name="recording_policy_of_a_role_or_an_egg",
                condition=models.Q(role__isnull=False, egg__isnull=True) | models.Q(role__isnull=True, egg__isnull=False),
            )
        ]

    def __str__(self) -> str:
        return f"{self.role or self.egg}: {'recorded' if self.record else 'not recorded'}"
