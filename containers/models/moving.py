"""Containers on their way to another node, and what they left behind on an earlier one."""

from __future__ import annotations

from django.db import models

from containers.models.container import Container
from lormas.common.ids import new_id
from nodes.models import Node, Operation


class Phase(models.TextChoices):
    """In order. Up to `verify` it can be taken back at once; from `cut_over` on the new node counts."""

    PREPARE = "prepare", "Preparing the new node"
    SNAPSHOT = "snapshot", "Stopping it"
    COPY = "copy", "Copying its files"
    VERIFY = "verify", "Comparing both copies"
    CUT_OVER = "cut_over", "Starting it on the new node"
    GOING_BACK = "going_back", "Going back to the old node"
    RELEASE = "release", "Removing the old copy"
    DONE = "done", "Moved"
    RETURNED = "returned", "Back where it was"


BEFORE = (Phase.PREPARE, Phase.SNAPSHOT, Phase.COPY, Phase.VERIFY)
HELD = (*BEFORE, Phase.CUT_OVER, Phase.GOING_BACK)
"""The container is locked meanwhile."""
OPEN = (*HELD, Phase.RELEASE)


class Migration(models.Model):
    """One move of a container. All that a panel must know to go on with it after its own death."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    container = models.ForeignKey(Container, on_delete=models.CASCADE, related_name="migrations")
    source = models.ForeignKey(Node, on_delete=models.SET_NULL, null=True, related_name="+")
    target = models.ForeignKey(Node, on_delete=models.SET_NULL, null=True, related_name="+")
    source_name = models.CharField(max_length=64)
    target_name = models.CharField(max_length=64)
    operation = models.ForeignKey(Operation, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")
    reason = models.CharField(max_length=200, blank=True)

    phase = models.CharField(max_length=16, choices=Phase.choices, default=Phase.PREPARE)
    phase_since = models.DateTimeField()
    deadline = models.DateTimeField()  # of the phase
    moved_at = models.DateTimeField()  # when it last came a step on
    commands = models.JSONField(default=dict, blank=True)  # role -> id of the command that this phase waits for
    source_epoch = models.PositiveBigIntegerField()
    target_epoch = models.PositiveBigIntegerField()
    was_running = models.BooleanField()
    has_files = models.BooleanField()
    claimed = models.JSONField(default=dict)  # what the target promised: {"cpus", "memory_bytes", "disk_bytes"}

    placed = models.JSONField(default=dict, blank=True)  # why there: becomes `Container.placed` when it is there

    bytes_total = models.BigIntegerField(default=0)
    bytes_done = models.BigIntegerField(default=0)
    copies = models.PositiveSmallIntegerField(default=0)  # how often all of it was copied anew because the copies differed
    digests = models.JSONField(default=dict, blank=True)  # source, target
    error_code = models.CharField(max_length=64, blank=True)
    error_detail = models.TextField(blank=True)

    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [models.UniqueConstraint(fields=["container"], condition=models.Q(phase__in=HELD), name="one_move_at_a_time")]
        indexes = [models.Index(fields=["phase"], condition=models.Q(phase__in=OPEN), name="containers_open_moves")]

    def __str__(self) -> str:
        return f"{self.container_id}: {self.source_name} -> {self.target_name} ({self.phase})"


class LeftCopy(models.Model):
    """A stopped copy that an earlier node still keeps. Nothing removes it by itself: it may hold what the new place lacks."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    container_id = models.UUIDField()  # no foreign key: the copy may outlive its container
    container_name = models.CharField(max_length=64)
    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="left_copies")
    epoch = models.PositiveBigIntegerField()  # the last one under which it lived there
    reason = models.CharField(max_length=200)
    asked_at = models.DateTimeField(null=True, blank=True)  # when the node was asked to remove it
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created_at"]
        constraints = [models.UniqueConstraint(fields=["container_id", "node"], name="one_left_copy_per_node")]

    def __str__(self) -> str:
        return f"{self.container_name} on {self.node_id}"
