"""Commands: durable messages to one agent."""

from __future__ import annotations

from django.db import models

from agent.protocol.messages import ContainerReport
from lormas.common.ids import new_id
from nodes.models.node import Node
from nodes.models.operation import Operation
from nodes.states import COMMAND_OPEN, CommandState


class Command(models.Model):
    """One act asked of an agent. Its id is the idempotency key; it is settled once (`nodes.commands.settle`)."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    sequence = models.PositiveBigIntegerField()  # order within the node: grows with each command
    node = models.ForeignKey(Node, on_delete=models.CASCADE, related_name="commands")
    operation = models.ForeignKey(Operation, on_delete=models.CASCADE, related_name="commands", null=True, blank=True)
    kind = models.CharField(max_length=64)
    subject_id = models.UUIDField(null=True, blank=True, db_index=True)  # the container; no foreign key: that room lies above
    epoch = models.PositiveBigIntegerField(default=0)  # placement epoch of the subject
    payload = models.JSONField(default=dict)  # secrets inside are encrypted: see nodes.commands
    state = models.CharField(max_length=16, choices=CommandState.choices, default=CommandState.QUEUED)
    attempts = models.PositiveIntegerField(default=0)
    progress = models.PositiveSmallIntegerField(default=0)
    message = models.CharField(max_length=255, blank=True)
    result = models.JSONField(default=dict, blank=True)
    error_code = models.CharField(max_length=64, blank=True)
    error_detail = models.TextField(blank=True)
    request_id = models.CharField(max_length=64, blank=True)
    deadline = models.DateTimeField()
    created_at = models.DateTimeField(auto_now_add=True)
    sent_at = models.DateTimeField(null=True, blank=True)
    acked_at = models.DateTimeField(null=True, blank=True)
    settled_at = models.DateTimeField(null=True, blank=True)

    report: ContainerReport | None = None
    """Transient: what the agent saw when it ended; set by `nodes.commands.settle` for the handler."""

    class Meta:
        ordering = ["sequence"]
        constraints = [models.UniqueConstraint(fields=["node", "sequence"], name="command_order_within_node")]
        indexes = [
            models.Index(fields=["node", "sequence"], condition=models.Q(state__in=COMMAND_OPEN), name="open_commands_of_node"),
            models.Index(fields=["deadline"], condition=models.Q(state__in=COMMAND_OPEN), name="open_commands_by_deadline"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} for {self.subject_id} ({self.state})"

    @property
    def is_open(self) -> bool:
        return self.state in COMMAND_OPEN
