"""What containers used. No foreign keys: usage outlives the container, its owner's account and its node."""

from __future__ import annotations

from django.db import models


class UsageHour(models.Model):
    """One container in one hour (UTC, begins at minute 0). Times integrals: a byte-second is a byte held for a second."""

    container_id = models.UUIDField()
    hour = models.DateTimeField()
    owner_id = models.UUIDField(help_text="Whose it was when the hour's first sample came.")
    container_name = models.CharField(max_length=255)
    cpu_core_seconds = models.FloatField(default=0)
    memory_byte_seconds = models.FloatField(default=0)
    disk_byte_seconds = models.FloatField(default=0)
    network_rx_bytes = models.BigIntegerField(default=0)
    network_tx_bytes = models.BigIntegerField(default=0)
    running_seconds = models.FloatField(default=0)
    seconds_unmeasured = models.FloatField(default=0, help_text="Of which no sample told: memory and disk in them are not counted.")
    seconds_without_cpu = models.FloatField(default=0, help_text="Measured by an agent too old to tell CPU totals.")
    seconds_without_disk = models.FloatField(default=0, help_text="Sampled while the agent did not know yet what is on the disk.")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["container_id", "hour"], name="one_usage_row_per_container_and_hour")]
        indexes = [models.Index(fields=["owner_id", "hour"]), models.Index(fields=["hour"])]

    def __str__(self) -> str:
        return f"{self.container_name} {self.hour}"


class UsageCursor(models.Model):
    """The last sample that was counted of a container: what differences are made to."""

    container_id = models.UUIDField(primary_key=True)
    at_unix = models.FloatField()
    started_at = models.CharField(max_length=40, blank=True)
    cpu_seconds = models.FloatField(null=True)
    network_rx_bytes = models.BigIntegerField()
    network_tx_bytes = models.BigIntegerField()
    memory_bytes = models.BigIntegerField()
    disk_bytes = models.BigIntegerField(null=True)

    def __str__(self) -> str:
        return f"{self.container_id} {self.at_unix}"
