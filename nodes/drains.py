"""Emptying a node: cordon, ask its containers to go one after the other, and tell how far it is.

Stateless containers that may move are placed on another node; the others are stopped and stay, and `undrain` starts them again. The warden calls
`advance_all` every few seconds; each step asks what is true now, so that it does not matter who took the last one, or that the panel died between.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog
from django.db import IntegrityError, transaction

from audit.services import Actor, record
from lormas.common import clock
from lormas.common.errors import Conflict
from lormas.common.wires import resolve, wired
from nodes import events, leases, operations, services
from nodes.models import Drain, Node, Operation
from nodes.placement import Taint, Toleration, leaves_at
from nodes.states import OPERATION_OPEN, OperationStatus

log = structlog.get_logger(__name__)

DEFAULT_SECONDS = 3600.0
AT_ONCE = 4
"""How many containers are on their way at a time."""
SLACK = timedelta(seconds=120)


@dataclass(frozen=True, slots=True)
class Holding:
    """A container that runs (or is to run) on a node, as the room that knows containers tells it."""

    id: UUID
    name: str
    owner: str
    status: str
    movable: bool
    why_not: str = ""
    loses: tuple[str, ...] = ()
    goes_to: str = ""
    """Name of the node that would take it now; "" where it stays, or no node can."""
    tolerations: tuple[Toleration, ...] = field(default=())

    @property
    def act(self) -> str:
        return "move" if self.movable and self.goes_to else "stop"


@dataclass(frozen=True, slots=True)
class Step:
    """What came of asking a container to go: `busy` (ask again), `done`, `failed` (as it is, it will not go)."""

    state: str
    detail: str = ""


def plan(node: Node) -> list[Holding]:
    """What would go, where to, and what would be lost. Changes nothing."""
    found: list[Holding] = []
    for dotted in wired("NODE_HOLDINGS"):
        found += resolve(dotted)(node)
    return found


def running_drain(node: Node) -> Drain | None:
    """The drain that goes on, if there is one."""
    found: Drain | None = Drain.objects.select_related("operation").filter(node=node, state="running").first()
    return found


@transaction.atomic
def drain(
    node: Node,
    *,
    user: Any,
    actor: Actor,
    deadline_seconds: float = DEFAULT_SECONDS,
    force: bool = False,
    message: str = "",
    is_automatic: bool = False,
) -> Operation:
    """Begin. At the deadline `force` kills what still runs; without it the drain fails and leaves them running.

    Raises:
        Conflict `already_draining` (its operation is named).
    """
    locked = Node.objects.select_for_update(of=("self",)).get(pk=node.pk)
    before = running_drain(locked)
    if before is not None:
        raise Conflict(
            f"{node.name} is being drained already: undrain it first to begin anew.",
            code="already_draining",
            extra={"operation": str(before.operation_id) if before.operation_id else None, "state": "draining", "allowed": ["undrain"]},
        )
    holdings = plan(locked)
    operation = operations.open_operation(
        "node.drain",
        user=user,
        target_type="node",
        target_id=node.pk,
        target_label=node.name,
        deadline_seconds=deadline_seconds + SLACK.total_seconds(),
        message=f"{len(holdings)} containers to go",
    )
    items = [{"id": str(h.id), "name": h.name, "act": h.act, "state": "waiting", "detail": ""} for h in holdings]
    try:
        with transaction.atomic():
            Drain.objects.create(
                node=locked,
                operation=operation,
                deadline=clock.now() + timedelta(seconds=deadline_seconds),
                force=force,
                message=message[:200],
                was_schedulable=locked.is_schedulable,
                items=items,
            )
    except IntegrityError:
        raise Conflict(
            f"{node.name} is being drained already.", code="already_draining", extra={"state": "draining", "allowed": ["undrain"]}
        ) from None
    Node.objects.filter(pk=node.pk).update(is_schedulable=False)
    locked.is_schedulable = False
    events.note(locked, "drain", f"Drain began: {len(items)} containers to go. {message}".strip(), level="warning")
    record(
        "nodes.drain",
        actor=actor,
        target=services.target_of(locked),
        after={"deadline_seconds": deadline_seconds, "force": force, "containers": len(items), "automatic": is_automatic},
        message=message,
    )
    services.publish_node(locked)
    return operation


@transaction.atomic
def undrain(node: Node, *, user: Any, actor: Actor, keep_ineligible: bool = False, message: str = "") -> Operation:
    """Take containers again (unless `keep_ineligible`), end a drain that goes on, and start again what the last drain stopped here."""
    locked = Node.objects.select_for_update(of=("self",)).get(pk=node.pk)
    operation = operations.open_operation(
        "node.undrain", user=user, target_type="node", target_id=node.pk, target_label=node.name, deadline_seconds=120
    )
    last = Drain.objects.filter(node=locked).first()
    goes_on = running_drain(locked)
    if goes_on is not None:
        _end(goes_on, "cancelled", status=OperationStatus.CANCELLED, code="cancelled", detail=f"Undrained by {actor.label}.")
    if not keep_ineligible:
        Node.objects.filter(pk=node.pk).update(is_schedulable=True)
        locked.is_schedulable = True
    stopped = [item["id"] for item in (last.items if last else []) if item["act"] == "stop" and item["state"] == "done"]
    started = 0
    if not keep_ineligible and stopped:
        for dotted in wired("NODE_BRING_BACK"):
            started += resolve(dotted)(locked, [UUID(i) for i in stopped])
        if last is not None:  # once: a second undrain starts nothing that somebody has stopped since
            last.refresh_from_db()
            last.items = [{**item, "act": "started"} if item["id"] in stopped else item for item in last.items]
            last.save(update_fields=["items"])
    events.note(locked, "drain", f"Undrained; {started} containers are started again. {message}".strip())
    record(
        "nodes.undrain",
        actor=actor,
        target=services.target_of(locked),
        after={"keep_ineligible": keep_ineligible, "started": started},
        message=message,
    )
    operations.settle_operation(operation.pk, status=OperationStatus.SUCCEEDED, result={"started": started, "is_schedulable": locked.is_schedulable})
    services.publish_node(locked)
    return operation


def _end(drain_: Drain, state: str, *, status: str, code: str = "", detail: str = "", result: dict[str, Any] | None = None) -> bool:
    with transaction.atomic():
        ended = Drain.objects.filter(pk=drain_.pk, state="running").update(state=state, finished_at=clock.now(), items=drain_.items)
        if not ended:
            return False
        if drain_.operation_id:
            operations.settle_operation(drain_.operation_id, status=status, error_code=code, error_detail=detail, result=result)
        events.note(drain_.node, "drain", {"done": "Drained: nothing runs there any more."}.get(state, f"Drain {state}: {detail}"))
        services.publish_node(drain_.node)
    return True


def evict(container_id: UUID, node: Node, *, act: str, kill: bool, reason: str) -> Step:
    """Ask the room that knows containers to let one go. What it raises is told as `busy`: the next step tries again."""
    for dotted in wired("NODE_EVICT"):
        step: Step = resolve(dotted)(container_id, node, act=act, kill=kill, reason=reason)
        return step
    return Step("failed", "No room of the panel knows containers.")


def advance(drain_: Drain) -> None:
    """One step of a drain; call it under its lease."""
    if drain_.operation is not None and drain_.operation.status not in OPERATION_OPEN:
        _end(drain_, "cancelled", status=OperationStatus.CANCELLED, detail=f"Its operation is {drain_.operation.status}.")
        return
    late = clock.now() >= drain_.deadline
    kill = late and drain_.force
    items: list[dict[str, Any]] = [dict(item) for item in drain_.items]
    known = {item["id"] for item in items}
    # What came meanwhile (a restart, an act begun before the cordon) has to go as well.
    items += [
        {"id": str(holding.id), "name": holding.name, "act": holding.act, "state": "waiting", "detail": ""}
        for holding in plan(drain_.node)
        if str(holding.id) not in known
    ]
    if drain_.operation_id:
        operations.mark_running(drain_.operation_id)
    under_way = 0
    for item in items:
        if item["state"] not in ("waiting", "busy"):
            continue
        if under_way >= AT_ONCE and not kill:
            break
        step = evict(UUID(item["id"]), drain_.node, act=item["act"], kill=kill, reason=drain_.message or f"{drain_.node.name} is being drained.")
        item["state"], item["detail"] = ("busy" if step.state == "busy" else step.state), step.detail[:200]
        under_way += step.state == "busy"
    drain_.items = items
    left = [item for item in items if item["state"] in ("waiting", "busy")]
    failed = [item for item in items if item["state"] == "failed"]
    gone = len(items) - len(left) - len(failed)
    result = {
        "moved": sum(i["act"] == "move" and i["state"] == "done" for i in items),
        "stopped": sum(i["act"] == "stop" and i["state"] == "done" for i in items),
    }
    if not left:
        if failed:
            names = ", ".join(item["name"] for item in failed[:10])
            _end(drain_, "failed", status=OperationStatus.FAILED, code="drain_failed", detail=f"These could not go: {names}.", result=result)
        else:
            _end(drain_, "done", status=OperationStatus.SUCCEEDED, result=result)
        return
    if late and not drain_.force:
        names = ", ".join(f"{item['name']} ({item['detail'] or 'still runs'})" for item in left[:10])
        detail = f"The deadline is over and these still run: {names}. Drain again with force to kill them."
        _end(drain_, "failed", status=OperationStatus.FAILED, code="deadline", detail=detail, result=result)
        return
    Drain.objects.filter(pk=drain_.pk, state="running").update(items=items)
    if drain_.operation_id:
        operations.set_progress(drain_.operation_id, 100 * gone // max(1, len(items)), f"{gone} of {len(items)} containers gone")


def advance_all() -> int:
    """One step of every drain that goes on, each under its lease (any number of panels may call this)."""
    count = 0
    for drain_ in Drain.objects.select_related("node", "operation").filter(state="running"):
        fence = leases.take(f"drain:{drain_.pk}", seconds=60)
        if fence is None:
            continue
        try:
            drain_.refresh_from_db()
            if drain_.state == "running":
                advance(drain_)
                count += 1
        finally:
            leases.give_back(f"drain:{drain_.pk}", fence)
    return count


def evict_tainted() -> dict[str, int]:
    """Periodic: containers leave nodes whose NoExecute taints they don't tolerate (any more)."""
    now, asked, failed = clock.now().timestamp(), 0, 0
    for node in Node.objects.exclude(taints=[]):
        taints = []
        for raw in node.taints:
            since = clock.parse_rfc3339(str(node.taint_times.get(services.taint_key(raw), "")))
            taints.append((Taint(key=raw["key"], value=raw.get("value", ""), effect=raw["effect"]), since.timestamp() if since else 0.0))
        if not any(taint.effect == "NoExecute" for taint, _ in taints):
            continue
        names = ", ".join(services.taint_key(raw) for raw in node.taints if raw["effect"] == "NoExecute")
        for holding in plan(node):
            leave = leaves_at(taints, holding.tolerations)
            if leave is None or leave > now:
                continue
            step = evict(holding.id, node, act=holding.act, kill=False, reason=f"The taint {names} is not tolerated.")
            asked += step.state != "failed"
            failed += step.state == "failed"
    return {"asked": asked, "failed": failed}


def as_data(holding: Holding) -> dict[str, Any]:
    """A holding for answers."""
    found = asdict(holding)
    del found["tolerations"]
    return {**found, "id": str(holding.id), "act": holding.act, "loses": list(holding.loses)}
