"""What the gateway reads and writes: admission, commands to send, what agents report. Synchronous; runs in `threads.in_database`.

Everything an agent says is clamped to what the columns hold: agents are trusted with their own machine and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import structlog
from django.conf import settings
from django.db import transaction
from django.db.models import DateTimeField, Value
from django.db.models.functions import Greatest

from agent.protocol import messages as wire
from lormas.common import clock
from lormas.common.wires import resolve, wired
from nodes import commands, events, health, orphans, services, tokens
from nodes.models import Command, Node
from nodes.states import NodeStatus

log = structlog.get_logger(__name__)

MAX_INT = 2**62
LIVE_SECONDS = 25
"""An installation heard of so recently holds the node against another one that has the same token."""


class Refusal(Exception):
    """The agent is not let in; see `agent.protocol.messages.Refused`."""

    CLOSE = {"protocol_too_old": 4426, "protocol_too_new": 4426, "bad_token": 4401, "unknown_node": 4401, "too_many": 4429}

    def __init__(self, code: str, reason: str, *, retry_after_seconds: float = 5) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason
        self.retry_after_seconds = retry_after_seconds

    @property
    def close_code(self) -> int:
        return self.CLOSE.get(self.code, 4403)


@dataclass(frozen=True, slots=True)
class Admission:
    """A hello that was accepted."""

    node_id: UUID
    node_name: str
    epoch: int
    protocol: int
    fenced: tuple[str, ...]
    strangers: frozenset[str]
    """Containers the agent still holds though they live elsewhere: what it says of them is dropped without blame."""
    engine_error: str = ""
    lease_seconds: float = 0


@dataclass(slots=True)
class Taken:
    """What came of a batch of reports: answers to send, and how often the agent spoke of what is not its own."""

    answers: list[wire.Frame] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)


def text(value: str, limit: int) -> str:
    """Fit for a column: no NUL (PostgreSQL refuses it), not too long."""
    return value.replace("\x00", "")[:limit]


def count(value: int) -> int:
    return max(0, min(int(value), MAX_INT))


def uuid_of(value: str) -> UUID | None:
    try:
        return UUID(value)
    except ValueError:
        return None


def authenticate(token: str) -> UUID:
    """The node id that the token speaks for; raises `tokens.BadToken`."""
    node_id: UUID = tokens.node_of(token).pk
    return node_id


def foreign(node_id: UUID, container_ids: set[str]) -> dict[str, int]:
    """Which of these live on another node, with their placement epoch there (asked of the rooms above)."""
    good = {str(parsed) for parsed in map(uuid_of, container_ids) if parsed}
    found: dict[str, int] = {}
    for dotted in wired("NODE_FOREIGN"):
        if good:
            found.update(resolve(dotted)(node_id, good))
    return found


def negotiate(hello: wire.Hello) -> int:
    """The protocol version to speak; raises Refusal."""
    if hello.protocol < wire.PROTOCOL_MINIMUM:
        raise Refusal(
            "protocol_too_old",
            f"This agent ({text(hello.agent_version, 32)}) speaks protocol {hello.protocol}; the panel needs {wire.PROTOCOL_MINIMUM} or newer:"
            " update the agent. Its containers are left as they are.",
            retry_after_seconds=60,
        )
    if hello.protocol_minimum > wire.PROTOCOL_VERSION:
        raise Refusal(
            "protocol_too_new",
            f"This agent ({text(hello.agent_version, 32)}) needs protocol {hello.protocol_minimum} or newer; the panel speaks"
            f" {wire.PROTOCOL_VERSION}: update the panel. Its containers are left as they are.",
            retry_after_seconds=60,
        )
    return min(hello.protocol, wire.PROTOCOL_VERSION)


def lease_of(node: Node) -> float:
    """After how much silence its agent has to stop what it runs, because it may be started elsewhere after twice that; 0 = never."""
    return settings.FAILOVER_AFTER_SECONDS / 2 if node.cluster is not None and node.cluster.failover != "never" else 0.0


def facts_columns(facts: wire.NodeFacts) -> dict[str, Any]:
    """What an agent says of its machine, as the row keeps it."""
    return {
        "hostname": text(facts.hostname, 255),
        "ip_address": text(facts.ip_address, 64),
        "cpu_cores": max(0.0, min(float(facts.cpu_cores), 1e6)),
        "cpu_architecture": text(facts.cpu_architecture, 32),
        "total_memory_bytes": count(facts.total_memory_bytes),
        "total_storage_bytes": count(facts.total_storage_bytes),
        "operating_system": text(facts.operating_system, 64),
        "os_image": text(facts.os_image, 128),
        "kernel_version": text(facts.kernel_version, 128),
        "container_runtime": text(facts.container_runtime, 64),
        "runtime_kind": facts.runtime_kind,
        "isolates": facts.isolates,
        "boot_id": text(facts.boot_id, 64),
    }


def admit(token: str, hello: wire.Hello, *, gateway: str) -> Admission:
    """Take an agent in: new session epoch, facts, status, fences. Raises `tokens.BadToken`, Refusal.

    From the commit on this socket is the true one; an older one of the same installation is stale at once.
    """
    protocol = negotiate(hello)
    now = clock.now()
    with transaction.atomic():
        node_id = tokens.node_of(token).pk
        node = Node.objects.select_for_update(of=("self",)).get(pk=node_id)
        other = node.gateway and node.instance_id and node.instance_id != hello.instance_id
        if other and node.last_heartbeat and now - node.last_heartbeat < timedelta(seconds=LIVE_SECONDS):
            raise Refusal(
                "too_many",
                f"Another installation of the agent is connected as {node.name}. Stop it, or give this machine a node of its own.",
                retry_after_seconds=30,
            )
        changes: dict[str, Any] = {
            **facts_columns(hello.facts),
            "agent_version": text(hello.agent_version, 32),
            "kubelet_version": text(hello.agent_version, 64),
            "protocol_version": protocol,
            "capabilities": [text(word, 64) for word in hello.capabilities[:64]],
            "instance_id": text(hello.instance_id, 64),
            "session_epoch": node.session_epoch + 1,
            "lease_seconds": lease_of(node) if "fence" in hello.capabilities else 0.0,
            "gateway": gateway,
            "connected_at": now,
            "disconnected_at": None,
            "last_heartbeat": now,
            "engine_ok": not hello.engine_error,
            "engine_error": text(hello.engine_error, 255),
        }
        Node.objects.filter(pk=node.pk).update(**changes)
        before_version, before_runtime = node.agent_version, node.container_runtime
        node.refresh_from_db()
        settle_status(node)
        take_signals(node, skew_seconds=None, connected=True)
        if before_version and before_version != node.agent_version:
            events.note(node, "upgrade", f"Agent {before_version} became {node.agent_version}.")
        if node.container_runtime != before_runtime and (advice := health.engine_advice(node.container_runtime)):
            events.note(node, "engine", advice, level="warning")
        events.note(node, "joined", f"The agent {node.agent_version} connected.")
        node.refresh_from_db()
        fenced: list[str] = []
        for dotted in wired("NODE_HELLO"):
            fenced += resolve(dotted)(node, hello)
        orphans.note_listing(node.pk, hello.containers, complete=hello.containers_complete)
        elsewhere = foreign(node.pk, {report.container_id for report in hello.containers})
        services.publish_node(node)
    return Admission(node.pk, node.name, node.session_epoch, protocol, tuple(fenced), frozenset(elsewhere), hello.engine_error, node.lease_seconds)


def settle_status(node: Node) -> None:
    """Bring the status in line with a node that has just been heard of."""
    if node.status == NodeStatus.MAINTENANCE:
        return
    if node.engine_ok:
        if node.status != NodeStatus.ACTIVE:
            services.move_status(node, to=NodeStatus.ACTIVE, reason="")
        return
    reason = text(f"The engine does not answer: {node.engine_error or 'no reason given'}", 255)
    if node.status == NodeStatus.NOT_READY:
        Node.objects.filter(pk=node.pk, status=NodeStatus.NOT_READY).update(status_reason=reason)
    else:
        services.move_status(node, to=NodeStatus.NOT_READY, reason=reason)


def take_signals(node: Node, *, skew_seconds: float | None, connected: bool) -> None:
    """Take in what a beat or hello says of the node's health; levels that move go to its timeline. `node` is as the row is now."""
    now = clock.unix()
    readings = {
        "socket": health.socket(connected, silent_seconds=0),
        "engine": health.engine(node.engine_ok, node.engine_error),
        "version": health.version(node.agent_version, settings.VERSION),
    }
    used = node.usage.get("storage_used_bytes", 0)
    if used:
        readings["disk"] = health.disk(used, node.total_storage_bytes, before=health.known(node.signals, "disk").level)
    if skew_seconds is not None:
        readings["clock"] = health.clock(skew_seconds, before=health.known(node.signals, "clock").level)
    _take(node, readings, now=now)


def note_too_old_or_new(node_id: UUID, reason: str) -> None:
    """An agent was refused for its version: its node says why, and its timeline, once (R41)."""
    with transaction.atomic():
        node = Node.objects.select_for_update(of=("self",)).filter(pk=node_id).first()
        if node is not None and not node.gateway:
            _take(node, {"version": health.Reading("bad", text(reason, 250))}, now=clock.unix())
            services.publish_node(node)


def _take(node: Node, readings: dict[str, health.Reading], *, now: float) -> None:
    kept, moved = health.update(node.signals, readings, now=now)
    Node.objects.filter(pk=node.pk).update(signals=kept)
    node.signals = kept
    for name, before, after in moved:
        if before.level != "unknown" or after.level in ("bad", "warning"):
            level = {"bad": "error", "warning": "warning"}.get(after.level, "info")
            events.note(node, "signal", f"{name}: {after.cause or after.level}", level=level, before=before.level, after=after.level)


def leave(node_id: UUID, *, epoch: int, gateway: str, heard_at: datetime) -> None:
    """The socket of this session is gone. Status stays: silence since `heard_at` decides, not the socket."""
    gone = Node.objects.filter(pk=node_id, session_epoch=epoch, gateway=gateway).update(
        gateway="", disconnected_at=clock.now(), last_heartbeat=Greatest("last_heartbeat", Value(heard_at, output_field=DateTimeField()))
    )
    if gone:
        node = Node.objects.filter(pk=node_id).first()
        if node is not None:
            events.note(node, "left", "The agent's connection ended.", level="warning")
            services.publish_node(node)


def outgoing(node_id: UUID, *, known_to_agent: list[str] | None = None) -> list[wire.Command]:
    """Commands that are due, marked as sent. Marked first: one that is then lost on the way is due again after ten seconds."""
    due = commands.due(node_id, known_to_agent=known_to_agent)
    if not due:
        return []
    commands.mark_sent([command.pk for command in due])
    return [
        wire.Command(
            id=str(command.pk),
            kind=command.kind,
            epoch=command.epoch,
            container_id=str(command.subject_id or ""),
            deadline_unix=command.deadline.timestamp(),
            payload=commands.payload_of(command),
            request_id=command.request_id,
        )
        for command in due
    ]


def current_token(node_id: UUID) -> str | None:
    """The token that is good now, for a rotation in-band."""
    node = Node.objects.filter(pk=node_id).first()
    return tokens.issue(node) if node else None


# ------------------------------------------------------------------------------------------------------------ heartbeats


@dataclass(frozen=True, slots=True)
class Beat:
    """The last heartbeat of a session since the last write."""

    node_id: UUID
    epoch: int
    received_at: datetime
    usage: wire.NodeUsage
    engine_ok: bool
    engine_error: str
    skew_seconds: float | None = None
    """The agent's clock minus ours; None where the message did not tell."""


def write_beats(beats: list[Beat]) -> tuple[set[UUID], set[UUID]]:
    """Store them in one transaction. Returns (nodes whose session has been replaced or removed, nodes for which commands are due)."""
    stale: set[UUID] = set()
    with transaction.atomic():
        for beat in beats:
            kept = Node.objects.filter(pk=beat.node_id, session_epoch=beat.epoch).update(
                last_heartbeat=beat.received_at,
                last_health_check=beat.received_at,
                usage=msgspec.to_builtins(beat.usage),
                engine_ok=beat.engine_ok,
                engine_error=text(beat.engine_error, 255),
            )
            if not kept:
                stale.add(beat.node_id)
    heard = {beat.node_id: beat for beat in beats if beat.node_id not in stale}
    with transaction.atomic():
        for node in Node.objects.filter(pk__in=list(heard)):
            take_signals(node, skew_seconds=heard[node.pk].skew_seconds, connected=True)
            settle_status(node)
            services.publish_node(node)
    return stale, due_nodes(list(heard))


def due_nodes(node_ids: list[UUID]) -> set[UUID]:
    """Of these, the ones that have commands to be sent now."""
    return set(Command.objects.filter(commands.due_filter(), node_id__in=node_ids).values_list("node_id", flat=True))


def stats_seconds() -> float:
    return float(settings.NODE_STATS_SECONDS)
