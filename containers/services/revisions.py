"""What a container was wanted to be over time: each change kept with its author, shown as a diff, brought back in one step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Max

from audit.services import Actor
from containers.models import Container, Port, Revision
from containers.services.limits import LIMITS
from containers.services.manners import settings_of
from containers.variables import as_told, for_journal
from lormas.common import clock
from lormas.common.errors import NotFound

KEPT = 200
"""Older revisions of one container are forgotten."""
PLAIN = ("image", "command", "env", "variables", "startup", "labels", *LIMITS)
OWN = ("startup_script", "readiness")


def wish_of(container: Container) -> dict[str, Any]:
    """All that makes a difference to what runs: JSON, comparable."""
    own = settings_of(container)
    ports = Port.objects.filter(container_id=container.pk).order_by("-is_primary", "id")
    return {
        **{name: getattr(container, name) for name in PLAIN},
        **{name: getattr(own, name) for name in OWN},
        "egg_version": container.egg_version.number if container.egg_version is not None else None,
        "ports": [{"container": p.container_port, "host": p.host_port, "protocol": p.protocol} for p in ports],
    }


def keep(container: Container, before: dict[str, Any], *, user: Any, actor: Actor, note: str = "") -> Revision | None:
    """After a change, inside its transaction: a revision if the wish is another one than `before` (`wish_of` from before the change).

    The first time, what was before becomes revision 1, of its owner and from its beginning.
    """
    now = wish_of(container)
    if now == before:
        return None
    last = Revision.objects.filter(container=container).aggregate(last=Max("number"))["last"]
    if last is None:
        owner = container.owner
        Revision.objects.create(
            container=container, number=1, wish=before, author=owner, author_label=owner.label, note="Created", created_at=container.created_at
        )
        last = 1
    made = Revision.objects.create(
        container=container, number=last + 1, wish=now, author=user, author_label=actor.label, note=note[:255], created_at=clock.now()
    )
    Revision.objects.filter(container=container, number__lte=made.number - KEPT).delete()
    return made


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is another one; None = it is not there."""

    field: str
    before: Any
    after: Any


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[Difference]:
    """Maps by their entries (`env.NAME`), all else as a whole (pure)."""
    found: list[Difference] = []
    for field in sorted({*before, *after}):
        old, new = before.get(field), after.get(field)
        if old == new:
            continue
        if isinstance(old, dict) and isinstance(new, dict) and field != "readiness":
            found += [Difference(f"{field}.{key}", old.get(key), new.get(key)) for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
        else:
            found.append(Difference(field, old, new))
    return found


def for_eyes(container: Container, wish: dict[str, Any]) -> dict[str, Any]:
    """Without the values that its egg hides (I01)."""
    return {**wish, "variables": for_journal(container, wish.get("variables", {}))}


def changes_of(container: Container, revisions: list[Revision], *, to_editor: bool) -> list[tuple[Revision, list[Difference]]]:
    """Each with what it changed, given newest first; the one before the oldest given is looked up. `to_editor`: see `as_told`."""
    if not revisions:
        return []
    older = Revision.objects.filter(container=container, number__lt=revisions[-1].number).first()
    befores = [*revisions[1:], older]

    def seen(wish: dict[str, Any]) -> dict[str, Any]:
        return as_told(for_eyes(container, wish), to_editor=to_editor)

    return [
        (one, differences(seen(before.wish), seen(one.wish)) if before is not None else []) for one, before in zip(revisions, befores, strict=True)
    ]


def get_revision(container: Container, number: int) -> Revision:
    """Raises NotFound."""
    found = Revision.objects.filter(container=container, number=number).first()
    if found is None:
        raise NotFound(f"{container.name} has no revision {number}.")
    return found
