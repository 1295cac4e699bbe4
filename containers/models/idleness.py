"""When a container with an idle timeout was used last, and when it is to stop."""

from __future__ import annotations

from django.db import models

from containers.models.container import Container


class Idleness(models.Model):
    """One row for each container that has (or had) an idle timeout and runs; made by `containers.services.idle`, moved on by `containers.uses`."""

    container = models.OneToOneField(Container, on_delete=models.CASCADE, related_name="idleness", primary_key=True)
    used_at = models.DateTimeField()
    used_by = models.CharField(max_length=32, blank=True)  # what the last use was: terminal, console, files, command, network, power...
    stops_at = models.DateTimeField(null=True, blank=True, db_index=True)  # the deadline; null: it does not run, or has no timeout
    warned_at = models.DateTimeField(null=True, blank=True)  # people were told that it is near; null again with the next use
    stopped_at = models.DateTimeField(null=True, blank=True)  # we stopped it, and nobody has started it since

    def __str__(self) -> str:
        return f"idleness of {self.container_id}"
