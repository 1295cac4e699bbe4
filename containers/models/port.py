"""Published ports: promised in the schema, so that none is given twice."""

from __future__ import annotations

from django.db import models

from containers.models.container import Container
from containers.models.moving import Migration
from nodes.models import Node


class Port(models.Model):
    """One host port of a node, held by a container from create to delete."""

    container = models.ForeignKey(Container, on_delete=models.CASCADE, related_name="ports", null=True, blank=True)
    migration = models.ForeignKey(Migration, on_delete=models.CASCADE, related_name="ports", null=True, blank=True)
    """Held for a container that is on its way, on the node where it does not live now: so that it can arrive, or come back."""
    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="ports")
    container_port = models.PositiveIntegerField()
    host_port = models.PositiveIntegerField()
    protocol = models.CharField(max_length=3, default="tcp", choices=[("tcp", "TCP"), ("udp", "UDP")])
    is_primary = models.BooleanField(default=False)
    automatic = models.BooleanField(default=False)  # the panel chose the host port, and may choose another one
    follows = models.BooleanField(default=False)  # it listens inside on the number it has outside

    class Meta:
        ordering = ["-is_primary", "id"]
        constraints = [
            models.UniqueConstraint(fields=["node", "protocol", "host_port"], name="host_port_held_once"),
            models.CheckConstraint(
                condition=models.Q(container__isnull=False, migration__isnull=True) | models.Q(container__isnull=True, migration__isnull=False),
                name="port_of_a_container_or_a_move",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.host_port}->{self.container_port}/{self.protocol}"
