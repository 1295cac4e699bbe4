"""Containers: what people run."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models

from containers.querysets import ContainerQuerySet
from containers.states import Desired, InstallState, Status
from eggs.models import Egg, EggVersion
from lormas.common.ids import new_id
from nodes.models import Node, Operation


class Container(models.Model):
    """One container: the wish (`desired`, settings), the observation (`observed`), and the word that people read (`status`)."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    name = models.CharField(max_length=64)
    description = models.CharField(max_length=255, blank=True)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="containers")
    node = models.ForeignKey(Node, on_delete=models.PROTECT, related_name="containers", null=True, blank=True)
    egg = models.ForeignKey(Egg, on_delete=models.PROTECT, related_name="containers", null=True, blank=True)
    egg_version = models.ForeignKey(EggVersion, on_delete=models.PROTECT, related_name="containers", null=True, blank=True)

    # the wish
    image = models.CharField(max_length=512)
    command = models.JSONField(default=list, blank=True)  # argv; empty = the image's own
    env = models.JSONField(default=dict, blank=True)  # straight from the owner (image containers)
    variables = models.JSONField(default=dict, blank=True)  # values of the egg's variables
    startup = models.CharField(max_length=191, blank=True)  # name of the egg's startup command; empty = its first
    labels = models.JSONField(default=dict, blank=True)
    mounts = models.JSONField(default=list, blank=True)
    cpus = models.FloatField(default=0)
    memory_bytes = models.BigIntegerField(default=0)
    swap_bytes = models.BigIntegerField(default=0)
    disk_bytes = models.BigIntegerField(default=0)
    io_weight = models.PositiveIntegerField(default=0)
    pids = models.PositiveIntegerField(default=512)
    restart_policy = models.CharField(
        max_length=16,
        default="unless-stopped",
        choices=[("no", "Never"), ("on-failure", "On failure"), ("unless-stopped", "Unless stopped"), ("always", "Always")],
    )
    placement = models.JSONField(default=dict, blank=True)  # {"node_labels", "tolerations", "affinity", "movable"}: see nodes.api.placement
    made_of = models.JSONField(default=dict, blank=True)  # of one that was taken over: {"entrypoint", "working_dir", "user", "tty"}
    adopted_ref = models.CharField(max_length=128, blank=True)  # the engine's id of what it was taken over from
    placed = models.JSONField(default=dict, blank=True)  # why it is on its node, as told then: {"why", "at", "rejected": [[node, rule, reason]]}
    is_session = models.BooleanField(default=False)
    registry = models.JSONField(default=dict, blank=True)  # {"server", "username", "password": encrypted}
    desired = models.CharField(max_length=16, choices=Desired.choices, default=Desired.STOPPED)
    spec = models.JSONField(default=dict, blank=True)  # the ContainerSpec last sent
    spec_changed = models.BooleanField(default=False)  # settings differ from what the node has: the next start makes it anew

    # the observation: only facts with a newer (epoch, seq) are taken
    epoch = models.PositiveBigIntegerField(default=1)
    observed = models.CharField(max_length=16, blank=True)
    observed_seq = models.BigIntegerField(default=0)
    observed_at = models.DateTimeField(null=True, blank=True)
    runtime_ref = models.CharField(max_length=128, blank=True)
    exit_code = models.IntegerField(null=True, blank=True)
    oom_killed = models.BooleanField(default=False)
    health = models.CharField(max_length=16, blank=True)
    health_text = models.CharField(max_length=255, blank=True)  # what its last failed check printed
    started_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    last_log_seq = models.BigIntegerField(default=0)
    readiness = models.CharField(max_length=16, blank=True)  # waiting, ready, late: has its console said that it is ready?
    features_seen = models.JSONField(default=list, blank=True)  # what its console has asked for since its last start
    prompts = models.JSONField(default=list, blank=True)  # of these, what nobody has answered yet
    stats = models.JSONField(default=dict, blank=True)  # last sample, with its time

    # the word
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.CREATING)
    status_reason = models.CharField(max_length=255, blank=True)
    status_since = models.DateTimeField(auto_now_add=True)
    status_deadline = models.DateTimeField(null=True, blank=True, db_index=True)
    operation = models.ForeignKey(Operation, on_delete=models.SET_NULL, null=True, blank=True, related_name="+")  # the lock: at most one runs
    install_state = models.CharField(max_length=16, blank=True, choices=InstallState.choices)
    restarts = models.PositiveIntegerField(default=0)
    restart_at = models.DateTimeField(null=True, blank=True)

    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True)

    objects = ContainerQuerySet.as_manager()

    class Meta:
        ordering = ["-created_at", "id"]
        constraints = [
            models.UniqueConstraint(fields=["owner", "name"], condition=models.Q(deleted_at__isnull=True), name="container_name_unique_per_owner"),
            models.UniqueConstraint(fields=["node", "adopted_ref"], condition=~models.Q(adopted_ref=""), name="container_adopted_once"),
        ]
        indexes = [
            models.Index(fields=["owner", "-created_at"]),
            models.Index(fields=["node", "-created_at"]),
            models.Index(fields=["status", "-created_at"]),
            models.Index(fields=["-created_at", "id"]),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def running_operation(self) -> Operation | None:
        """The operation that holds the lock, if it is still open."""
        return self.operation if self.operation is not None and self.operation.is_open else None

    @property
    def primary_port(self) -> Any | None:
        """The port to show first; uses prefetched ports."""
        return next(iter(self.ports.all()), None)

    @property
    def published(self) -> list[tuple[Any, str]]:
        """(port, its protocols), one for each number although TCP and UDP are ports of their own; uses prefetched ports."""
        found: dict[tuple[int, int], list[Any]] = {}
        for port in self.ports.all():
            found.setdefault((port.host_port, port.container_port), []).append(port)
        return [(ports[0], "+".join(port.protocol for port in ports)) for ports in found.values()]

    @property
    def address(self) -> str:
        """`host:port` of the primary port, or an empty text."""
        port = self.primary_port
        return f"{self.node.public_address}:{port.host_port}" if port is not None and self.node is not None else ""
