"""Giving chosen containers another version of their egg, at their next start; and taking that back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

from django.db import transaction

from audit.services import Actor, Target, record
from containers.models import Container, Rollout, RolloutItem
from containers.services.create import render_spec
from containers.services.publish import announce, target
from eggs.definition import EggDefinition
from eggs.models import EggVersion
from lormas.common import clock, live
from lormas.common.database import done_again
from lormas.common.errors import Conflict, Invalid, Problem, Refused

MAX_CONTAINERS = 1000
State = RolloutItem.State


@dataclass(frozen=True, slots=True)
class Move:
    """What a container would get. `problem` empty: it can be moved."""

    container: Container
    image: str
    startup: str
    variables: dict[str, str]
    dropped: list[str] = field(default_factory=list)
    """Variables that the version doesn't know any more; a revert brings their values back."""
    problem: str = ""
    number: int = 0
    """Of the version it has."""


def plan_move(container: Container, version: EggVersion) -> Move:
    """Pure but for reading the two definitions.

    Values stay under equal names. An image stays if the version offers it too or if it never was one of the egg's; else the one under the same
    label takes its place, else the version's first. A startup command stays if there is one of that name.
    """
    new = EggDefinition.from_json(version.definition)
    old = EggDefinition.from_json(container.egg_version.definition) if container.egg_version is not None else EggDefinition(name="")
    offered = {reference.removeprefix("~"): label for label, reference in new.docker_images}
    before = {reference.removeprefix("~"): label for label, reference in old.docker_images}
    image = container.image
    if image in before and image not in offered:
        image = dict(new.docker_images).get(before[image], new.default_image).removeprefix("~")
    known = {variable.env_variable.upper() for variable in new.variables}
    kept = {name: value for name, value in container.variables.items() if name.upper() in known}
    startup = container.startup if container.startup in dict(new.startup_commands) else ""
    number = container.egg_version.number if container.egg_version is not None else 0
    return Move(container, image, startup, kept, sorted(set(container.variables) - set(kept)), number=number)


def preview_rollout(version: EggVersion, containers: Iterable[Container]) -> list[Move]:
    """What a rollout would do to each; nothing is changed."""
    moves = []
    for container in containers:
        if container.egg_version_id == version.pk:
            continue
        move = plan_move(container, version)
        try:
            _put(container, version, move.image, move.startup, move.variables)
            render_spec(container)
        except Problem as problem:
            move = replace(move, problem=_why(problem))
        moves.append(move)
    return moves


def _why(problem: Problem) -> str:
    parts = [f"{error.field.removeprefix('variables.')}: {error.message}" for error in problem.errors]
    return (" ".join(parts) or problem.detail)[:500]


def _put(container: Container, version: EggVersion | None, image: str, startup: str, variables: dict[str, str]) -> None:
    container.egg_version, container.image, container.startup, container.variables = version, image, startup, variables


@done_again
def roll_out(version: EggVersion, ids: Sequence[UUID], *, user: Any, actor: Actor) -> Rollout:
    """Give the version to these containers; the doors have checked that the person may edit each. One that can't take it keeps what it has,
    and its item says why. Running containers get it when they are started next.

    Raises:
        Refused `needs_approval`; Conflict `nothing_to_do`: all have it already; Invalid `too_many`.
    """
    if version.needs_approval:
        raise Refused(f"Version {version.number} asks for something of the machine: an administrator must approve it first.", code="needs_approval")
    if len(ids) > MAX_CONTAINERS:
        raise Invalid(f"At most {MAX_CONTAINERS} containers at once.", code="too_many")
    with transaction.atomic():
        rollout = Rollout.objects.create(egg_id=version.egg_id, version=version, created_by=user)
        rows = Container.objects.select_for_update(of=("self",)).select_related("egg_version").filter(pk__in=ids, egg_id=version.egg_id)
        items = [_apply(rollout, container, version, actor) for container in rows.alive().order_by("pk") if container.egg_version_id != version.pk]
        if not items:
            raise Conflict("None of these containers is of another version of this egg.", code="nothing_to_do")
        counts = {state: sum(item.state == state for item in items) for state in (State.APPLIED, State.REFUSED)}
        record(
            "eggs.rollout",
            actor=actor,
            target=Target("egg", str(version.egg_id), version.egg.name),
            after={"version": version.number, "applied": counts[State.APPLIED], "refused": counts[State.REFUSED]},
        )
        live.on_commit_publish("ui:eggs", {"type": "egg", "id": str(version.egg_id)})
    return rollout


def _apply(rollout: Rollout, container: Container, version: EggVersion, actor: Actor) -> RolloutItem:
    move = plan_move(container, version)
    old, number = container.egg_version, container.egg_version.number if container.egg_version is not None else None
    item = RolloutItem(
        rollout=rollout,
        container=container,
        state=State.APPLIED,
        from_version=old,
        from_image=container.image,
        from_startup=container.startup,
        from_variables=container.variables,
        to_image=move.image,
    )
    _put(container, version, move.image, move.startup, move.variables)
    try:
        render_spec(container)
    except Problem as problem:
        item.state, item.detail = State.REFUSED, _why(problem)
        _put(container, old, item.from_image, item.from_startup, item.from_variables)
    else:
        _save(container)
        record(
            "containers.egg_version",
            actor=actor,
            target=target(container),
            before={"version": number, "image": item.from_image},
            after={"version": version.number, "image": move.image},
        )
    item.save()
    return item


def _save(container: Container) -> None:
    container.spec_changed = container.node_id is not None
    container.save(update_fields=["egg_version", "image", "startup", "variables", "spec_changed", "updated_at"])
    announce(container)


def revert(rollout: Rollout, *, actor: Actor) -> Rollout:
    """Give each container back what it had, at its next start. One that was moved or edited to another version since is left alone.

    Raises Conflict `reverted`: it was taken back already.
    """
    with transaction.atomic():
        if not Rollout.objects.filter(pk=rollout.pk, reverted_at__isnull=True).update(reverted_at=clock.now()):
            raise Conflict("This rollout was taken back already.", code="reverted")
        items = rollout.items.filter(state=State.APPLIED).select_related("from_version").order_by("container_id")
        for item in items:
            container = Container.objects.select_for_update(of=("self",)).select_related("egg_version").get(pk=item.container_id)
            if container.deleted_at is not None or container.egg_version_id != rollout.version_id or item.from_version is None:
                item.state, item.detail = State.KEPT, "It was changed since, or its old version is gone."
            elif item.from_version.needs_approval:
                item.state, item.detail = State.KEPT, "The approval of its old version was withdrawn."
            else:
                # what people set since under names that both versions know is theirs and stays
                variables = {**item.from_variables, **container.variables}
                image = item.from_image if container.image == item.to_image else container.image
                _put(container, item.from_version, image, item.from_startup, _known(variables, item.from_version))
                _save(container)
                item.state = State.REVERTED
                before, after = {"version": rollout.version.number}, {"version": item.from_version.number, "image": image}
                record("containers.egg_version", actor=actor, target=target(container), before=before, after=after)
            item.save(update_fields=["state", "detail"])
        egg = Target("egg", str(rollout.egg_id), rollout.egg.name)
        record("eggs.rollout_revert", actor=actor, target=egg, after={"version": rollout.version.number})
        live.on_commit_publish("ui:eggs", {"type": "egg", "id": str(rollout.egg_id)})
    rollout.refresh_from_db()
    return rollout


def _known(variables: dict[str, str], version: EggVersion) -> dict[str, str]:
    names = {variable.env_variable.upper() for variable in EggDefinition.from_json(version.definition).variables}
    return {name: value for name, value in variables.items() if name.upper() in names}
