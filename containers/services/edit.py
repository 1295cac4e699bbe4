"""Changing what a container is wanted to be: settings, limits, ports. Each change says when it counts, and is kept as a revision."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from django.db import IntegrityError, transaction

from audit.services import Actor, record
from containers import uses
from containers.models import Container, ContainerSettings
from containers.services import limits, ports, quotas, revisions
from containers.services.create import PortWish, forbidden_values, render_spec
from containers.services.locks import locked_by
from containers.services.manners import engine_part, settings_of, without_limits
from containers.services.publish import announce, target
from containers.variables import asked, for_journal, merged
from lormas.common.errors import Conflict, FieldError, Invalid
from nodes.models import Operation

OWN = ("startup_script", "readiness", "auto_start", "auto_heal", "idle_timeout_seconds")
"""Kept in `ContainerSettings`."""
NOW = frozenset({"name", "description", "restart_policy", "labels", "auto_start", "auto_heal", "idle_timeout_seconds", "disk_bytes"})
"""Count at once."""
AT_START = frozenset({"startup_script", "readiness"})
"""Count from the next start; nothing that runs has to be ended for them."""
JOURNAL_TEXT = 2000
When = Literal["now", "in_place", "next_start", "recreate"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a change did, or would do. `effects`: field -> when it counts; `needs_restart`: what runs is still as it was before."""

    container: Container
    effects: dict[str, When] = field(default_factory=dict)
    needs_restart: bool = False
    operation: Operation | None = None
    revision: int | None = None


class _Preview(Exception):
    """Rolls back what was only tried."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome = outcome


def update_container(container: Container, *, user: Any, actor: Actor, changes: dict[str, Any], in_place: bool = True) -> tuple[Container, bool]:
    """Write the changes; returns the row and whether the running container still has the old ones (a restart brings the new). See `change`."""
    outcome = change(container, user=user, actor=actor, changes=changes, in_place=in_place)
    return outcome.container, outcome.needs_restart


def preview(container: Container, *, user: Any, actor: Actor, changes: dict[str, Any], wishes: Sequence[PortWish] | None = None) -> Outcome:
    """What `change` would do; nothing is kept. Raises what it would raise."""
    try:
        with transaction.atomic():
            raise _Preview(_change(container, user=user, actor=actor, changes=changes, wishes=wishes, note="", dry=True, in_place=True))
    except _Preview as tried:
        return tried.outcome


def change(
    container: Container,
    *,
    user: Any,
    actor: Actor,
    changes: dict[str, Any],
    wishes: Sequence[PortWish] | None = None,
    note: str = "",
    in_place: bool = True,
) -> Outcome:
    """Write the changes and the new ports (None: they stay). Limits alone reach a container in place where its node can; all else that the
    engine's container is made of counts when it is made anew, which the next start does. `in_place` False: so do limits, as the caller starts it.

    Raises:
        Conflict `name_taken`, `port_taken`. Invalid `invalid_variables`, `invalid_startup`, `invalid_command`. Refused `quota`, `no_room`,
        `port_out_of_range`, `no_free_port`. Nothing is written then.
    """
    with transaction.atomic():
        return _change(container, user=user, actor=actor, changes=changes, wishes=wishes, note=note, dry=False, in_place=in_place)


def _checked(container: Container, changes: dict[str, Any], *, user: Any) -> dict[str, Any]:
    if changes.get("startup") and container.egg_version is None:
        wrong = [FieldError("startup", "Only eggs have startup commands to choose from.", "invalid_choice")]
        raise Invalid("This container is made of an image.", code="invalid_startup", errors=wrong)
    if changes.get("command") and container.egg_version is not None:
        wrong = [FieldError("command", "Its egg brings its own command; set its variables instead.", "invalid")]
        raise Invalid("This container is made of an egg.", code="invalid_command", errors=wrong)
    if "variables" in changes:
        given = asked(container, changes["variables"], user=user)
        if refused := forbidden_values(container, given, user=user):
            raise Invalid("Some values don't fit the egg.", code="invalid_variables", errors=refused)
        changes = {**changes, "variables": merged(container, given, user=user)}
    return limits.asked_limits(changes)


def _change(
    container: Container,
    *,
    user: Any,
    actor: Actor,
    changes: dict[str, Any],
    wishes: Sequence[PortWish] | None,
    note: str,
    dry: bool,
    in_place: bool,
) -> Outcome:
    row: Container = (
        Container.objects.select_for_update(of=("self",)).select_related("node", "egg", "egg_version", "operation", "owner").get(pk=container.pk)
    )
    if row.running_operation is not None and row.running_operation.kind == "container.migrate":
        raise locked_by(row)  # what the new node has promised is what it is now
    changes = _checked(row, changes, user=user)
    own = settings_of(row)
    before = {name: getattr(own if name in OWN else row, name) for name in changes}
    changed = {name: value for name, value in changes.items() if before[name] != value}
    wish = revisions.wish_of(row)
    if changed:
        _write(row, own, changed)
        quotas.grow(row, {name: before[name] for name in changed if name in limits.LIMITS}, user=user)
        limits.take_room(row, {name: before[name] for name in changed if name in limits.LIMITS})
    if wishes is not None and row.node is not None:
        if row.running_operation is not None and row.running_operation.kind == "container.create":
            raise locked_by(row)
        ports.set_ports(row, row.node, wishes)
        if (after := revisions.wish_of(row)["ports"]) != wish["ports"]:
            before["ports"], changed["ports"] = wish["ports"], after
    if not changed:
        return Outcome(row)
    outcome = _reach(row, set(changed), user=user, dry=dry, in_place=in_place)
    if dry:
        return outcome
    kept = revisions.keep(row, wish, user=user, actor=actor, note=note)
    was, now = _for_journal(row, {name: before[name] for name in changed}), _for_journal(row, changed)
    record("containers.update", actor=actor, target=target(row), before=was, after=now, message=note)
    announce(row)
    return Outcome(row, outcome.effects, outcome.needs_restart, outcome.operation, kept.number if kept else None)


def _write(row: Container, own: ContainerSettings, changed: dict[str, Any]) -> None:
    mine = {name: value for name, value in changed.items() if name in OWN}
    plain = {name: value for name, value in changed.items() if name not in OWN}
    for name, value in plain.items():
        setattr(row, name, value)
    if plain:
        try:
            with transaction.atomic():
                row.save(update_fields=[*plain, "updated_at"])
        except IntegrityError:
            raise Conflict(f"You already have a container named {row.name}: choose another name.", code="name_taken") from None
    if mine:
        for name, value in mine.items():
            setattr(own, name, value)
        own.save()
    if "idle_timeout_seconds" in mine:
        uses.timeout_changed(row.pk)


def _reach(row: Container, names: set[str], *, user: Any, dry: bool, in_place: bool) -> Outcome:
    """When what was written counts; asks the node where that is at once."""
    spec = render_spec(row)
    plain = msgspec.to_builtins(spec)
    made_of = engine_part(plain) != engine_part(row.spec)
    only_limits = made_of and without_limits(plain) == without_limits(row.spec)
    in_place = in_place and only_limits and limits.can_update(row)
    runs = row.observed in ("running", "paused")
    effects: dict[str, When] = {}
    for name in sorted(names):
        if name in limits.LIMITS and in_place:
            effects[name] = "in_place"
        elif name in NOW:
            effects[name] = "now"
        else:
            effects[name] = "next_start" if name in AT_START else "recreate"
    operation = None
    if in_place and not dry:
        operation = limits.update_in_place(row, spec, user=user)
    elif made_of and not in_place and row.node_id is not None and not row.spec_changed:
        row.spec_changed = True
        row.save(update_fields=["spec_changed"])
    waits = any(when in ("next_start", "recreate") for when in effects.values())
    return Outcome(row, effects, needs_restart=waits and runs, operation=operation)


def _for_journal(row: Container, values: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = {name: value[:JOURNAL_TEXT] if isinstance(value, str) else value for name, value in values.items()}
    return {**shown, "variables": for_journal(row, shown["variables"])} if "variables" in shown else shown


def roll_back(container: Container, number: int, *, user: Any, actor: Actor) -> Outcome:
    """Make the wish of that revision the wish again, as a new revision. The version of its egg stays: rollouts change that.

    Raises:
        NotFound. What `change` raises: what was possible then may be no more.
    """
    wish = revisions.get_revision(container, number).wish
    names = (*revisions.PLAIN, *revisions.OWN)
    wishes = [PortWish(container=port["container"], host=port["host"], protocol=port["protocol"]) for port in wish["ports"]]
    return change(
        container,
        user=user,
        actor=actor,
        changes={name: wish[name] for name in names if name in wish},
        wishes=wishes,
        note=f"Rolled back to revision {number}",
    )


def restart_for(container: Container, *, user: Any, actor: Actor) -> Operation:
    """The restart that brings a change. Raises what `power.act` raises; the change stays written then."""
    from containers.services import power

    return power.act(container, "restart", user=user, actor=actor)
