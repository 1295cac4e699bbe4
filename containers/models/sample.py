"""Stats: raw samples for hours, minute roll-ups made at ingest."""

from __future__ import annotations

from django.db import models


class StatsSample(models.Model):
    """One sample of one container (or of a node: `subject_id` is then the node's). No foreign keys: written in bulk, kept for hours."""

    subject_id = models.UUIDField()
    time = models.DateTimeField()
    cpu_percent = models.FloatField(default=0)
    memory_bytes = models.BigIntegerField(default=0)
    memory_limit_bytes = models.BigIntegerField(default=0)
    network_rx_bytes = models.BigIntegerField(default=0)
    network_tx_bytes = models.BigIntegerField(default=0)
    block_read_bytes = models.BigIntegerField(default=0)
    block_write_bytes = models.BigIntegerField(default=0)
    pids = models.PositiveIntegerField(default=0)
    disk_bytes = models.BigIntegerField(null=True)  # None: not known (yet)

    class Meta:
        indexes = [models.Index(fields=["subject_id", "time"]), models.Index(fields=["time"])]

    def __str__(self) -> str:
        return f"{self.subject_id} {self.time}"


class StatsMinute(models.Model):
    """Mean and maximum of a minute, made while samples come in; never a group-by over raw ones."""

    subject_id = models.UUIDField()
    minute = models.DateTimeField()
    count = models.PositiveIntegerField(default=0)
    cpu_sum = models.FloatField(default=0)
    cpu_max = models.FloatField(default=0)
    memory_sum = models.BigIntegerField(default=0)
    memory_max = models.BigIntegerField(default=0)
    network_rx_bytes = models.BigIntegerField(default=0)
    network_tx_bytes = models.BigIntegerField(default=0)
    block_read_bytes = models.BigIntegerField(default=0)
    block_write_bytes = models.BigIntegerField(default=0)
    disk_bytes = models.BigIntegerField(null=True)  # the last that was known in this minute

    class Meta:
        constraints = [models.UniqueConstraint(fields=["subject_id", "minute"], name="one_row_per_subject_and_minute")]
        indexes = [models.Index(fields=["minute"])]

    def __str__(self) -> str:
        return f"{self.subject_id} {self.minute}"


class StatsClaim(models.Model):
    """The time of the last report that was taken from a node, by the node's clock: a repeated one is known by it."""

    node_id = models.UUIDField(primary_key=True)
    sampled_at_unix = models.FloatField()

    def __str__(self) -> str:
        return f"{self.node_id} {self.sampled_at_unix}"
