"""States of nodes, commands and operations, and which moves are legal (pure)."""

from __future__ import annotations

from django.db.models import TextChoices


class NodeStatus(TextChoices):
    """PENDING: registered, never seen. ACTIVE: heard of in time. NOT_READY: silent, or its engine is down. INACTIVE: lost. MAINTENANCE: by hand."""

    PENDING = "PENDING", "Pending"
    ACTIVE = "ACTIVE", "Active"
    NOT_READY = "NOT_READY", "Not ready"
    INACTIVE = "INACTIVE", "Inactive"
    MAINTENANCE = "MAINTENANCE", "Maintenance"


NODE_MOVES: dict[str, frozenset[str]] = {
    NodeStatus.PENDING: frozenset({NodeStatus.ACTIVE, NodeStatus.NOT_READY, NodeStatus.MAINTENANCE, NodeStatus.INACTIVE}),
    NodeStatus.ACTIVE: frozenset({NodeStatus.NOT_READY, NodeStatus.INACTIVE, NodeStatus.MAINTENANCE}),
    NodeStatus.NOT_READY: frozenset({NodeStatus.ACTIVE, NodeStatus.INACTIVE, NodeStatus.MAINTENANCE}),
    NodeStatus.INACTIVE: frozenset({NodeStatus.ACTIVE, NodeStatus.NOT_READY, NodeStatus.MAINTENANCE}),
    NodeStatus.MAINTENANCE: frozenset({NodeStatus.ACTIVE, NodeStatus.NOT_READY, NodeStatus.INACTIVE}),
}


class CommandState(TextChoices):
    """queued -> sent -> acked -> done | failed; or expired, cancelled."""

    QUEUED = "queued", "Queued"
    SENT = "sent", "Sent"
    ACKED = "acked", "Accepted by the agent"
    DONE = "done", "Done"
    FAILED = "failed", "Failed"
    EXPIRED = "expired", "Expired"
    CANCELLED = "cancelled", "Cancelled"


COMMAND_OPEN = (CommandState.QUEUED, CommandState.SENT, CommandState.ACKED)
COMMAND_SETTLED = (CommandState.DONE, CommandState.FAILED, CommandState.EXPIRED, CommandState.CANCELLED)


class OperationStatus(TextChoices):
    """As SURFACE.md section 1 names them."""

    QUEUED = "queued", "Queued"
    RUNNING = "running", "Running"
    SUCCEEDED = "succeeded", "Succeeded"
    FAILED = "failed", "Failed"
    CANCELLED = "cancelled", "Cancelled"
    TIMED_OUT = "timed_out", "Timed out"


OPERATION_OPEN = (OperationStatus.QUEUED, OperationStatus.RUNNING)
