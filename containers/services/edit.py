"""Changing a container's settings."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction

from audit.services import Actor, record
from containers.models import Container
from containers.services.create import forbidden_values, render_spec
from containers.services.publish import announce, target
from containers.variables import asked, for_journal, merged
from lormas.common.errors import Conflict, FieldError, Invalid

IN_PLACE = frozenset({"name", "description", "restart_policy", "labels"})
"""Take effect at once; everything else from the next start on."""


def update_container(container: Container, *, user: Any, actor: Actor, changes: dict[str, Any]) -> tuple[Container, bool]:
    """Write the changes; returns the row and whether the running container still has the old ones (a restart brings the new).

    Raises:
        Conflict `name_taken`. Invalid `invalid_variables`: nothing is written.
    """
    if changes.get("startup") and container.egg_version is None:
        wrong = [FieldError("startup", "Only eggs have startup commands to choose from.", "invalid_choice")]
        raise Invalid("This container is made of an image.", code="invalid_startup", errors=wrong)
    if "variables" in changes:
        given = asked(container, changes["variables"], user=user)
        if wrong := forbidden_values(container, given, user=user):
            raise Invalid("Some values don't fit the egg.", code="invalid_variables", errors=wrong)
        changes = {**changes, "variables": merged(container, given, user=user)}
    before = {name: getattr(container, name) for name in changes}
    changed = {name: value for name, value in changes.items() if before[name] != value}
    if not changed:
        return container, False
    with transaction.atomic():
        for name, value in changed.items():
            setattr(container, name, value)
        try:
            with transaction.atomic():
                container.save(update_fields=[*changed, "updated_at"])
        except IntegrityError:
            raise Conflict(f"You already have a container named {container.name}: choose another name.", code="name_taken") from None
        render_spec(container)
        if set(changed) - IN_PLACE and container.node_id is not None:
            container.spec_changed = True
            container.save(update_fields=["spec_changed"])
        was, now = {name: before[name] for name in changed}, dict(changed)
        if "variables" in changed:
            was["variables"], now["variables"] = (for_journal(container, values) for values in (was["variables"], now["variables"]))
        record("containers.update", actor=actor, target=target(container), before=was, after=now)
        announce(container)
    return container, bool(set(changed) - IN_PLACE) and container.observed in ("running", "paused")
