"""Power: start, stop, restart, kill, pause, unpause. One at a time per container; kill overtakes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import msgspec
from django.db import transaction

from agent.protocol.commands import CreatePayload, EmptyPayload, KillPayload, RestartPayload, StartPayload, StopPayload
from agent.protocol.messages import ContainerSpec, Part, StopSpec
from agent.protocol.parts import ConfigEdit
from audit.services import Actor, record
from containers import uses
from containers.models import Container
from containers.services import crashes, sessions
from containers.services.create import registry_auth, render_spec
from containers.services.locks import locked_by, require_online, take
from containers.services.manners import engine_part
from containers.services.publish import announce, target
from containers.spec import as_kept
from containers.states import Desired, Status, allowed_actions
from lormas.common import clock, jobs
from lormas.common.errors import Conflict
from nodes import commands, operations
from nodes.models import Operation
from nodes.states import OperationStatus

ACTIONS = ("start", "stop", "restart", "kill", "pause", "unpause")
CAPABILITY = {
    "start": "containers.start",
    "stop": "containers.stop",
    "restart": "containers.stop",
    "kill": "containers.stop",
    "pause": "containers.stop",
    "unpause": "containers.stop",
}
"""What a door asks for before it calls `act`."""

START_SECONDS = 1000
SLACK_SECONDS = 60
DESIRED = {"start": Desired.RUNNING, "restart": Desired.RUNNING, "stop": Desired.STOPPED, "kill": Desired.STOPPED}


def check_allowed(container: Container, action: str) -> None:
    """Raises Conflict that names the state and what is allowed in it."""
    allowed = sorted(allowed_actions(container.status, desired=container.desired, installs=action == "reinstall" or bool(container.install_state)))
    if action in allowed:
        return
    raise Conflict(
        f"{container.name} is {container.get_status_display().lower()}: {action} is not possible now. Possible: {', '.join(allowed) or 'nothing'}.",
        code="wrong_state",
        extra={"state": container.status, "allowed": allowed},
    )


def act(
    container: Container,
    action: str,
    *,
    user: Any,
    actor: Actor,
    timeout_seconds: float | None = None,
    automatic: bool = False,
    reason: str = "",
    edits: Sequence[ConfigEdit] = (),
    has_place: bool = False,
) -> Operation:
    """Ask the container's node for a power action; the operation tells how it ends.

    Args:
        timeout_seconds: for stop and restart, how long to wait before killing; None = as its egg says.
        automatic: a restart by policy; the journal says so.
        reason: why, where no person asked: a sentence for the journal.
        edits: changes of its files for this start alone (start and restart).
        has_place: a session container whose place was kept for it by the act that stopped it, and that ends in this very transaction.

    Raises:
        Conflict `wrong_state`. Locked: another operation runs (kill overtakes it instead). NodeUnavailable. Refused `too_many_sessions`.
    """
    node = require_online(container.node)
    with transaction.atomic():
        container = Container.objects.select_for_update(of=("self",)).select_related("node", "operation", "egg_version").get(pk=container.pk)
        running = container.running_operation
        if action == "kill" and running is not None:
            overtake(container, running)
        elif running is None:
            check_allowed(container, action)
        if DESIRED.get(action) == Desired.RUNNING != container.desired and not has_place:
            sessions.take_place(container)
        kind, payload, seconds = _payload(container, action, timeout_seconds, list(edits))
        operation = take(container, action, user=user, deadline_seconds=seconds)
        if user is not None:
            uses.used(container.pk, "power", at_once=True)
        if action in DESIRED:
            changes: dict[str, Any] = {"desired": DESIRED[action]}
            if not automatic:
                changes["restarts"] = 0
            Container.objects.filter(pk=container.pk).update(**changes)
            container.desired = DESIRED[action]
        commands.enqueue(
            node,
            kind,
            payload=payload,
            operation=operation,
            subject_id=container.pk,
            epoch=container.epoch,
            deadline_seconds=seconds,
        )
        record(
            f"containers.{action}", actor=actor, target=target(container), message=reason or ("Restarted by its restart policy." if automatic else "")
        )
        announce(container)
    return operation


def overtake(container: Container, running: Operation) -> None:
    """End what runs: its commands are cancelled (the agent is told by the kill that follows), its operation settled as cancelled.

    Raises:
        Locked: it is being moved, and two nodes are in that: it must be called off instead. Or it is being taken over: torn in the middle,
            that would leave neither the old one nor ours.
    """
    if running.kind in ("container.migrate", "container.adopt"):
        raise locked_by(container)
    commands.cancel_open(subject_id=container.pk, reason="Overtaken by kill.")
    operations.settle_operation(
        running.pk, status=OperationStatus.CANCELLED, error_code="cancelled", error_detail="A kill overtook it.", message="Overtaken by kill"
    )
    Container.objects.filter(pk=container.pk).update(operation=None)
    container.operation = None


def current_spec(container: Container) -> ContainerSpec:
    """Rendered anew, so that edits count from the next start; kept on the row, with a mark if the node's container is of another spec."""
    spec = render_spec(container)
    plain = as_kept(spec)
    if plain != container.spec:
        changed = container.spec_changed or engine_part(plain) != engine_part(container.spec)
        Container.objects.filter(pk=container.pk).update(spec=plain, spec_changed=changed)
        container.spec, container.spec_changed = plain, changed
    return spec


def stop_spec(container: Container, timeout_seconds: float | None) -> StopSpec:
    """How to stop it: as its spec says, with the caller's patience."""
    known = msgspec.convert(container.spec.get("stop", {}), StopSpec) if container.spec else StopSpec()
    if timeout_seconds is None:
        return known
    return StopSpec(signal=known.signal, command=known.command, grace_seconds=timeout_seconds)


def _payload(container: Container, action: str, timeout_seconds: float | None, edits: list[ConfigEdit]) -> tuple[str, Part, float]:
    """(command, payload, seconds until it must have ended)."""
    kind = f"container.{action}"
    if action in ("start", "restart"):
        stop = stop_spec(container, timeout_seconds)
        spec = current_spec(container)
        if container.spec_changed:
            auth = registry_auth(container)
            made = CreatePayload(spec=spec, replace=True, stop=stop, registry_auth=auth, edits=edits)
            return "container.create", made, stop.grace_seconds + START_SECONDS
        if action == "start":
            return kind, StartPayload(spec=spec, edits=edits), START_SECONDS
        return kind, RestartPayload(stop=stop, spec=spec, edits=edits), stop.grace_seconds + START_SECONDS
    if action == "stop":
        stop = stop_spec(container, timeout_seconds)
        return kind, StopPayload(stop=stop), stop.grace_seconds + SLACK_SECONDS
    return kind, KillPayload() if action == "kill" else EmptyPayload(), SLACK_SECONDS


def typed(container: Container, text: str) -> bool:
    """Somebody wrote a line to its console. Its own stop command is a wish to stop: what follows is no crash, and nothing starts it again.

    Returns whether it was that line.
    """
    stop = stop_spec(container, None)
    if not stop.command or text.strip() != stop.command.strip():
        return False
    now = clock.now()
    with transaction.atomic():
        taken = (
            Container.objects.filter(pk=container.pk, status__in=(Status.RUNNING, Status.STARTING))
            .unlocked()
            .update(
                desired=Desired.STOPPED,
                status=Status.STOPPING,
                status_reason="Its stop command was typed into its console.",
                status_since=now,
                status_deadline=now + timedelta(seconds=stop.grace_seconds + SLACK_SECONDS),
            )
        )
        if taken:
            container.refresh_from_db()
            announce(container)
    return bool(taken)


def plan_restart(container: Container, *, crashed: bool = True) -> None:
    """By policy, with a delay that grows with each crash (`crashes.delay_seconds`); the sweep carries it out, so it survives our own death.

    `crashed` False: it ended without a fault of its own (with its engine), which counts for nothing and is put right at once.
    """
    if container.restart_policy == "no" or container.desired != Desired.RUNNING:
        return
    count = crashes.in_a_row(container) if crashed else container.restarts
    delay = crashes.delay_seconds(count) if crashed else 1
    Container.objects.filter(pk=container.pk).update(restart_at=clock.now() + timedelta(seconds=delay), restarts=count)
    jobs.enqueue_on_commit("containers.tasks.restart_due", countdown_seconds=delay)
