"""What its owner says of how a container is to be kept, beside what it is made of."""

from __future__ import annotations

from django.db import models

from containers.models.container import Container


class ContainerSettings(models.Model):
    """One row a container, made when first asked for (`containers.services.manners.settings_of`)."""

    container = models.OneToOneField(Container, on_delete=models.CASCADE, related_name="manners", primary_key=True)
    startup_script = models.TextField(blank=True)  # run by the container's shell after each start
    readiness = models.JSONField(default=dict, blank=True)  # {"done": [texts], "timeout_seconds"}; empty = as its egg says
    auto_start = models.BooleanField(default=True)  # again when its node or engine comes back
    auto_heal = models.BooleanField(default=False)  # restarted when its health check fails
    idle_timeout_seconds = models.PositiveIntegerField(default=0, db_default=0, db_index=True)  # stopped when unused for so long; 0: never
    healed_at = models.JSONField(default=list, blank=True)  # RFC 3339 times of the last restarts by auto-heal

    def __str__(self) -> str:
        return f"settings of {self.container_id}"
