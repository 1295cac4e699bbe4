"""Drift: where the engine's container is not what is wanted; putting it right, or taking it over."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from django.db import transaction

from agent.protocol.commands import DriftQuery
from audit.services import Actor, record
from containers import logs
from containers.models import Container
from containers.services import edit, limits, power
from containers.services.create import render_spec
from containers.services.publish import announce, target
from containers.validation import check_env, check_image
from eggs.rendering import HIDDEN
from lormas.common.errors import Conflict, FieldError, Invalid, Refused
from nodes.models import Operation

ADOPTABLE = ("image", *(name for name in limits.LIMITS if name != "disk_bytes"))


@dataclass(frozen=True, slots=True)
class Drift:
    """`field` as the agent names it; None = it is not there. `adoptable`: it can be taken over into the settings."""

    field: str
    wanted: Any
    running: Any
    adoptable: bool


def find(container: Container) -> list[Drift]:
    """Ask its node. Raises what `containers.logs.ask` raises; Conflict `no_such_container` where the node has none."""
    answer = logs.ask(container, "container.drift", DriftQuery(spec=render_spec(container)))
    hidden = set(container.egg_version.hidden) if container.egg_version is not None else set()
    found = []
    for field, wanted, running in answer.get("differences", []):
        if field.startswith("env.") and field.removeprefix("env.").upper() in hidden:  # its egg keeps the value to itself (I01)
            found.append(Drift(field, HIDDEN, HIDDEN, adoptable=False))
            continue
        env = field.startswith("env.") and running is not None
        found.append(Drift(field, wanted, running, adoptable=field in ADOPTABLE or env))
    return found


def reapply(container: Container, *, user: Any, actor: Actor) -> Operation | None:
    """Make the engine's container what is wanted: limits in place where that is all, else a new container, at once if it runs.

    Returns the operation, or None: it does not run, and its next start makes it anew.
    """
    found = find(container)
    if not found:
        raise Conflict(f"{container.name} is as it is wanted: there is nothing to reapply.", code="no_drift")
    fields = [one.field for one in found]
    with transaction.atomic():
        container = Container.objects.select_related("node", "operation", "egg_version").get(pk=container.pk)
        record("containers.reapply", actor=actor, target=target(container), after={"fields": fields})
        if set(fields) <= set(limits.LIMITS) and limits.can_update(container):
            return limits.update_in_place(container, render_spec(container), user=user)
        Container.objects.filter(pk=container.pk).update(spec_changed=True)
        container.spec_changed = True
        announce(container)
    if container.observed not in ("running", "paused"):
        return None
    return power.act(container, "restart", user=user, actor=actor)


def adopt(container: Container, *, user: Any, actor: Actor, fields: Iterable[str] | None = None) -> edit.Outcome:
    """Take what the engine has over into the settings (`fields` None: all that can be).

    Raises:
        Conflict `no_drift`. Invalid: a field that is not among the differences. Refused `not_adoptable`.
    """
    found = {one.field: one for one in find(container)}
    chosen = list(fields) if fields is not None else [one.field for one in found.values() if one.adoptable]
    if unknown := [field for field in chosen if field not in found]:
        wrong = [FieldError("fields", f"{field} does not differ.", "invalid_choice") for field in unknown]
        raise Invalid("Some fields do not differ.", code="no_such_difference", errors=wrong)
    if refused := [field for field in chosen if not found[field].adoptable]:
        raise Refused(f"{', '.join(refused)} can't be taken over: change the settings, or reapply.", code="not_adoptable")
    if not chosen:
        raise Conflict(f"There is nothing to take over from what runs as {container.name}.", code="no_drift")
    changes: dict[str, Any] = {}
    env = dict(container.env)
    for field in chosen:
        if field.startswith("env."):
            env[field.removeprefix("env.")] = found[field].running
        else:
            changes[field] = found[field].running
    try:
        if "image" in changes:
            changes["image"] = check_image(str(changes["image"]))
        if env != container.env:
            changes["env"] = check_env(env)
    except ValueError as error:
        raise Refused(f"What runs can't be taken over: {error}", code="not_adoptable") from None
    outcome = edit.change(container, user=user, actor=actor, changes=changes, note="Taken over from the engine")
    return outcome
