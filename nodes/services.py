"""Acts on nodes: registering, changing, capacity, status. Doors check permission; these don't."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import BigIntegerField, F, FloatField, Q, Value
from django.db.models.deletion import ProtectedError
from django.db.models.functions import Greatest

from audit.services import Actor, Target, record
from lormas.common import clock, live
from lormas.common.errors import Conflict, FieldError, Invalid, Refused
from lormas.common.ids import new_id
from lormas.common.wires import resolve, wired
from nodes import events, health, tokens
from nodes.models import Cluster, Node
from nodes.states import NODE_MOVES, NodeStatus

NAME = re.compile(r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?$")
LABEL_KEY = re.compile(r"^[A-Za-z0-9](?:[A-Za-z0-9._/-]{0,61}[A-Za-z0-9])?$")
LEVELS: dict[str, str] = {NodeStatus.NOT_READY: "warning", NodeStatus.INACTIVE: "error"}
TAINT_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
EDITABLE = frozenset({"name", "description", "cluster", "labels", "taints", "max_pods", "port_first", "port_last", "address", "is_schedulable"})


def as_hint(node: Node) -> dict[str, Any]:
    """What browsers get on `ui:nodes`."""
    return {
        "type": "node",
        "id": str(node.pk),
        "name": node.name,
        "status": node.status,
        "status_reason": node.status_reason,
        "is_schedulable": node.is_schedulable,
        "is_online": node.is_online,
        "current_pods": node.current_pods,
        "usage": node.usage,
        "health": health.worst(node.signals),
    }


def publish_node(node: Node) -> None:
    """Tell consoles, on commit."""
    live.on_commit_publish("ui:nodes", as_hint(node))


def target_of(node: Node) -> Target:
    return Target("node", str(node.pk), node.name)


def check_fields(fields: dict[str, Any]) -> dict[str, Any]:
    """What people set, or Invalid with every field that is wrong."""
    wrong: list[FieldError] = []
    if "name" in fields and not NAME.match(str(fields["name"])):
        wrong.append(FieldError("name", "1 to 64 letters, digits, dots, dashes or underscores, beginning and ending with a letter or digit."))
    for key, value in (fields.get("labels") or {}).items():
        if not LABEL_KEY.match(str(key)) or not isinstance(value, str) or len(value) > 128:
            wrong.append(FieldError(f"labels.{str(key)[:64]}", "Keys are short names, values are text of at most 128 characters."))
    for index, taint in enumerate(fields.get("taints") or []):
        good = isinstance(taint, dict) and set(taint) <= {"key", "value", "effect"} and LABEL_KEY.match(str(taint.get("key", "")))
        if not good or taint.get("effect") not in TAINT_EFFECTS:
            wrong.append(FieldError(f"taints.{index}", f"Needs a key, may have a value, and an effect out of {', '.join(TAINT_EFFECTS)}."))
    first, last = fields.get("port_first"), fields.get("port_last")
    for name, port in (("port_first", first), ("port_last", last)):
        if port is not None and not 1 <= port <= 65535:
            wrong.append(FieldError(name, "Must be from 1 to 65535."))
    if first is not None and last is not None and first > last:
        wrong.append(FieldError("port_last", "Must not be below port_first."))
    if wrong:
        raise Invalid("The node's settings are not valid.", errors=wrong)
    return fields


def taint_key(taint: dict[str, str]) -> str:
    """`key=value:effect`, under which `Node.taint_times` keeps since when."""
    return f"{taint['key']}={taint.get('value', '')}:{taint['effect']}"


def _default_ports() -> tuple[int, int]:
    first, _, last = settings.PORT_RANGE.partition("-")
    return int(first), int(last or first)


def _save(node: Node, **kwargs: Any) -> None:
    try:
        with transaction.atomic():
            node.save(**kwargs)
    except IntegrityError as error:
        if "name" in str(error):
            raise Conflict(
                f"There is already a node called {node.name}.", code="name_taken", errors=[FieldError("name", "Taken.", "unique")]
            ) from error
        raise


@transaction.atomic
def register_node(
    *,
    name: str,
    actor: Actor,
    description: str = "",
    cluster: Cluster | None = None,
    labels: dict[str, str] | None = None,
    taints: list[dict[str, str]] | None = None,
    is_local: bool = False,
    max_pods: int | None = None,
    port_first: int | None = None,
    port_last: int | None = None,
    address: str = "",
) -> tuple[Node, str]:
    """A new node and its token, which is shown this once. Raises Invalid, Conflict(`name_taken`)."""
    ports = _default_ports()
    fields = check_fields(
        {
            "name": name.strip(),
            "description": description,
            "cluster": cluster,
            "labels": labels or {},
            "taints": taints or [],
            "is_local": is_local,
            "port_first": ports[0] if port_first is None else port_first,
            "port_last": ports[1] if port_last is None else port_last,
            "address": address,
            **({} if max_pods is None else {"max_pods": max_pods}),
        }
    )
    node = Node(**fields)
    now = clock.rfc3339(clock.now()) or ""
    node.taint_times = {taint_key(taint): now for taint in node.taints}
    _save(node, force_insert=True)
    record("nodes.create", actor=actor, target=target_of(node), after={"name": node.name, "labels": node.labels, "taints": node.taints})
    publish_node(node)
    return node, tokens.issue(node)


@transaction.atomic
def update_node(node: Node, *, actor: Actor, **changes: Any) -> Node:
    """Change what people may set (`EDITABLE`). Raises Invalid, Conflict(`name_taken`)."""
    unknown = set(changes) - EDITABLE
    if unknown:
        raise Invalid("These can't be set.", errors=[FieldError(name, "Can't be set.") for name in sorted(unknown)])
    locked = Node.objects.select_for_update(of=("self",)).get(pk=node.pk)
    check_fields({"port_first": locked.port_first, "port_last": locked.port_last, **changes})
    before = {name: getattr(locked, name) for name in changes if getattr(locked, name) != changes[name]}
    if before:
        for name in before:
            setattr(locked, name, changes[name])
        if "taints" in before:
            now = clock.rfc3339(clock.now()) or ""
            locked.taint_times = {taint_key(taint): locked.taint_times.get(taint_key(taint), now) for taint in locked.taints}
        _save(locked, update_fields=[*before, "taint_times", "updated_at"])
        if "cluster" in before and locked.gateway:  # its agent learns at its hello what its cluster wants of it when the panel is silent
            again = {"code": "again", "reason": "The node was put into another cluster."}
            live.on_commit_publish(f"node:{locked.pk}", {"op": "close", "payload": again})
        record(
            "nodes.update",
            actor=actor,
            target=target_of(locked),
            before={k: str(v) if k == "cluster" else v for k, v in before.items()},
            after={k: str(changes[k]) if k == "cluster" else changes[k] for k in before},
        )
        publish_node(locked)
    return locked


@transaction.atomic
def delete_node(node: Node, *, actor: Actor) -> None:
    """Forget a node and drop its agent's socket. Raises Conflict(`node_in_use`) while it holds containers."""
    node_id, target = str(node.pk), target_of(node)
    try:
        node.delete()
    except ProtectedError as error:
        raise Conflict(
            f"{target.label} still holds {len(error.protected_objects)} containers or ports: move or delete them first.",
            code="node_in_use",
            extra={"in_use": len(error.protected_objects)},
        ) from error
    record("nodes.delete", actor=actor, target=target, before={"name": target.label})
    live.on_commit_publish(
        f"node:{node_id}", {"op": "close", "payload": {"code": "unknown_node", "reason": "The node has been removed from the panel."}}
    )
    live.on_commit_publish("ui:nodes", {"type": "node", "id": node_id, "status": "DELETED"})


@transaction.atomic
def rotate_token(node: Node, *, actor: Actor, grace_seconds: float = 0) -> str:
    """A new token; the old one is good for `grace_seconds` more. A connected agent is given the new one in-band."""
    locked = Node.objects.select_for_update(of=("self",)).get(pk=node.pk)
    locked.previous_token_id = locked.token_id
    locked.previous_token_until = clock.now() + timedelta(seconds=max(0.0, grace_seconds))
    locked.token_id = new_id()
    locked.save(update_fields=["token_id", "previous_token_id", "previous_token_until", "updated_at"])
    record("nodes.rotate_token", actor=actor, target=target_of(locked), after={"grace_seconds": grace_seconds})
    live.on_commit_publish(f"node:{node.pk}", {"op": "rotated"})
    node.token_id = locked.token_id
    return tokens.issue(locked)


@transaction.atomic
def set_schedulable(node: Node, *, actor: Actor, is_schedulable: bool | None = None) -> Node:
    """Take new containers or not; None toggles."""
    wanted = (not node.is_schedulable) if is_schedulable is None else is_schedulable
    return update_node(node, actor=actor, is_schedulable=wanted)


@transaction.atomic
def set_status(node: Node, *, actor: Actor, status: str, reason: str = "") -> Node:
    """Set a status by hand. Raises Conflict for a move that `NODE_MOVES` does not have.

    Liveness stays derived: a node set ACTIVE or PENDING that is silent falls back within the bounds; only MAINTENANCE stays until taken back.
    """
    locked = Node.objects.select_for_update(of=("self",)).get(pk=node.pk)
    allowed = NODE_MOVES[locked.status]
    if status == locked.status:
        return locked
    if status not in allowed:
        raise Conflict(
            f"A node that is {locked.status} can't become {status}.",
            code="illegal_move",
            extra={"status": locked.status, "allowed": sorted(allowed)},
        )
    if status == NodeStatus.ACTIVE and not locked.gateway:
        raise Conflict(
            "No agent is connected, so the node can't be ACTIVE.", code="illegal_move", extra={"status": locked.status, "allowed": sorted(allowed)}
        )
    before = locked.status
    move_status(locked, to=status, reason=reason or f"Set by {actor.label}.")
    record("nodes.set_status", actor=actor, target=target_of(locked), before={"status": before}, after={"status": status, "reason": reason})
    return Node.objects.get(pk=node.pk)


def move_status(node: Node, *, to: str, reason: str, only_from: tuple[str, ...] | None = None, condition: Q | None = None) -> bool:
    """Move a node's status by conditional UPDATE, call the NODE_CHANGED handlers in the same transaction and tell consoles.

    False (and nothing happens) if it is no longer in the status that `node` shows, or `condition` does not hold any more.
    """
    before = node.status
    if to not in NODE_MOVES[before] or (only_from is not None and before not in only_from):
        return False
    with transaction.atomic():
        now = clock.now()
        moved = (
            Node.objects.filter(pk=node.pk, status=before)
            .filter(condition or Q())
            .update(status=to, status_reason=reason[:255], status_since=now, last_health_check=now)
        )
        if not moved:
            return False
        node.refresh_from_db()
        events.note(node, "status", reason or str(NodeStatus(to).label), level=LEVELS.get(to, "info"), before=before, after=to)
        for dotted in wired("NODE_CHANGED"):
            resolve(dotted)(node, before)
        publish_node(node)
    return True


# ------------------------------------------------------------------------------------------------------------- capacity


def overcommit_of(cluster: Cluster | None) -> tuple[float, float, float]:
    """(cpu, memory, storage) factors."""
    return (cluster.overcommit_cpu, cluster.overcommit_memory, cluster.overcommit_storage) if cluster else (settings.CPU_OVERCOMMIT, 1.0, 1.0)


def _factors(node_id: UUID | str) -> tuple[float, float, float] | None:
    """The overcommit of a node's cluster as it is now; None: there is no such node."""
    columns = ("cluster_id", "cluster__overcommit_cpu", "cluster__overcommit_memory", "cluster__overcommit_storage")
    for cluster_id, *factors in Node.objects.order_by().filter(pk=node_id).values_list(*columns):
        return (factors[0], factors[1], factors[2]) if cluster_id is not None else overcommit_of(None)
    return None


def claim(node_id: UUID | str, *, cpus: float, memory_bytes: int, disk_bytes: int) -> bool:
    """Promise capacity by one conditional UPDATE; False if it is not there any more (take the next candidate).

    Holds for cpu, memory and storage times the cluster's overcommit, and `max_pods`; a node that is not ACTIVE and schedulable gives none.
    """
    if cpus < 0 or memory_bytes < 0 or disk_bytes < 0:
        raise Refused("Limits can't be negative.")
    factors = _factors(node_id)
    if factors is None:
        return False
    cpu_factor, memory_factor, storage_factor = factors
    claimed = Node.objects.filter(
        pk=node_id,
        status=NodeStatus.ACTIVE,
        is_schedulable=True,
        current_pods__lt=F("max_pods"),
        allocated_cpus__lte=F("cpu_cores") * cpu_factor - cpus + 1e-9,
        allocated_memory_bytes__lte=F("total_memory_bytes") * memory_factor - memory_bytes,
        allocated_storage_bytes__lte=F("total_storage_bytes") * storage_factor - disk_bytes,
    ).update(
        current_pods=F("current_pods") + 1,
        allocated_cpus=F("allocated_cpus") + cpus,
        allocated_memory_bytes=F("allocated_memory_bytes") + memory_bytes,
        allocated_storage_bytes=F("allocated_storage_bytes") + disk_bytes,
    )
    return bool(claimed)


def release(node_id: UUID | str, *, cpus: float, memory_bytes: int, disk_bytes: int) -> None:
    """Give back what `claim` took; never below zero."""
    zero = Value(0, output_field=BigIntegerField())
    Node.objects.filter(pk=node_id).update(
        current_pods=Greatest(F("current_pods") - 1, zero),
        allocated_cpus=Greatest(F("allocated_cpus") - cpus, Value(0.0, output_field=FloatField())),
        allocated_memory_bytes=Greatest(F("allocated_memory_bytes") - memory_bytes, zero),
        allocated_storage_bytes=Greatest(F("allocated_storage_bytes") - disk_bytes, zero),
    )


def resize(node_id: UUID | str, *, cpus: float, memory_bytes: int, disk_bytes: int) -> bool:
    """What a container of the node holds changes by so much (negative: it gives back). False if the node has not so much more to give."""
    factors = _factors(node_id)
    if factors is None:
        return False
    cpu_factor, memory_factor, storage_factor = factors
    room = Q()
    if cpus > 0:
        room &= Q(allocated_cpus__lte=F("cpu_cores") * cpu_factor - cpus + 1e-9)
    if memory_bytes > 0:
        room &= Q(allocated_memory_bytes__lte=F("total_memory_bytes") * memory_factor - memory_bytes)
    if disk_bytes > 0:
        room &= Q(allocated_storage_bytes__lte=F("total_storage_bytes") * storage_factor - disk_bytes)
    zero = Value(0, output_field=BigIntegerField())
    return bool(
        Node.objects.filter(room, pk=node_id).update(
            allocated_cpus=Greatest(F("allocated_cpus") + cpus, Value(0.0, output_field=FloatField())),
            allocated_memory_bytes=Greatest(F("allocated_memory_bytes") + memory_bytes, zero),
            allocated_storage_bytes=Greatest(F("allocated_storage_bytes") + disk_bytes, zero),
        )
    )
